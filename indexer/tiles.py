"""Which tiles an index has of its ground, and which of them a change of the ground concerns."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer import grid
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.contrast import contrasts, kept_where_dull
from crossgeo.indexer.grid import BLOCK_PX, CELL_PX
from crossgeo.indexer.ground import Ground
from crossgeo.indexer.manifest import GridRecord
from crossgeo.indexer.windows import Blocks

Tiles = NDArray[np.int32]
"""(n, 2) as (i, j), in the order of ids."""


def rule_of(g: GridRecord) -> grid.TileRule:
    """Return where tiles lie, and which are kept for their imagery's extent."""
    return grid.TileRule(g.gsd_m, g.tile_m, g.stride_m, g.min_valid, g.centre_valid)


def choose_tiles(ground: Ground, coverage: Mapping[tuple[int, int], Mask], g: GridRecord) -> Tiles:
    """Return the tiles of ground with this coverage."""
    return with_content(ground, grid.select_tiles(dict(coverage), rule_of(g)), g)


def with_content(ground: Blocks, tiles: Tiles, g: GridRecord) -> Tiles:
    """Return those of (n, 2) tiles that show as much as is asked for."""
    if (g.min_contrast is None and g.sparse_below is None) or not len(tiles):
        return tiles
    shown = contrasts(ground, tiles, g.gsd_m, g.tile_m, g.stride_m)
    kept = np.ones(len(tiles), bool) if g.min_contrast is None else shown >= g.min_contrast
    if g.sparse_below is not None:
        kept &= (shown >= g.sparse_below) | kept_where_dull(tiles)
    return tiles[kept]


def reached(changed: Mapping[tuple[int, int], Mask], g: GridRecord) -> Tiles:
    """Return every tile, there or not, whose square may hold a pixel of these cells."""
    wide = replace(rule_of(g), tile_m=g.tile_m + 2 * (CELL_PX + 1) * g.gsd_m, min_valid=0.0, centre_valid=False)
    return grid.select_tiles(dict(changed), wide)


def changed_tiles(ground: Ground, changed: Mapping[tuple[int, int], Mask], g: GridRecord) -> Tiles:
    """Return the tiles of ground whose square may hold a pixel of the cells that changed."""
    tiles = grid.select_tiles(ground.coverage(around(changed, g)), rule_of(g))
    return with_content(ground, tiles[among(tiles, reached(changed, g))], g)


def among(tiles: Tiles, others: Tiles) -> NDArray[np.bool_]:
    """Say of each of (n, 2) tiles whether it is one of others (m, 2)."""
    return np.isin(_numbers(tiles), _numbers(others))


def _numbers(tiles: Tiles) -> NDArray[np.int64]:
    return (tiles[:, 0].astype(np.int64) << 32) + tiles[:, 1]


def around(changed: Iterable[tuple[int, int]], g: GridRecord) -> list[tuple[int, int]]:
    """Return the blocks that tiles reach which reach these blocks."""
    reach = math.ceil(g.tile_m / (BLOCK_PX * g.gsd_m)) + 1
    steps = range(-reach, reach + 1)
    found = {(by + down, bx + across) for bx, by in changed for down in steps for across in steps}
    return [(bx, by) for by, bx in sorted(found)]
