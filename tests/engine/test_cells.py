"""Descriptors of cells: the index's own, or kept in memory and on disk; never believed when damaged, and never another answer."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pyproj import CRS

from crossgeo.engine.cells import Cell, CellDescriptors, Vector
from crossgeo.engine.feature_cache import CELLS, FeatureCache
from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import distance_m, to_lat_lon
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex

UTM = CRS.from_epsg(32645)
X, Y = 363_147.0, 3_057_452.0
CELL = (round(X / 5.0), round(Y / 5.0))
RING = [(CELL[0] + a, CELL[1] + b) for a in range(-2, 3) for b in range(-2, 3)]


@pytest.fixture
def index(index_path: Path) -> Iterator[GeoIndex]:
    with GeoIndex.open(index_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def dense_index_path(ground: Any, write_ortho: Any, make_describer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The north-western corner of the same ground at a stride of 5 m."""
    folder, describer = tmp_path_factory.mktemp("dense"), make_describer()
    write_ortho(folder / "ortho.tif", ground.rgb[:400, :400])
    options = BuildOptions(gsd_m=0.5, tile_px=96, stride_m=5.0, min_valid=0.9)
    build_index([folder / "ortho.tif"], folder / "index.geo", describer.tiles, describer.identity, options)
    return folder / "index.geo"


def rows(found: dict[Cell, Vector | None]) -> Vector:
    """The descriptors of cells that have one, all of them."""
    own = [row for row in found.values() if row is not None]
    assert len(own) == len(found)
    return np.stack(own)


