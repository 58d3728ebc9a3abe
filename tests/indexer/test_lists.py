"""An index of so many tiles that it is searched by inverted lists: built, changed, damaged and mended like any other."""

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.errors import StoreError
from crossgeo.indexer import vector_index
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.compact import compact_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity, read_manifest, segment_path
from crossgeo.indexer.region import Region
from crossgeo.indexer.remove import What, remove_from_index
from crossgeo.indexer.repair import repair_index
from crossgeo.indexer.vectors import ivf
from crossgeo.indexer.vectors.structure import Budget
from crossgeo.indexer.verify import verify_index

OPTIONS = BuildOptions(gsd_m=0.5, tile_m=12.0, stride_m=2.0, tile_px=12)
LISTS = replace(OPTIONS, budget=Budget(recall=0.95, max_memory_bytes=6e5))
Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]


@pytest.fixture(scope="module")
def city(tmp_path_factory: pytest.TempPathFactory, write_raster: Any, paint: Any, describe: Describe, identity: ModelIdentity) -> Path:
    """Return a folder with the same imagery searched exactly and by lists."""
    folder = tmp_path_factory.mktemp("lists")
    ortho = write_raster(folder / "ortho.tif", paint(220, 220))
    build_index([ortho], folder / "exact.geo", describe, identity, OPTIONS)
    build_index([ortho], folder / "lists.geo", describe, identity, LISTS)
    return folder


@pytest.fixture
def lists(city: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(city / "lists.geo", tmp_path / "lists.geo"))


def found_alike(one: GeoIndex, other: GeoIndex, ids: NDArray[np.int64] | None = None) -> float:
    """Return for which share of questions two indexes answer with the same tile."""
    asked = one.descriptors(np.arange(0, len(one), 17))
    asked = asked + 0.02 * np.random.default_rng(0).standard_normal(asked.shape).astype(np.float32)
    return float((one.search(asked, 5, ids)[1][:, 0] == other.search(asked, 5, ids)[1][:, 0]).mean())


def test_it_says_how_it_is_searched_and_answers_like_the_exact_one(city: Path) -> None:
    manifest = read_manifest(city / "lists.geo")
    (segment,) = manifest.segments
    assert manifest.features() == ["lists"]
    assert set(segment.files) == {"blocks.lmdb", "descriptors.h5", *ivf.FILES}
    assert segment.search is not None and segment.search.recall_at_1 >= 0.95
    assert set(manifest.latency_ms) == {segment.name} and manifest.latency_ms[segment.name] > 0.0
    assert read_manifest(city / "exact.geo").features() == []
    with GeoIndex.open(city / "exact.geo") as exact, GeoIndex.open(city / "lists.geo") as index:
        assert len(index) == len(exact) > 2048
        np.testing.assert_array_equal(index.descriptors([5, 0, 2000]), exact.descriptors([5, 0, 2000]))
        assert found_alike(exact, index) >= 0.9
        assert found_alike(exact, index, np.arange(100, 900, 3)) == 1.0
    assert verify_index(city / "lists.geo") == []


def test_a_second_build_is_the_same(city: Path, tmp_path: Path, describe: Describe, identity: ModelIdentity) -> None:
    again = build_index([city / "ortho.tif"], tmp_path / "again.geo", describe, identity, LISTS)
    assert again.hash == read_manifest(city / "lists.geo").hash


def test_removed_tiles_are_not_found_and_a_compact_one_searches_by_lists_again(lists: Path, describe: Describe) -> None:
    with GeoIndex.open(lists) as index:
        south, west, north, east = index.bounds_lat_lon
        half = Region.box(west, south, (west + east) / 2, north)
        before = len(index)
    remove_from_index(lists, What(region=half), describe)
    with GeoIndex.open(lists) as index:
        left = len(index)
        assert left < 0.7 * before
        scores, ids = index.search(index.descriptors(np.arange(0, left, 7)), 3)
        assert (ids >= 0).all() and (ids < left).all() and np.isfinite(scores).all()
        assert (ids[:, 0] == np.arange(0, left, 7)).mean() >= 0.95
    compact_index(lists, budget=Budget(recall=0.95, max_memory_bytes=6e5))
    with GeoIndex.open(lists) as index:
        assert len(index) == left
    assert verify_index(lists) == []


@pytest.mark.parametrize("name", ivf.FILES)
def test_a_damaged_file_is_named_and_made_again(lists: Path, name: str) -> None:
    first = read_manifest(lists)
    path = segment_path(lists, first.segments[0].name) / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(StoreError, match=name):
        GeoIndex.open(lists)
    assert any(name in problem for problem in verify_index(lists))
    repair_index(lists)
    assert verify_index(lists) == []
    with GeoIndex.open(lists) as index:
        assert len(index) == first.tiles


def test_a_reader_of_before_is_told_to_update(city: Path) -> None:
    (path,) = (city / "lists.geo").glob("manifest-*.json")
    assert json.loads(path.read_text())["features"] == ["lists"]  # of which a reader that does not know it refuses any


def test_what_is_written_need_not_fit_in_memory(
    city: Path, tmp_path: Path, describe: Describe, identity: ModelIdentity, monkeypatch: Any
) -> None:
    seen: list[int] = []
    read = vector_index.DescriptorRows.read

    def counted(self: Any, start: int, stop: int) -> NDArray[np.float32]:
        seen.append(stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(vector_index.DescriptorRows, "read", counted)
    monkeypatch.setattr(ivf, "PIECE", 512)
    made = build_index([city / "ortho.tif"], tmp_path / "pieces.geo", describe, identity, LISTS)
    assert max(seen) <= 512 and made.tiles > 2048
