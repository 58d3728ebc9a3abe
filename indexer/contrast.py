"""How much a tile shows: by how much the mean colours of its cells differ. Water and plain fields show little, roofs and roads much.

The contrast of a tile is the standard deviation, over its valid cells of 16 x 16 px, of their mean colours, in levels of 0 to 255: the root
of the mean over red, green and blue of the variance. Cells, not pixels: ripples and leaves differ from pixel to pixel and are no landmarks.
"""

from __future__ import annotations

import math
from collections import OrderedDict

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.block_store import cells_of
from crossgeo.indexer.grid import CELL_PX, CELLS, PATCH_TILES
from crossgeo.indexer.windows import Blocks

_SNAP = 1e-6
_KEPT = 4096  # blocks of 6 KB
SPARSE = 2  # where ground is dull, every second tile of every second row is kept


def contrasts(ground: Blocks, tiles: NDArray[np.int32], gsd_m: float, tile_m: float, stride_m: float) -> NDArray[np.float64]:
    """Return the contrast (n,) of (n, 2) tiles in the order of ids, whose cells count as for `min_valid`: those with their middle in it."""
    out = np.zeros(len(tiles))
    cells = _Cells(ground)
    patches = np.stack([tiles[:, 0] // PATCH_TILES, -tiles[:, 1] // PATCH_TILES], axis=1)
    _, which = np.unique(patches, axis=0, return_inverse=True)
    order = np.argsort(which.ravel(), kind="stable")
    for mine in np.split(order, np.cumsum(np.bincount(which.ravel()))[:-1]):
        out[mine] = _of_patch(cells, tiles[mine].astype(np.float64), CELL_PX * gsd_m, tile_m, stride_m)
    return out


def kept_where_dull(tiles: NDArray[np.int32]) -> NDArray[np.bool_]:
    """Say of each of (n, 2) tiles whether it stays where ground is dull: of every second row and column."""
    return np.asarray((tiles % SPARSE == 0).all(axis=1), bool)


def _of_patch(cells: _Cells, tiles: NDArray[np.float64], cell_m: float, tile_m: float, stride_m: float) -> NDArray[np.float64]:
    def first(at_m: NDArray[np.float64]) -> NDArray[np.int64]:
        return np.asarray(np.ceil(at_m / cell_m - 0.5 - _SNAP), np.int64)

    west, east = first(tiles[:, 0] * stride_m - tile_m / 2), first(tiles[:, 0] * stride_m + tile_m / 2)
    north, south = first(-tiles[:, 1] * stride_m - tile_m / 2), first(-tiles[:, 1] * stride_m + tile_m / 2)
    left, top = int(west.min()), int(north.min())
    colours, valid = cells.mosaic(left, top, int(east.max()) - left, int(south.max()) - top)
    sums = [_summed(plane) for plane in (valid.astype(np.float64)[..., None], colours * valid[..., None], colours**2 * valid[..., None])]
    count, total, squares = (
        s[south - top, east - left] - s[north - top, east - left] - s[south - top, west - left] + s[north - top, west - left] for s in sums
    )
    some = np.maximum(count, 1.0)
    variance = np.maximum(squares / some - (total / some) ** 2, 0.0)  # (n, 3)
    return np.asarray(np.sqrt(variance.mean(axis=1)), np.float64)


def _summed(planes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (h + 1, w + 1, c) sums of all that lies above and left."""
    out = np.zeros((planes.shape[0] + 1, planes.shape[1] + 1, planes.shape[2]))
    out[1:, 1:] = planes.cumsum(axis=0).cumsum(axis=1)
    return out


class _Cells:
    """The mean colours (16, 16, 3) and valid (16, 16) cells of blocks, the last ones kept."""

    def __init__(self, ground: Blocks) -> None:
        self._ground = ground
        self._kept: OrderedDict[tuple[int, int], tuple[NDArray[np.float64], NDArray[np.bool_]] | None] = OrderedDict()

    def mosaic(self, left: int, top: int, width: int, height: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
        """Return colours (height, width, 3) and valid (height, width) of a rectangle of cells."""
        colours, valid = np.zeros((height, width, 3)), np.zeros((height, width), bool)
        for by in range(math.floor(top / CELLS), math.ceil((top + height) / CELLS)):
            for bx in range(math.floor(left / CELLS), math.ceil((left + width) / CELLS)):
                found = self._of(bx, by)
                if found is None:
                    continue
                low_x, high_x = max(left, bx * CELLS), min(left + width, (bx + 1) * CELLS)
                low_y, high_y = max(top, by * CELLS), min(top + height, (by + 1) * CELLS)
                there = slice(low_y - top, high_y - top), slice(low_x - left, high_x - left)
                here = slice(low_y - by * CELLS, high_y - by * CELLS), slice(low_x - bx * CELLS, high_x - bx * CELLS)
                colours[there], valid[there] = found[0][here], found[1][here]
        return colours, valid

    def _of(self, bx: int, by: int) -> tuple[NDArray[np.float64], NDArray[np.bool_]] | None:
        if (bx, by) in self._kept:
            self._kept.move_to_end((bx, by))
            return self._kept[bx, by]
        block = self._ground.read(bx, by)
        made = None
        if block is not None:
            mask = np.ones(block[0].shape[:2], bool) if block[1] is None else block[1]
            sums = block[0].reshape(CELLS, CELL_PX, CELLS, CELL_PX, 3).sum(axis=(1, 3), dtype=np.float64)  # invalid pixels are 0
            count = mask.reshape(CELLS, CELL_PX, CELLS, CELL_PX).sum(axis=(1, 3))
            made = sums / np.maximum(count, 1)[..., None], cells_of(mask)
        self._kept[bx, by] = made
        if len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return made
