"""An area's files: made once, found again, made anew where they are spoiled, and the same rows as the index's own."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.errors import GeoError, StoreError
from crossgeo.indexer.area_rows import AreaFiles, area_descriptors, area_rows, open_area, put_on_shelf, search_area
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import SearchRecord
from crossgeo.indexer.partition import Area, areas_of
from crossgeo.indexer.vectors import ivf


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    return tmp_path / "shelf"


def put(path: Path, shelf: Path, tiles: int = 40) -> list[tuple[Area, AreaFiles]]:
    with GeoIndex.open(path) as index:
        return [(area, put_on_shelf(index, area, shelf)) for area in areas_of(index, tiles)]


def test_an_area_answers_for_its_tiles_as_the_index_does(made_index: Path, shelf: Path) -> None:
    with GeoIndex.open(made_index) as index:
        queries = np.random.default_rng(0).normal(size=(5, index.manifest.dim)).astype(np.float32)
        for area, files in put(made_index, shelf):
            held = open_area(files)
            assert area_rows(held) == len(area.ids)
            np.testing.assert_array_equal(area_descriptors(held, np.arange(len(area.ids))), index.descriptors(area.ids))
            for rows in (None, np.arange(1, len(area.ids), 3)):
                scores, found = search_area(held, queries, 7, rows)
                want = index.search(queries, 7, area.ids if rows is None else area.ids[rows])
                np.testing.assert_array_equal(area.ids[found], want[1])
                np.testing.assert_array_equal(scores, want[0])


def test_rows_of_several_folders_come_together(
    made_index: Path, shelf: Path, tmp_path: Path, describe: Any, identity: Any, write_raster: Any, paint: Any
) -> None:
    from crossgeo.indexer.add import AddOptions, add_to_index

    path = tmp_path / "added.geo"
    shutil.copytree(made_index, path)
    over = write_raster(tmp_path / "over.tif", paint(200, 240, seed=7))
    add_to_index([over], path, describe, identity, AddOptions())
    with GeoIndex.open(path) as index:
        assert max(len(zone.parts) for zone in index.zones) > 1
        for area, files in put(path, shelf):
            np.testing.assert_array_equal(area_descriptors(open_area(files), np.arange(len(area.ids))), index.descriptors(area.ids))


def test_an_area_is_made_once_and_known_by_its_content(made_index: Path, shelf: Path) -> None:
    first = put(made_index, shelf)
    made = {files.name: open_area(files) for _, files in first}
    stamps = {path: path.stat().st_mtime_ns for path in shelf.rglob("*") if path.is_file()}
    assert [files for _, files in put(made_index, shelf)] == [files for _, files in first]
    for _, files in first:
        open_area(files)
    assert {path: path.stat().st_mtime_ns for path in shelf.rglob("*") if path.is_file()} == stamps
    assert len(made) == len(first) == len(set(made))
    assert {files.name for _, files in put(made_index, shelf, tiles=50)} - set(made)


@pytest.mark.parametrize("name", ["ann.faiss", "made.json", "descriptors.h5"])
@pytest.mark.parametrize("how", ["cut", "gone", "other"])
def test_spoiled_files_are_made_again(made_index: Path, shelf: Path, name: str, how: str) -> None:
    area, files = put(made_index, shelf)[0]
    want = area_descriptors(open_area(files), np.arange(len(area.ids)))
    path = files.folder / "made" / name
    whole = path.read_bytes()
    if how == "gone":
        path.unlink()
    elif how == "cut":
        path.write_bytes(whole[:-10])
    elif name != "descriptors.h5":  # which has checksums inside, of each chunk that is read
        path.write_bytes(whole[:-4] + bytes(b ^ 1 for b in whole[-4:]))
    np.testing.assert_array_equal(area_descriptors(open_area(files), np.arange(len(area.ids))), want)
    assert path.read_bytes() == whole
    assert not list(files.folder.glob("*.part"))


def test_what_cannot_be_made_is_said(made_index: Path, shelf: Path, tmp_path: Path) -> None:
    path = tmp_path / "copy.geo"
    shutil.copytree(made_index, path)
    _, files = put(path, shelf)[0]
    (segment,) = {zone.name() for zone in GeoIndex.open(path).zones[:1]}
    (path / "segments" / segment / "descriptors.h5").unlink()
    with pytest.raises(StoreError, match=r"descriptors\.h5"):
        open_area(files)
    assert not (files.folder / "made").exists()
    (files.folder / "recipe").write_bytes(b"{}")
    with pytest.raises(StoreError, match="recipe is damaged"):
        open_area(files)
    shutil.rmtree(files.folder)
    with pytest.raises(GeoError, match="recipe"):
        open_area(files)


def test_what_a_killed_maker_left_goes_once_nobody_can_be_at_it(made_index: Path, shelf: Path) -> None:
    _, files = put(made_index, shelf)[0]
    left, young = files.folder / "made.1.part", files.folder / "made.2.part"
    for part in (left, young):
        part.mkdir()
        (part / "descriptors.h5").write_bytes(b"half")
    for path in (left, left / "descriptors.h5", young):  # the young one's file is still being written
        os.utime(path, (0, 0))
    open_area(files)
    assert sorted(path.name for path in files.folder.iterdir()) == ["made", "made.2.part", "recipe"]


def test_who_comes_second_takes_what_the_first_made(made_index: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from crossgeo.indexer import area_rows as module

    area, files = put(made_index, shelf)[0]
    writing = module.write_tiles

    def late(*given: Any) -> Any:
        monkeypatch.setattr(module, "write_tiles", writing)
        open_area(files)
        return writing(*given)

    monkeypatch.setattr(module, "write_tiles", late)
    assert len(open_area(files)) == len(area.ids)
    assert sorted(path.name for path in files.folder.iterdir()) == ["made", "recipe"]


def test_large_areas_get_lists_unless_the_index_is_searched_exactly(made_index: Path, shelf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with GeoIndex.open(made_index) as index:
        area = areas_of(index, 1000)[0]
        exact = put_on_shelf(index, area, shelf)
        part = index.zones[0].parts[0]
        listed = replace(part, record=replace(part.record, search=SearchRecord("inverted lists", 0.99, 0.97, 1, 1, 1.0)))
        index.zones[0] = replace(index.zones[0], parts=(listed, *index.zones[0].parts[1:]))
        other = put_on_shelf(index, area, shelf)
    assert exact.name != other.name
    from crossgeo.indexer.vectors import structure

    monkeypatch.setattr(structure, "_LEAST_ROWS", 8)
    monkeypatch.setattr(structure, "_SCAN_BYTES_PER_S", 1.0)
    assert open_area(exact).is_exact
    held = open_area(other)
    assert not held.is_exact
    assert (other.folder / "made" / ivf.FILES[0]).exists()
