"""Blocks, windows and the choice of tiles."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from crossgeo.indexer.grid import CELLS, TileRule, Window, block_bounds, block_key, blocks_over, key_block, select_tiles

RULE = TileRule(gsd_m=0.5, tile_m=60.0, stride_m=15.0, min_valid=0.5, centre_valid=True)
FULL = np.ones((CELLS, CELLS), bool)
SIDE_M = 128.0


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_keys_name_blocks_and_sort_by_row_then_column(bx: int, by: int, other: int) -> None:
    assert key_block(block_key(bx, by)) == (bx, by)
    assert (block_key(bx, by) < block_key(other, by)) == (bx < other)
    assert (block_key(bx, by) < block_key(other, other)) == ((by, bx) < (other, other))


def test_blocks_cover_a_box_and_touch_it() -> None:
    assert blocks_over(np.asarray([[0.0, 0.0, SIDE_M, SIDE_M]]), 0.5) == [(0, -1)]
    assert blocks_over(np.asarray([[-1.0, -1.0, 1.0, 1.0]]), 0.5) == [(-1, -1), (0, -1), (-1, 0), (0, 0)]
    assert block_bounds(2, -3, 0.5) == (256.0, 256.0, 384.0, 384.0)


@given(st.floats(-1e6, 1e7), st.floats(-1e7, 1e7), st.floats(1.0, 300.0))
def test_a_window_is_off_by_half_a_pixel_at_most(x: float, y: float, size_m: float) -> None:
    window = Window.at(x, y, size_m, 0.2)
    assert abs(window.x_min + window.size_m / 2 - x) <= 0.1001
    assert abs(window.y_max - window.size_m / 2 - y) <= 0.1001
    assert abs(window.size_m - size_m) <= 0.1001


def test_windows_of_grid_tiles_lie_exactly() -> None:
    for n in range(20000, 20100):
        window = Window.at(n * 15.0, -n * 15.0, 60.0, 0.2)
        assert (window.col, window.row, window.px) == (75 * n - 150, 75 * n - 150, 300)


def test_a_tile_is_kept_when_enough_of_it_and_its_centre_are_valid() -> None:
    tiles = select_tiles({(0, -1): FULL}, RULE)
    kept = {tuple(t) for t in tiles.tolist()}
    inside = {(i, j) for i in range(9) for j in range(9)}  # centres on 0 ... 120 of 128 m
    assert kept <= inside
    assert {(i, j) for i in range(2, 7) for j in range(2, 7)} <= kept  # wholly within
    assert (0, 0) not in kept  # a quarter
    assert (0, 4) in kept  # just half
    east = FULL.copy()
    east[:, :4] = False  # imagery from 32 m on; tile (2, 4) is 28 of its 60 m in it, its centre lies at 30 m
    assert (2, 4) in keep(east, 0.4, centre_valid=False)
    assert (2, 4) not in keep(east, 0.4, centre_valid=True)
    assert (2, 4) not in keep(east, 0.5, centre_valid=False)


def keep(cells: NDArray[np.bool_], min_valid: float, *, centre_valid: bool) -> set[tuple[int, ...]]:
    """Return the tiles kept of one block."""
    return {tuple(t) for t in select_tiles({(0, -1): cells}, TileRule(0.5, 60.0, 15.0, min_valid, centre_valid)).tolist()}


def test_without_the_rule_for_centres_tiles_reach_past_the_imagery() -> None:
    tiles = {tuple(t) for t in select_tiles({(0, -1): FULL}, TileRule(0.5, 60.0, 15.0, 0.2, False)).tolist()}
    assert {(-1, 4), (4, -1), (9, 4), (4, 9)} <= tiles
    assert (-2, 4) not in tiles


def test_no_tile_is_kept_without_imagery() -> None:
    assert select_tiles({}, RULE).shape == (0, 2)
    assert select_tiles({(0, 0): ~FULL}, TileRule(0.5, 60.0, 15.0, 0.0, False)).shape == (0, 2)


@pytest.mark.parametrize("centre_valid", [True, False])
@pytest.mark.parametrize("seed", range(5))
def test_the_choice_equals_its_definition(seed: int, centre_valid: bool) -> None:
    rng = np.random.default_rng(seed)
    rule = TileRule(0.4, 50.0, 13.0, float(rng.uniform(0, 0.9)), centre_valid)
    coverage = {(int(rng.integers(-2, 2)), int(rng.integers(-2, 2))): rng.random((CELLS, CELLS)) < rng.uniform(0.2, 1.0) for _ in range(3)}
    cell_m = 16 * rule.gsd_m
    cells = np.zeros((128, 128), bool)  # rows from the north, the origin in the middle
    for (bx, by), block in coverage.items():
        cells[64 + by * CELLS : 80 + by * CELLS, 64 + bx * CELLS : 80 + bx * CELLS] = block
    middles = (np.arange(-64, 64) + 0.5) * cell_m  # eastwards for columns, southwards for rows
    wanted = set()
    for i in range(-22, 23):
        for j in range(-22, 23):
            columns, rows = (np.floor((middles - at) / 25.0 / 2 + 0.5 + 1e-9) == 0 for at in (i * 13.0, -j * 13.0))
            found = cells[np.ix_(rows, columns)]
            centre = cells[64 + math.floor(-j * 13.0 / cell_m + 1e-9), 64 + math.floor(i * 13.0 / cell_m + 1e-9)]
            if found.any() and found.mean() >= rule.min_valid and (centre or not centre_valid):
                wanted.add((i, j))
    assert {tuple(t) for t in select_tiles(coverage, rule).tolist()} == wanted


def test_neighbours_in_number_are_neighbours_on_the_ground() -> None:
    coverage = {(bx, by): FULL for bx in range(12) for by in range(12)}
    tiles = select_tiles(coverage, RULE)
    assert len(np.unique(tiles, axis=0)) == len(tiles)
    assert np.abs(tiles[:32] - tiles[0]).max() < 32


@pytest.mark.parametrize("gsd_m", [0.05, 0.2, 0.5, 1.0])
def test_one_full_block_row_keeps_the_tiles_inside_it_at_any_pixel_size(gsd_m: float) -> None:
    blocks = {(bx, by): FULL for bx in range(round(600 / (256 * gsd_m))) for by in range(round(600 / (256 * gsd_m)))}
    tiles = {tuple(t) for t in select_tiles(blocks, TileRule(gsd_m, 60.0, 15.0, 1.0, True)).tolist()}
    assert {(i, -j) for i in range(3, 24) for j in range(3, 24)} <= tiles
