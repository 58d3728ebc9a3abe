"""A piece of a segment's imagery for a map tile: whole blocks, each at the size that the map shows it, never more than some hundreds.

A block of 256 px is brought to 16 ... 256 px, which makes a pyramid without a file of its own. Where a map tile shows more blocks than are
read for it, one block answers for a square of them, by its mean colour.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from dataclasses import dataclass
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.block_store import Mask, Pixels
from crossgeo.indexer.grid import BLOCK_PX
from crossgeo.indexer.index import GeoIndex, Segment

SMALLEST_PX = 16  # of a block; smaller ones are sampled
MOST_BLOCKS = 20 * 20  # that are read for one tile
KEPT = 20_000  # small blocks: 1 to 16 KB each
_KEPT_PX = 32
Xy = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Mosaic:
    """Pixels of `gsd_m` metres, north up, whose upper left corner lies at (x_min, y_max) of the segment."""

    rgb: Pixels  # (H, W, 3), 0 where invalid
    valid: Mask  # (H, W)
    x_min: float
    y_max: float
    gsd_m: float


class SmallBlocks:
    """The small blocks that were made last, of one index; safe to share between threads."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept, self._lock = kept, Lock()
        self._blocks: OrderedDict[tuple[int, int, int, int], tuple[Pixels, Mask] | None] = OrderedDict()

    def get(self, index: GeoIndex, segment: Segment, bx: int, by: int, size_px: int) -> tuple[Pixels, Mask] | None:
        """Return a block at (size_px, size_px), None where it holds nothing."""
        key = segment.number, bx, by, size_px
        with self._lock:
            if key in self._blocks:
                self._blocks.move_to_end(key)
                return self._blocks[key]
        side_m = BLOCK_PX * index.gsd_m
        rgb, valid = index.read_window(segment, (bx + 0.5) * side_m, -(by + 0.5) * side_m, side_m, size_px)
        made = (rgb, valid) if valid.any() else None
        if made is None or size_px <= _KEPT_PX:
            with self._lock:
                self._blocks[key] = made
                while len(self._blocks) > self._kept:
                    self._blocks.popitem(last=False)
        return made


def mosaic_over(index: GeoIndex, segment: Segment, x: Xy, y: Xy, gsd_m: float, small: SmallBlocks) -> Mosaic | None:
    """Return the imagery about points (n,), at pixels no larger than `gsd_m` where few blocks show it; None where there is none."""
    side_m = BLOCK_PX * index.gsd_m
    margin_m = 2 * max(gsd_m, index.gsd_m)
    x_min, y_min, x_max, y_max = segment.bounds
    west, east = max(float(x.min()) - margin_m, x_min), min(float(x.max()) + margin_m, x_max)
    south, north = max(float(y.min()) - margin_m, y_min), min(float(y.max()) + margin_m, y_max)
    if not (west < east and south < north):
        return None
    columns = math.floor(west / side_m), math.ceil(east / side_m)
    rows = math.floor(-north / side_m), math.ceil(-south / side_m)
    count = (columns[1] - columns[0]) * (rows[1] - rows[0])
    if count > MOST_BLOCKS:
        return _sampled(index, segment, columns, rows, math.ceil(math.sqrt(count / MOST_BLOCKS)) + 1, small)
    wanted_px = BLOCK_PX * index.gsd_m / gsd_m
    size_px = min(BLOCK_PX, max(SMALLEST_PX, 2 ** math.ceil(math.log2(max(1.0, wanted_px)))))
    shape = (rows[1] - rows[0]) * size_px, (columns[1] - columns[0]) * size_px
    rgb, valid = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
    for row in range(*rows):
        for column in range(*columns):
            block = small.get(index, segment, column, row, size_px)
            if block is not None:
                top, left = (row - rows[0]) * size_px, (column - columns[0]) * size_px
                at = slice(top, top + size_px), slice(left, left + size_px)
                rgb[at], valid[at] = block
    return Mosaic(rgb, valid, columns[0] * side_m, -rows[0] * side_m, side_m / size_px) if valid.any() else None


def _sampled(
    index: GeoIndex, segment: Segment, columns: tuple[int, int], rows: tuple[int, int], step: int, small: SmallBlocks
) -> Mosaic | None:
    """Return one pixel for each square of step x step blocks: the mean colour of one of them that holds something."""
    first = columns[0] // step, rows[0] // step
    last = (columns[1] - 1) // step, (rows[1] - 1) // step
    shape = last[1] - first[1] + 1, last[0] - first[0] + 1
    rgb, valid = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
    near, far = step // 4, step - 1 - step // 4
    probes = dict.fromkeys([(step // 2, step // 2), (near, near), (far, far), (near, far), (far, near)])
    for row in range(shape[0]):
        for column in range(shape[1]):
            for right, down in probes:
                block = small.get(index, segment, (first[0] + column) * step + right, (first[1] + row) * step + down, SMALLEST_PX)
                if block is not None:
                    rgb[row, column], valid[row, column] = block[0][block[1]].mean(axis=0), True
                    break
    side_m = BLOCK_PX * index.gsd_m * step
    return Mosaic(rgb, valid, first[0] * side_m, -first[1] * side_m, side_m) if valid.any() else None
