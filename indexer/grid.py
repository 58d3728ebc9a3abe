"""The grid of one segment: global pixels, blocks of 256 px, windows on whole pixels, and which tiles hold enough imagery.

`col = x / gsd_m`, `row = -y / gsd_m` (rows grow southwards), so no origin depends on the bounds of a source.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

BLOCK_PX = 256
CELL_PX = 16  # coverage is known by cells of 16 x 16 px
CELLS = BLOCK_PX // CELL_PX
PATCH_TILES = 32  # tiles are numbered patch by patch, so that neighbours in number share blocks
_BIAS = 1 << 31
_SNAP = 1e-6  # px; keeps a window that starts on half a pixel from jittering with rounding

Bounds = tuple[float, float, float, float]
"""x_min, y_min, x_max, y_max."""


def block_key(bx: int, by: int) -> bytes:
    """Return the 8 bytes that name a block; they sort by row, then by column."""
    return struct.pack(">II", by + _BIAS, bx + _BIAS)


def key_block(key: bytes) -> tuple[int, int]:
    """Return (bx, by) of a block's key."""
    by, bx = struct.unpack(">II", key)
    return bx - _BIAS, by - _BIAS


def block_bounds(bx: int, by: int, gsd_m: float) -> Bounds:
    """Return the bounds of a block in metres."""
    side_m = BLOCK_PX * gsd_m
    return bx * side_m, -(by + 1) * side_m, (bx + 1) * side_m, -by * side_m


def blocks_over(parts: NDArray[np.float64], gsd_m: float) -> list[tuple[int, int]]:
    """Return the blocks (bx, by) that touch any of the boxes (n, 4) in metres, by row, then by column."""
    side_m = BLOCK_PX * gsd_m
    found: set[tuple[int, int]] = set()
    for x_min, y_min, x_max, y_max in parts:
        for by in range(math.floor(-y_max / side_m), math.ceil(-y_min / side_m)):
            found.update((by, bx) for bx in range(math.floor(x_min / side_m), math.ceil(x_max / side_m)))
    return [(bx, by) for by, bx in sorted(found)]


@dataclass(frozen=True)
class Window:
    """A square of whole pixels of a segment."""

    col: int  # of its western edge
    row: int  # of its northern edge
    px: int
    gsd_m: float

    @classmethod
    def at(cls, x: float, y: float, size_m: float, gsd_m: float) -> Window:
        """Return the window of `size_m` about (x, y), moved by at most half a pixel on to whole pixels."""
        px = max(1, round(size_m / gsd_m))
        col = math.floor(x / gsd_m - px / 2 + 0.5 + _SNAP)
        row = math.floor(-y / gsd_m - px / 2 + 0.5 + _SNAP)
        return cls(col, row, px, gsd_m)

    @property
    def x_min(self) -> float:
        """The western edge in metres."""
        return self.col * self.gsd_m

    @property
    def y_max(self) -> float:
        """The northern edge in metres."""
        return -self.row * self.gsd_m

    @property
    def size_m(self) -> float:
        """The side in metres, a whole number of pixels."""
        return self.px * self.gsd_m


@dataclass(frozen=True)
class TileRule:
    """Where tiles lie, and which are kept."""

    gsd_m: float
    tile_m: float
    stride_m: float
    min_valid: float  # share of the cells whose centres lie in the tile that must be valid; one at least
    centre_valid: bool  # whether the cell at the tile's centre must be


