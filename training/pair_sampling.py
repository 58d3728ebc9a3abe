"""Batches from pairs on disk: in epochs, beside neighbours in place and in descriptor that are hard to tell apart (Deuser et al. 2023)."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.errors import GeoError, InputError
from crossgeo.training.augment import change_photo
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.fingerprint import pairs_fingerprint
from crossgeo.training.mining import hardest
from crossgeo.training.pair_batch import Look, PairBatch, Places
from crossgeo.training.pair_checks import check_pictures, check_placed, in_parts
from crossgeo.training.pair_input import WHOLE_DEG, PairInput, Turn, turned_offset
from crossgeo.training.pairs import Pair
from crossgeo.training.stream import drawn

Rows = NDArray[np.int64]
_MINING_BATCH = 64


@dataclass(frozen=True)
class PairSampling:
    """How batches are put together."""

    batch: int = 32
    near_share: float = 0.0  # of a batch: places next to those that it starts from
    mined_share: float = 0.0  # of a batch: pairs whose aerials the model took for those that it starts from
    mine_steps: int = 500  # from one mining pass to the next
    mine_pairs: int = 20_000  # the budget of a pass: so many pairs are described
    neighbours: int = 32  # kept of each pair, of either kind, to draw from
    apart_m: float = 5.0  # what is nearer is one place, and no neighbour
    limited_share: float = 0.0  # of photos that are cut to a limited field of view, anywhere around
    limited_deg: tuple[float, float] = (70.0, 180.0)
    photo_change: float = 0.0  # how strongly light, colour, sharpness and noise of photos change (`augment.change_photo`); 0 leaves them
    turned: bool = False  # each batch's world by quarters, mirrored or not; all alike, as neighbours are right answers in part
    offset_m: float = 0.0  # standard deviation, along each axis, of how far a window lies off its photo, where one is cut from imagery


class PairSource:
    """A source of batches (`stream.EpochSource`, `stream.MinedSource`) over pairs that are all there and can be placed."""

    def __init__(self, pairs: Sequence[Pair], as_input: PairInput, how: PairSampling, seed: int) -> None:
        """Look at the pairs; raise InputError for an empty set or a pair without its pictures, naming it."""
        self.pairs, self.as_input, self.how, self.seed = [pair for pair in pairs if as_input.usable(pair)], as_input, how, seed
        self.unplaced = len(pairs) - len(self.pairs)  # without a heading
        check_placed(len(self.pairs), len(pairs))
        check_pictures(self.pairs)
        as_input.check_fits(self.pairs[0])
        self.places = places_of(self.pairs)
        hard = how.near_share + how.mined_share
        self.starts = max(1, round(how.batch * (1.0 - hard)))  # of each batch come from the epoch's order
        self.epoch_steps = max(1, len(self.pairs) // self.starts)
        self.mined: Rows = np.full((len(self.pairs), how.neighbours if how.mined_share else 0), -1, np.int64)
        self._pictures: tuple[int, Pictures] | None = None

    def identity(self) -> dict[str, Any]:
        """Return what the pairs are and how batches are put together (`stream.NamedSource`)."""
        how = asdict(self.how)
        return {"data": pairs_fingerprint(self.pairs), "batch": how.pop("batch"), "sampling": how}

    def batch_of(self, number: int) -> PairBatch:
        """Return a batch; every `epoch_steps` batches start once from each pair, but for a remainder."""
        epoch, step = divmod(number, self.epoch_steps)
        order = np.random.default_rng([self.seed, epoch]).permutation(len(self.pairs))
        rng = np.random.default_rng([self.seed, epoch, step])
        rows = self._beside(order[step * self.starts : (step + 1) * self.starts], rng)
        return self.read(rows, rng)

    def due(self, step: int) -> bool:
        """Whether a mining pass comes before a step."""
        return bool(self.how.mined_share) and step % self.how.mine_steps == 0

    def mine(self, describe: Callable[[PairBatch], tuple[Tensor, Tensor]], step: int, workers: int) -> None:
        """Describe up to `mine_pairs` pairs and keep, for each, those whose aerials come nearest to its photo and are not its place."""
        count = len(self.pairs)
        asked = np.sort(np.random.default_rng([self.seed, step, 1]).permutation(count)[: self.how.mine_pairs])
        photos, aerials, read = [], [], []
        parts = in_parts(asked, _MINING_BATCH)
        for part in drawn(partial(self._part, parts), range(len(parts)), workers):
            ground, aerial = describe(part)
            photos.append(ground.float().cpu().numpy())
            aerials.append(aerial.float().cpu().numpy())
            read.append(part.rows)
        rows = np.concatenate(read)
        found = hardest(np.concatenate(photos), np.concatenate(aerials), self.places[rows], self.how.neighbours, self.how.apart_m)
        self.mined[rows] = np.where(found >= 0, rows[found], -1)

    def state(self) -> dict[str, Tensor]:
        """Return the mined neighbours."""
        return {"mined": torch.from_numpy(self.mined)}

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on with mined neighbours; raise InputError where they are of another set of pairs."""
        mined = state["mined"].cpu().numpy()
        if mined.shape != self.mined.shape:
            raise InputError(f"the run was begun with {len(mined)} pairs, here are {len(self.pairs)}; give the same data, or a new --out")
        self.mined = mined

    def read(self, rows: Rows, rng: np.random.Generator | None) -> PairBatch:
        """Read pairs; one whose pictures cannot be read is skipped and named, and another is drawn in its place.

        Without `rng` nothing is drawn: no other pair, nothing cut, shifted or turned. Raises InputError when most pictures that are
        tried cannot be read.
        """
        turn: Turn = (int(rng.integers(4)), bool(rng.integers(2))) if rng is not None and self.how.turned else (0, False)
        queue, skipped = [int(row) for row in rows], []
        read: list[int] = []
        looks = []
        while queue:
            row = queue.pop(0)
            try:
                looks.append(self._look(self.pairs[row], rng, turn))
            except GeoError as error:
                skipped.append(f"{self.pairs[row].id}: {error}")
                if len(skipped) >= max(len(rows), 2):
                    raise InputError(f"most pictures cannot be read, the last: {error}; look at the data with `geo data check`") from error
                left = np.setdiff1d(np.arange(len(self.pairs)), [*rows, *read])
                queue += [int(rng.choice(left))] if rng is not None and len(left) else []
                continue
            read.append(row)
        if not looks:
            raise InputError(f"no picture can be read, {skipped[-1]}; look at the data with `geo data check`")
        at = np.array(read, np.int64)
        return PairBatch.of(looks, self.places[at], at, tuple(skipped))

    def _look(self, pair: Pair, rng: np.random.Generator | None, turn: Turn) -> Look:
        """Read a pair and place it in the turned world."""
        pictures, how = self._open(), self.how
        limits, off = (WHOLE_DEG, 0.0), np.zeros(2)
        if rng is not None:
            limited, fov_deg, towards_deg = rng.random() < how.limited_share, rng.uniform(*how.limited_deg), rng.uniform(0.0, WHOLE_DEG)
            limits = (fov_deg, towards_deg) if limited else limits
            off = rng.normal(0.0, 1.0, 2) * how.offset_m
        canvas, mask, ahead = self.as_input.photo(pictures.photo(pair), pair, *limits)
        if rng is not None and how.photo_change:
            canvas = np.where(mask[..., None], change_photo(canvas, rng, how.photo_change), canvas)
        canvas, mask = self.as_input.turned(canvas, mask, turn)
        east, north = _off_middle(pair)
        shift = (0.0, 0.0)
        if pair.window_m is not None and pair.aerial_centre_xy is not None:
            shift = (ahead[0] + float(off[0]), ahead[1] + float(off[1]))
            x, y = pair.aerial_centre_xy
            pair = replace(pair, aerial_centre_xy=(x + shift[0], y + shift[1]))
        tile = self.as_input.aerial(self.as_input.turned_aerial(pictures.aerial(pair), turn), pair)
        apart = (east + ahead[0] - shift[0], north + ahead[1] - shift[1])
        return Look(canvas, mask, tile, ahead, shift, turned_offset(apart, turn))

    def _part(self, parts: Sequence[Rows], number: int) -> PairBatch:
        return self.read(parts[number], None)

    def _beside(self, starts: Rows, rng: np.random.Generator) -> Rows:
        """Fill a batch up with neighbours of the pairs that it starts from, in place and mined, then with any."""
        how, taken = self.how, dict.fromkeys(starts.tolist())
        near = round(how.batch * how.near_share)
        self._add(taken, starts, near, self._near, rng)
        self._add(taken, starts, how.batch - len(starts) - near, self._mined, rng)
        missing = how.batch - len(taken)
        others = [row for row in rng.permutation(len(self.pairs)).tolist() if row not in taken] if missing > 0 else []
        return np.array([*taken, *others[: max(missing, 0)]], np.int64)

    def _add(self, taken: dict[int, None], starts: Rows, count: int, neighbours: Callable[[int], Rows], rng: np.random.Generator) -> None:
        goal = len(taken) + count
        for start in rng.permutation(np.repeat(starts, 4)) if count > 0 else ():
            if len(taken) >= goal:
                return
            offered = [row for row in neighbours(int(start)).tolist() if row not in taken]
            if offered:
                taken[offered[int(rng.integers(len(offered)))]] = None

    def _near(self, row: int) -> Rows:
        """Return the pairs next to a pair that are places of their own."""
        own = self.places[np.array([row])]
        away = own.distance_m(self.places)[0]
        away[own.same(self.places)[0] | (away <= self.how.apart_m)] = np.inf
        nearest = np.argsort(away, kind="stable")[: self.how.neighbours]
        return np.asarray(nearest[np.isfinite(away[nearest])], np.int64)

    def _mined(self, row: int) -> Rows:
        return np.asarray(self.mined[row][self.mined[row] >= 0], np.int64)

    def _open(self) -> Pictures:
        """Return this process's own reader of pictures."""
        if self._pictures is None or self._pictures[0] != os.getpid():
            self._pictures = os.getpid(), Pictures()
        return self._pictures[1]

    def __getstate__(self) -> dict[str, Any]:
        """Leave open files behind when a worker process is started."""
        return {**self.__dict__, "_pictures": None}


