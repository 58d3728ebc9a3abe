"""Splits by ground area, never by photo, and de-duplication: what is held out shows no ground and no picture that was trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import chain
from typing import TypeVar

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray

from crossgeo.errors import GeoError, InputError
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.pairs import Pair, PairSet

Float = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Row = TypeVar("Row")
OVERLAPS = "its aerial overlaps held-out ground"
GAP = ""  # the split of what lies between two splits, and belongs to neither
_SHARE = 11  # its draws are none of those that batches are made of
_EDGE_M = 1e-6  # footprints that only touch do not overlap
_BITS = np.array([value.bit_count() for value in range(1 << 16)], np.uint8)


def overlapping(xy: Float, others: Float, side_m: float) -> NDArray[np.bool_]:
    """Say for each of (N, 2) places whether its square of `side_m` overlaps the square of any of (M, 2) others, all in metres."""
    if len(others) == 0 or len(xy) == 0:
        return np.zeros(len(xy), np.bool_)
    reach = max(side_m - _EDGE_M, _EDGE_M)
    tree = shapely.STRtree(shapely.box(others[:, 0] - reach, others[:, 1] - reach, others[:, 0] + reach, others[:, 1] + reach))
    (places, _), distance = tree.query_nearest(shapely.points(xy), all_matches=False, return_distance=True)
    found = np.zeros(len(xy), np.bool_)
    found[places[distance == 0.0]] = True
    return found


def drawn_share(rows: Sequence[Row], share: float, seed: int, least: int) -> list[Row]:
    """Return a share (0..1) of the rows, though `least` of them if there are so many, drawn without replacement, in their own order.

    With one seed the rows of a smaller share are among those of a larger one.
    """
    count = max(round(share * len(rows)), least)
    kept = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(_SHARE,))).permutation(len(rows))[:count]
    return [rows[number] for number in np.sort(kept)]


def split_by_area(xy: Float, shares: Mapping[str, float], cell_m: float, gap_m: float, seed: int = 0) -> list[str]:
    """Return the split of each of (N, 2) places in metres: whole cells of `cell_m` go to one split, drawn from the seed.

    Of two places in different splits one is given up, "", where their squares of `gap_m` (the side of an aerial) would overlap: the one
    whose split `shares` names first, so name training first. Raises InputError for shares that are not above 0, or fewer cells than splits.
    """
    xy = np.asarray(xy, np.float64).reshape(-1, 2)
    if not shares or any(not share > 0.0 for share in shares.values()) or not cell_m > 0.0 or not gap_m >= 0.0:
        raise InputError(f"shares {dict(shares)}, cells of {cell_m} m and a gap of {gap_m} m make no splits; give numbers above 0")
    cells, cell_of, counts = np.unique(np.floor(xy / cell_m).astype(np.int64), axis=0, return_inverse=True, return_counts=True)
    if len(cells) < len(shares):
        raise InputError(f"{len(xy)} places lie in {len(cells)} cells of {cell_m:g} m, too few for {len(shares)} splits; use smaller cells")
    wanted = np.array(list(shares.values())) / sum(shares.values())
    given = np.zeros(len(shares))
    split_of = np.zeros(len(cells), np.int64)
    for turn, cell in enumerate(np.random.default_rng(seed).permutation(len(cells))):
        none_yet = np.flatnonzero(given == 0.0)
        last = len(none_yet) >= len(cells) - turn  # the cells that are left are one for each empty split
        split = none_yet[0] if last else int(np.argmin(given / wanted))
        split_of[cell] = split
        given[split] += counts[cell]
    return _apart(xy, split_of[cell_of.ravel()], list(shares), gap_m)


def hold_out_groups(xy: Float, group_of: NDArray[np.int64], names: tuple[str, str], share: float, gap_m: float, seed: int = 0) -> list[str]:
    """Return which of two splits, the rest and what is held out, each of (N, 2) places in metres is in: whole groups, drawn from the seed.

    As many groups are held out as fit into `share` (0..1) of the places, and at least the smallest. Of the rest those whose squares of
    `gap_m` overlap one that is held out are given up, "". Raises InputError for fewer than two groups.
    """
    sizes = np.bincount(group_of)
    if len(sizes) < 2:
        raise InputError(f"{len(xy)} places are of one group; none can be held out")
    held = np.zeros(len(sizes), np.bool_)
    for group in np.random.default_rng(seed).permutation(len(sizes)):
        held[group] = sizes[held].sum() + sizes[group] <= share * len(xy)
    if not held.any():
        held[sizes.argmin()] = True
    return _apart(np.asarray(xy, np.float64), held[group_of].astype(np.int64), list(names), gap_m)


def _apart(xy: Float, split: NDArray[np.int64], names: Sequence[str], gap_m: float) -> list[str]:
    """Return the name of each place's split, or "" where its square of `gap_m` overlaps one of a later split."""
    kept = np.ones(len(xy), np.bool_)
    if gap_m > 0.0:
        for number in range(len(names) - 2, -1, -1):
            mine, later = split == number, (split > number) & kept
            kept[mine] = ~overlapping(xy[mine], xy[later], gap_m)
    return [names[s] if k else GAP for s, k in zip(split, kept, strict=True)]