def select_tiles(coverage: dict[tuple[int, int], NDArray[np.bool_]], rule: TileRule) -> NDArray[np.int32]:
    """Return the tiles (n, 2) as (i, j), in the order of their ids, that hold enough imagery.

    `coverage` maps blocks (bx, by) to (16, 16) cells, each true where at least half of its pixels are valid.
    """
    rows_of: dict[int, list[tuple[int, NDArray[np.bool_]]]] = {}
    for (bx, by), cells in coverage.items():
        rows_of.setdefault(by, []).append((bx, cells))
    kept: list[NDArray[np.int32]] = []
    for j, cell_rows, centre_row in _tile_rows(sorted(rows_of), rule):
        block_rows = range(cell_rows[0] // CELLS, (cell_rows[1] - 1) // CELLS + 1)
        blocks = [(bx, by, cells) for by in block_rows for bx, cells in rows_of.get(by, ())]
        if blocks:
            kept.append(_tiles_of_row(j, cell_rows, centre_row, blocks, rule))
    if not kept:
        return np.zeros((0, 2), np.int32)
    tiles = np.concatenate(kept)
    return tiles[in_order(tiles)]


def in_order(tiles: NDArray[np.int32]) -> NDArray[np.int64]:
    """Return the rows of (n, 2) tiles in the order of ids."""
    return np.argsort(tile_order(tiles), kind="stable")


def tile_order(tiles: NDArray[np.integer[Any]]) -> NDArray[np.int64]:
    """Return (n,) numbers that grow as the ids of tiles (n, 2) do: by patch from the north, in it by row, then eastwards."""
    south, east = -tiles[:, 1].astype(np.int64), tiles[:, 0].astype(np.int64)
    patch = (south // PATCH_TILES << 37) + ((east // PATCH_TILES + (1 << 26)) << 10)
    return np.asarray(patch + (south % PATCH_TILES) * PATCH_TILES + east % PATCH_TILES, np.int64)


def _tile_rows(block_rows: list[int], rule: TileRule) -> Iterator[tuple[int, tuple[int, int], int]]:
    """Yield, for each row j of tiles that reach the given rows of blocks: j, its span of cell rows, the cell row of its centre."""
    cell_m, side_m, tile_m, stride_m = CELL_PX * rule.gsd_m, BLOCK_PX * rule.gsd_m, rule.tile_m, rule.stride_m
    wanted: set[int] = set()
    for by in block_rows:
        south_m, north_m = -(by + 1) * side_m - tile_m / 2, -by * side_m + tile_m / 2
        wanted.update(range(math.floor(south_m / stride_m), math.ceil(north_m / stride_m) + 1))
    for j in sorted(wanted, reverse=True):
        north_m = -j * stride_m - tile_m / 2
        yield j, (_cell_at(north_m, cell_m), _cell_at(north_m + tile_m, cell_m)), math.floor(-j * stride_m / cell_m + _SNAP)


def _cell_at(edge_m: float, cell_m: float) -> int:
    """Return the first cell whose centre lies at or past an edge."""
    return math.ceil(edge_m / cell_m - 0.5 - _SNAP)


def _tiles_of_row(
    j: int,
    cell_rows: tuple[int, int],
    centre_row: int,
    blocks: list[tuple[int, int, NDArray[np.bool_]]],
    rule: TileRule,
) -> NDArray[np.int32]:
    cell_m, tile_m, stride_m = CELL_PX * rule.gsd_m, rule.tile_m, rule.stride_m
    first, last = min(b[0] for b in blocks), max(b[0] for b in blocks)
    margin = math.ceil((tile_m + stride_m) / cell_m) + 2
    west = first * CELLS - margin  # the column of cells at which the arrays below start
    width = (last + 1 - first) * CELLS + 2 * margin
    valid = np.zeros(width, np.int64)  # valid cells of the tile's rows, by column
    centre = np.zeros(width, bool)  # the row of cells through the centres
    for bx, by, cells in blocks:
        at = slice(bx * CELLS - west, (bx + 1) * CELLS - west)
        top = by * CELLS
        valid[at] += cells[max(0, cell_rows[0] - top) : max(0, cell_rows[1] - top)].sum(axis=0)
        if top <= centre_row < top + CELLS:
            centre[at] = cells[centre_row - top]
    sums = np.concatenate([[0], np.cumsum(valid)])
    side_m = BLOCK_PX * rule.gsd_m
    i = np.arange(math.ceil((first * side_m - tile_m / 2) / stride_m), math.floor(((last + 1) * side_m + tile_m / 2) / stride_m) + 1)
    low = np.ceil((i * stride_m - tile_m / 2) / cell_m - 0.5 - _SNAP).astype(np.int64)
    high = np.ceil((i * stride_m + tile_m / 2) / cell_m - 0.5 - _SNAP).astype(np.int64)
    middle = np.floor(i * stride_m / cell_m + _SNAP).astype(np.int64)
    found = sums[high - west] - sums[low - west]
    keep = (found > 0) & (found >= rule.min_valid * (high - low) * (cell_rows[1] - cell_rows[0]) - _SNAP)
    if rule.centre_valid:
        keep &= centre[middle - west]
    return np.stack([i[keep], np.full(int(keep.sum()), j)], axis=1).astype(np.int32)
