"""Areas: every tile is in one, they are about equal, lie together, and are the same whoever cuts them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.partition import areas_of, hilbert


@pytest.mark.parametrize("side", [2, 8, 64])
@pytest.mark.parametrize("corner", [(0, 0), (-3 * 64, 5 * 64)])
def test_the_curve_passes_each_cell_once_and_goes_to_the_next(side: int, corner: tuple[int, int]) -> None:
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2) + np.asarray(corner)
    along = hilbert(cells.astype(np.int64))
    assert len(np.unique(along)) == side**2
    assert along.max() - along.min() == side**2 - 1
    steps = np.abs(np.diff(cells[np.argsort(along)], axis=0)).sum(axis=1)
    np.testing.assert_array_equal(steps, 1)


@pytest.mark.parametrize("tiles", [1, 10, 40, 1_000_000])
def test_areas_hold_every_tile_once_and_are_about_equal(made_index: Path, tiles: int) -> None:
    with GeoIndex.open(made_index) as index, GeoIndex.open(made_index) as again:
        areas = areas_of(index, tiles)
        assert sorted(np.concatenate([area.ids for area in areas]).tolist()) == list(range(len(index)))
        for area, same in zip(areas, areas_of(again, tiles), strict=True):
            np.testing.assert_array_equal(area.ids, same.ids)
            assert area.bounds == same.bounds
            assert (np.diff(area.ids) > 0).all()
            assert set(index.segment_numbers[area.ids].tolist()) == {area.segment}
            west, south, east, north = area.bounds
            lat, lon = index.lat_lon(area.ids).T
            assert ((lat > south) & (lat < north) & (lon > west) & (lon < east)).all()
        for segment in index.segments:
            sizes = [len(area.ids) for area in areas if area.segment == segment.number]
            assert len(sizes) == max(1, round(segment.tiles / tiles))
            assert max(sizes) - min(sizes) <= 1


def test_areas_are_compact(made_index: Path) -> None:
    with GeoIndex.open(made_index) as index:
        spread = [(np.ptp(index.centres[area.ids], axis=0) / index.stride_m + 1).prod() / len(area.ids) for area in areas_of(index, 16)]
        assert np.mean(spread) < 2.5, "an area's box holds few tiles of others"