def asked(index: Path, describer: Any, photo: Photo, cells: FeatureCache | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """The answer as JSON without its times, and what is said of the cells."""
    with GeoSearch(GeoIndex.open(index), describer, cells=cells) as search:
        answer, metrics = search.query(photo).to_json(), search.metrics()["cells"]
    del answer["timings_ms"]
    return answer, metrics


def test_every_tile_is_found_where_it_lies_and_nothing_where_there_is_none(index: GeoIndex) -> None:
    (segment,) = index.segments
    tiles = np.rint(index.centres / index.stride_m).astype(np.int64)
    np.testing.assert_array_equal(index.tiles_at(segment, tiles), np.arange(len(index)))
    assert index.tiles_at(segment, tiles[:, ::-1]).tolist() == [-1] * len(index)
    low, high = tiles.min(axis=0), tiles.max(axis=0)
    around = np.concatenate([np.stack([tiles[:, 0], np.full(len(index), edge)], axis=1) for edge in (low[1] - 1, high[1] + 1)])
    assert (index.tiles_at(segment, around) == -1).all()
    assert len(index.tiles_at(segment, np.zeros((0, 2), np.int64))) == 0


def test_cells_that_are_tiles_are_the_indexs_own(index: GeoIndex, make_describer: Any) -> None:
    describer = make_describer()
    cells = CellDescriptors(index, describer, 5.0, 0.1)
    found = cells.describe(index.segments[0], RING)
    own = [cell for cell in RING if cell[0] % 3 == 0 and cell[1] % 3 == 0]
    ids = index.tiles_at(index.segments[0], np.array(own) // 3)
    assert own and (ids >= 0).all()
    np.testing.assert_array_equal(rows({cell: found[cell] for cell in own}), index.descriptors(ids))
    assert cells.from_index == len(own)
    assert describer.tiles_described == 8 * math.ceil((len(RING) - len(own)) / 8)


def test_an_index_of_every_cell_describes_none_again(dense_index_path: Path, make_describer: Any, ground: Any) -> None:
    describer = make_describer()
    answer, metrics = asked(dense_index_path, describer, ground.photo(X - 45.0, Y + 45.0, 30.0, 70.0))
    assert describer.tiles_described == 0
    assert metrics["from_index"] >= 9
    assert (metrics["hits"], metrics["misses"]) == (0, 0)
    best = answer["places"][0]
    assert distance_m(best["lat"], best["lon"], *to_lat_lon(UTM, X - 45.0, Y + 45.0)) < 2.0


def test_a_dense_index_has_rivals_too(dense_index_path: Path, make_describer: Any, ground: Any) -> None:
    """All hits of each pose lie around the truth there; a place without a rival would always be believed."""
    answer, _ = asked(dense_index_path, make_describer(), ground.photo(X - 45.0, Y + 45.0, 30.0, 70.0))
    assert len(answer["places"]) >= 3


def test_a_cell_has_one_descriptor_whoever_has_it(index: GeoIndex, dense_index_path: Path, make_describer: Any) -> None:
    ring = [(column - 10, row + 10) for column, row in RING]
    described = CellDescriptors(index, make_describer(), 5.0, 0.1).describe(index.segments[0], ring)
    with GeoIndex.open(dense_index_path) as dense:
        taken = CellDescriptors(dense, make_describer(), 5.0, 0.1).describe(dense.segments[0], ring)
    for cell in ring:
        np.testing.assert_array_equal(described[cell], taken[cell])


def test_a_folder_of_cells_changes_no_answer_and_saves_describing(
    index_path: Path, make_describer: Any, ground: Any, tmp_path: Path
) -> None:
    photo = ground.photo(X, Y, 30.0, 95.0)
    plain, _ = asked(index_path, make_describer(), photo)
    cold, first = asked(index_path, make_describer(), photo, FeatureCache(0, tmp_path, form=CELLS))
    describer = make_describer()
    warm, again = asked(index_path, describer, photo, FeatureCache(0, tmp_path, form=CELLS))
    assert plain == cold == warm
    assert (first["disk_hits"], first["hit_rate"]) == (0, 0.0) and first["misses"] >= 8
    assert (again["misses"], again["hit_rate"], describer.tiles_described) == (0, 1.0, 0)
    assert again["disk_hits"] == first["misses"] and again["trouble"] is None


def test_a_damaged_folder_of_cells_changes_no_answer(index_path: Path, make_describer: Any, ground: Any, tmp_path: Path) -> None:
    photo = ground.photo(X, Y, 30.0, 95.0)
    plain, _ = asked(index_path, make_describer(), photo, FeatureCache(0, tmp_path, form=CELLS))
    (path,) = tmp_path.glob("cell-descriptors-*.lmdb")
    data = bytearray(path.read_bytes())
    for page in range(2, len(data) // 4096):
        if data[page * 4096 + 10] & 2:  # a leaf, at whose end a value lies
            data[page * 4096 + 4090] ^= 1
    path.write_bytes(data)
    found, metrics = asked(index_path, make_describer(), photo, FeatureCache(0, tmp_path, form=CELLS))
    assert found == plain
    assert metrics["damaged"] > 0 and metrics["misses"] > 0


def test_cells_without_imagery_are_kept_as_such(index: GeoIndex, make_describer: Any, tmp_path: Path) -> None:
    describer, nowhere = make_describer(), [(CELL[0] + 1000, CELL[1])]
    for _ in range(2):
        cells = CellDescriptors(index, describer, 5.0, 0.1, FeatureCache(0, tmp_path, form=CELLS))
        assert cells.describe(index.segments[0], nowhere) == {nowhere[0]: None}
        stats = cells.kept.stats()
        cells.kept.close()
    assert (stats.disk_hits, describer.tiles_described) == (1, 0)


def test_a_cell_is_described_alike_whatever_others_are_missing(index: GeoIndex, make_describer: Any) -> None:
    describer = make_describer()
    plain = describer.tiles
    # As processors do that sum in another order for another number of rows.
    describer.tiles = lambda tiles: plain(tiles) * np.float32(1.0 + 1e-3 * len(tiles))
    cells = [(CELL[0] + across, CELL[1] + down) for across in range(3) for down in range(5)]
    together = CellDescriptors(index, describer, 5.0, 0.1).describe(index.segments[0], cells)
    one_by_one = CellDescriptors(index, describer, 5.0, 0.1)
    for cell in cells:
        np.testing.assert_array_equal(one_by_one.describe(index.segments[0], [cell])[cell], together[cell])


@pytest.mark.parametrize("change", ["runtime", "weights", "min_valid"])
def test_cells_of_another_runtime_model_or_rule_are_not_taken(index: GeoIndex, make_describer: Any, change: str) -> None:
    describer, kept, cell = make_describer(), FeatureCache(form=CELLS), [(3 * (CELL[0] // 3) + 1, CELL[1])]
    CellDescriptors(index, describer, 5.0, 0.1, kept).describe(index.segments[0], cell)
    other = make_describer()
    if change == "runtime":
        other.tiles_run_on = "numpy bf16 on cpu"
    if change == "weights":
        other.identity = type(describer.identity)("colours", "1" * 64, "view")
    CellDescriptors(index, other, 5.0, 0.2 if change == "min_valid" else 0.1, kept).describe(index.segments[0], cell)
    assert other.tiles_described == 8
    CellDescriptors(index, other, 5.0, 0.2 if change == "min_valid" else 0.1, kept).describe(index.segments[0], cell)
    assert other.tiles_described == 8


def test_both_kinds_of_photo_share_what_is_kept(street_search: GeoSearch) -> None:
    drone, street = (street_search.matchers[kind].fine.cells for kind in ("drone", "street"))
    assert drone.kept is street.kept
    found = drone.describe(street_search.index.segments[0], RING)
    before = street_search.metrics()["cells"]["misses"]
    again = street.describe(street_search.index.segments[0], RING)
    assert street_search.metrics()["cells"]["misses"] == before
    np.testing.assert_array_equal(rows(found), rows(again))


def test_memory_is_bounded(index: GeoIndex, make_describer: Any) -> None:
    dim_bytes = 4 * index.manifest.dim + 256
    cells = CellDescriptors(index, make_describer(), 5.0, 0.1, FeatureCache(10 * dim_bytes, form=CELLS))
    found = cells.describe(index.segments[0], RING)
    assert all(row is not None for row in found.values())
    assert 9 * dim_bytes < cells.kept.stats().memory_bytes <= 10 * dim_bytes


def test_a_cache_of_windows_is_refused_for_cells(index: GeoIndex, make_describer: Any) -> None:
    with pytest.raises(ValueError, match="object-features"):
        CellDescriptors(index, make_describer(), 5.0, 0.1, FeatureCache())


def test_windows_and_cells_keep_apart_in_one_folder(tmp_path: Path) -> None:
    windows, cells = FeatureCache(0, tmp_path, 2 << 20), FeatureCache(0, tmp_path, 2 << 20, CELLS)
    key, row = bytes(range(32)), np.arange(768, dtype=np.float32).reshape(1, 1, 1, -1) / 7.0
    cells.put(key, row)
    for number in range(400):  # many generations of the other
        windows.put(number.to_bytes(32, "big"), np.ones((2, 16, 16, 16), np.float16))
    assert windows.get(key) is None
    found = cells.get(key)
    assert found is not None and found.dtype == np.float32
    np.testing.assert_array_equal(found, row)
    assert cells.stats().trouble is None and windows.stats().trouble is None
    windows.close()
    cells.close()