def resplit(data: PairSet, shares: Mapping[str, float], cell_m: float, gap_m: float, seed: int = 0) -> PairSet:
    """Return a data set split anew by the places of its photos; what is given up is in `left_out`.

    Raises InputError where a photo has no place, or places are in several CRSs.
    """
    return renamed(data, split_by_area(places_of(data), shares, cell_m, gap_m, seed))


def places_of(data: PairSet) -> Float:
    """Return where the photos were taken, (N, 2) metres; raises InputError where one has no place, or places are in several CRSs."""
    without = [pair.id for pair in data if pair.xy is None]
    if without:
        raise InputError(f"{data.root}: {len(without)} photos have no place, like {without[0]}; they cannot be split by area")
    if len({pair.crs for pair in data}) > 1:
        raise InputError(f"{data.root}: places are in several CRSs; split each part by itself")
    return np.array([pair.xy for pair in data], np.float64).reshape(-1, 2)


def renamed(data: PairSet, names: Sequence[str]) -> PairSet:
    """Return a data set with the names of its pairs' splits, "" for those that are given up: they are in `left_out`."""
    pairs = tuple(replace(pair, split=name) for pair, name in zip(data, names, strict=True) if name != GAP)
    given_up = tuple((p.id, OVERLAPS) for p, name in zip(data, names, strict=True) if name == GAP)
    return replace(data, pairs=pairs, distractors=(), left_out=data.left_out + given_up)


def perceptual_hash(picture: Pixels) -> int:
    """Return 64 bits that survive scaling and JPEG: which low frequencies of (H, W, 3) RGB in 32 x 32 px are above their median."""
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    low = np.asarray(cv2.dct(small))[:8, :8].ravel()
    low[0] = 0.0  # brightness says nothing
    bits = low > np.median(low[1:])
    return int.from_bytes(np.packbits(bits).tobytes(), "big")


def find_duplicates(
    photos: Sequence[int], aerials: Sequence[int] | None = None, xy: Float | None = None, max_bits: int = 3, max_m: float = 1.0
) -> NDArray[np.int64]:
    """Return for each item the number of the earlier item that it repeats, itself new: its own number where it is new.

    Items are one when the hashes of their photos, and of their aerials where given, differ in at most `max_bits` (up to 3) bits and their
    places (N, 2), where known (not NaN), by at most `max_m`. No two new items are one.
    """
    assert 0 <= max_bits <= 3, "four bands find every pair of hashes only up to three bits apart"
    hashes = np.asarray(photos, np.uint64)
    others = None if aerials is None else np.asarray(aerials, np.uint64)
    bands = hashes.view(np.uint16).reshape(-1, 4)  # of four bands at least one is equal
    new: dict[tuple[int, int], list[int]] = {}  # those so far, by band and its value: a repeat is compared with, never kept
    first = np.arange(len(hashes))
    for item, own in enumerate(bands.tolist()):
        buckets = [new.setdefault(place, []) for place in enumerate(own)]
        twins = np.array(list(chain.from_iterable(buckets)), np.int64)
        twins = twins[_differ(hashes[twins], hashes[item]) <= max_bits]
        if others is not None:
            twins = twins[_differ(others[twins], others[item]) <= max_bits]
        if xy is not None:
            twins = twins[~(np.linalg.norm(xy[twins] - xy[item], axis=1) > max_m)]  # NaN is not known to be elsewhere
        if len(twins):
            first[item] = twins.min()
        else:
            for bucket in buckets:
                bucket.append(item)
    return first


def deduplicate(data: PairSet, max_m: float = 1.0, progress: Callable[[int, int], None] | None = None) -> PairSet:
    """Return a data set without pairs whose photo and aerial look like an earlier pair's, taken at the same place.

    Repeats and pairs that cannot be read are in `left_out`.
    """
    readable: list[Pair] = []
    hashes: list[tuple[int, int]] = []
    left_out: list[tuple[str, str]] = []
    with Pictures() as pictures:
        for done, pair in enumerate(data, start=1):
            try:
                hashes.append((perceptual_hash(pictures.photo(pair)), perceptual_hash(pictures.aerial(pair))))
                readable.append(pair)
            except GeoError as error:
                left_out.append((pair.id, str(error)))
            if progress is not None:
                progress(done, len(data))
    unknown = (np.nan, np.nan)
    xy = np.array([pair.xy or unknown for pair in readable], np.float64).reshape(-1, 2)
    first = find_duplicates([photo for photo, _ in hashes], [aerial for _, aerial in hashes], xy, max_m=max_m)
    left_out += [(pair.id, f"repeats {readable[n].id}") for pair, n in zip(readable, first, strict=True) if readable[n] is not pair]
    kept = tuple(pair for number, pair in enumerate(readable) if first[number] == number)
    return replace(data, pairs=kept, left_out=data.left_out + tuple(left_out))


def _differ(hashes: NDArray[np.uint64], one: np.uint64) -> NDArray[np.uint8]:
    return np.asarray(_BITS[(hashes ^ one).view(np.uint16).reshape(-1, 4)].sum(axis=1), np.uint8)
