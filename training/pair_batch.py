"""A batch of pairs from disk: what a batch of rendered ground holds, and what says which of its tiles show the place of another's photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.models.views import Image, Mask
from crossgeo.training.distributed import gather, ranks
from crossgeo.training.sampling import Batch

Offset = tuple[float, float]


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
class Look:
    """One pair as a model gets to see it; metres are (east, north)."""

    canvas: Image  # (H, W, 3)
    mask: Mask  # (H, W)
    tile: Image
    canvas_m: Offset  # from where the photo was taken to the canvas's middle
    tile_m: Offset  # from where the data set has the aerial's middle to the tile's
    offset_m: Offset  # from the tile's middle to the canvas's, in the world as it was turned


@dataclass(frozen=True)
class PairBatch(Batch):
    """B pairs; `ignore` marks tiles that show another photo's place, its own among them."""

    places: Places
    rows: NDArray[np.int64]  # (B,) in the source
    skipped: tuple[str, ...] = ()  # pairs left out because a picture could not be read, with the reason

    @classmethod
    def of(cls, looks: Sequence[Look], places: Places, rows: NDArray[np.int64], skipped: tuple[str, ...] = ()) -> PairBatch:
        """Put pairs as they are seen together with their places."""
        places = replace(
            places,
            xy=places.xy + np.array([look.canvas_m for look in looks]),
            tile_xy=places.tile_xy + np.array([look.tile_m for look in looks]),
        )
        distance = _own_known(places.distance_m(places))
        offset = np.full((*distance.shape, 2), np.inf, np.float32)  # of a pair's own tile alone
        offset[np.arange(len(looks)), np.arange(len(looks))] = [look.offset_m for look in looks]
        canvases, masks, tiles = (np.stack(side) for side in zip(*((look.canvas, look.mask, look.tile) for look in looks), strict=True))
        return cls(canvases, masks, tiles, distance, offset, _off_diagonal(places.same(places)), places, rows, skipped)

    def for_maps(self, extent_m: float) -> PairBatch:
        """Return the batch as feature maps are compared: nothing is known of other tiles that may overlap a photo's ground."""
        return replace(self, ignore=self.ignore | _off_diagonal(self.distance_m < 1.5 * extent_m))

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
