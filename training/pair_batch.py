"""A batch of pairs from disk: what a batch of rendered ground holds, and what says which of its tiles show the place of another's photo."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.training.distributed import gather, ranks
from crossgeo.training.sampling import Batch


@dataclass(frozen=True)
class Places:
    """Where n pairs are and which aerials show them, as numbers that hold for a whole data set; -1 is none."""

    xy: NDArray[np.float64]  # (n, 2) metres, of the middles of the photos' canvases; NaN where unknown
    tile_xy: NDArray[np.float64]  # (n, 2) metres, of the middles of their aerials
    crs: NDArray[np.int64]  # (n,)
    aerial: NDArray[np.int64]  # (n,)
    also: NDArray[np.int64]  # (n, A), other aerials that show the place
    place: NDArray[np.int64]  # (n,)

    def __getitem__(self, rows: NDArray[np.int64]) -> Places:
        """Return those of some rows."""
        return Places(self.xy[rows], self.tile_xy[rows], self.crs[rows], self.aerial[rows], self.also[rows], self.place[rows])

    def distance_m(self, others: Places) -> NDArray[np.float32]:
        """Return the (n, m) metres from these photos to others' aerials, infinite where they cannot be measured."""
        away = np.linalg.norm(self.xy[:, None] - others.tile_xy[None], axis=2)
        away[(self.crs[:, None] != others.crs[None]) | np.isnan(away)] = np.inf
        return np.asarray(away, np.float32)

    def same(self, others: Places) -> NDArray[np.bool_]:
        """Say (n, m) whether the others' aerials show these photos' places, by what the data set says of them."""
        also = (self.also[:, None] == others.aerial[None, :, None]).any(axis=2)
        placed = (self.place[:, None] == others.place[None]) & (self.place[:, None] >= 0)
        return np.asarray((self.aerial[:, None] == others.aerial[None]) | also | placed, np.bool_)


@dataclass(frozen=True)
class PairBatch(Batch):
    """B pairs; `ignore` marks tiles that show another photo's place, its own among them."""

    places: Places
    rows: NDArray[np.int64]  # (B,) in the source
    skipped: tuple[str, ...] = ()  # pairs left out because a picture could not be read, with the reason

    @classmethod
    def of(
        cls,
        views: NDArray[np.uint8],
        masks: NDArray[np.bool_],
        tiles: NDArray[np.uint8],
        places: Places,
        rows: NDArray[np.int64],
        skipped: tuple[str, ...] = (),
    ) -> PairBatch:
        """Put B canvases (B, H, W, 3) with their masks (B, H, W) and B tiles together."""
        distance = _own_known(places.distance_m(places))
        offset = np.full((*distance.shape, 2), np.inf, np.float32)
        return cls(views, masks, tiles, distance, offset, _off_diagonal(places.same(places)), places, rows, skipped)

    def of_all_processes(self, device: torch.device) -> PairBatch:
        """Return the batch with the distances and places of all processes' rows (its pictures stay its own)."""
        if ranks() == 1:
            return self

        def every(rows: NDArray[Any]) -> NDArray[Any]:
            return gather(torch.from_numpy(rows).to(device)).cpu().numpy()

        own = self.places
        places = Places(*(every(part) for part in (own.xy, own.tile_xy, own.crs, own.aerial, own.also, own.place)))
        return replace(self, places=places, distance_m=_own_known(places.distance_m(places)), ignore=_off_diagonal(places.same(places)))


def _off_diagonal(same: NDArray[np.bool_]) -> NDArray[np.bool_]:
    return same & ~np.eye(len(same), dtype=np.bool_)


def _own_known(distance: NDArray[np.float32]) -> NDArray[np.float32]:
    own = distance.diagonal().copy()
    own[np.isinf(own)] = 0.0  # a pair is one by what the data set says
    np.fill_diagonal(distance, own)
    return distance