def _off_middle(pair: Pair) -> tuple[float, float]:
    """Return how far (east_m, north_m) of its aerial's middle a photo was taken; nothing where that is not known."""
    if pair.xy is None or pair.aerial_centre_xy is None:
        return 0.0, 0.0
    return pair.xy[0] - pair.aerial_centre_xy[0], pair.xy[1] - pair.aerial_centre_xy[1]


def places_of(pairs: Sequence[Pair]) -> Places:
    """Return what the pairs say of their places, as numbers."""
    aerials = {name: number for number, name in enumerate(dict.fromkeys(pair.aerial_id for pair in pairs))}
    places = {name: number for number, name in enumerate(dict.fromkeys(pair.place for pair in pairs if pair.place is not None))}
    systems = {name: number for number, name in enumerate(dict.fromkeys(pair.crs for pair in pairs))}
    also = np.full((len(pairs), max(len(pair.also) for pair in pairs)), -1, np.int64)
    for row, pair in enumerate(pairs):
        known = [aerials[name] for name in pair.also if name in aerials]
        also[row, : len(known)] = known
    unknown = (np.nan, np.nan)
    return Places(
        np.array([pair.xy or unknown for pair in pairs], np.float64),
        np.array([pair.aerial_centre_xy or pair.xy or unknown for pair in pairs], np.float64),
        np.array([systems[pair.crs] for pair in pairs], np.int64),
        np.array([aerials[pair.aerial_id] for pair in pairs], np.int64),
        also,
        np.array([-1 if pair.place is None else places[pair.place] for pair in pairs], np.int64),
    )
