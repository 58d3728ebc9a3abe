"""Removing ground, sources and vintages: what is left answers as a build of it, and what is removed is neither found nor read."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from crossgeo import geodesy
from crossgeo.errors import InputError, StoreError, UsageError
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import read_manifest
from crossgeo.indexer.region import Region
from crossgeo.indexer.remove import What, remove_from_index
from crossgeo.indexer.verify import verify_index

WEST_M, NORTH_M = 353400.0, 3058000.0


def never(_: Any) -> Any:
    """Stand for a model that must not be asked."""
    raise AssertionError


def polygon(path: Path, *corners_m: tuple[float, float]) -> Path:
    """Write a polygon of corners in metres east and south of the usual place."""
    crs = geodesy.parse_crs("EPSG:32645")
    ring = [geodesy.to_lat_lon(crs, WEST_M + x, NORTH_M - y)[::-1] for x, y in (*corners_m, corners_m[0])]
    shape = {"type": "Polygon", "coordinates": [ring]}
    path.write_text(json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": shape, "properties": {}}]}))
    return path


@pytest.fixture
def pieces(tmp_path: Path, write_raster: Any, paint: Any) -> tuple[Path, Path]:
    """Two overlapping pictures whose edges lie on JPEG's 8 px cells."""
    a = write_raster(tmp_path / "a.tif", paint(240, 304, seed=1))
    b = write_raster(tmp_path / "b.tif", paint(240, 320, seed=2), affine=Affine(0.5, 0, WEST_M + 104, 0, -0.5, NORTH_M - 40))
    return a, b


def test_removing_ground_leaves_what_a_build_without_it_has(
    tmp_path: Path, pieces: Any, describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    region = Region.read(polygon(tmp_path / "out.geojson", (70, 30), (150, 50), (120, 140), (60, 100)))
    build_index(pieces[:1], tmp_path / "masked.geo", describe, identity, dataclasses.replace(options, masks=(region,)))
    built = build_index(pieces[:1], tmp_path / "a.geo", describe, identity, options)
    removed = remove_from_index(tmp_path / "a.geo", What(region), describe)
    assert removed.tiles < built.tiles
    same_answers(tmp_path / "a.geo", tmp_path / "masked.geo")
    assert verify_index(tmp_path / "a.geo") == []
    with GeoIndex.open(tmp_path / "a.geo") as index:
        assert not index.covers(index.segments[0], WEST_M + 100, NORTH_M - 80)
        rgb, valid = index.read_window(index.segments[0], WEST_M + 100, NORTH_M - 80, 20.0, 40)
        assert not rgb.any()
        assert not valid.any()


@pytest.mark.parametrize("by", ["source", "vintage"])
def test_removing_what_lies_over_brings_up_what_lies_beneath(
    tmp_path: Path, pieces: Any, describe: Any, identity: Any, options: Any, same_answers: Any, by: str
) -> None:
    build_index(pieces[1:], tmp_path / "b.geo", describe, identity, dataclasses.replace(options, vintage="2024"))
    build_index(pieces[:1], tmp_path / "a.geo", describe, identity, dataclasses.replace(options, vintage="2023-06"))
    add_to_index(pieces[1:], tmp_path / "a.geo", describe, identity, AddOptions(vintage="2024"))
    what = What(source="a.tif") if by == "source" else What(vintage="2023")
    done = remove_from_index(tmp_path / "a.geo", what, describe)
    same_answers(tmp_path / "a.geo", tmp_path / "b.geo")
    assert [s.name for s in done.sources] == ["b.tif"]


def test_removing_what_lies_beneath_changes_only_what_showed(
    tmp_path: Path, pieces: Any, describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    build_index(pieces[:1], tmp_path / "one.geo", describe, identity, options)
    build_index(pieces[:1], tmp_path / "a.geo", describe, identity, options)
    add_to_index(pieces[1:], tmp_path / "a.geo", describe, identity)
    remove_from_index(tmp_path / "a.geo", What(source="b.tif"), describe)
    same_answers(tmp_path / "a.geo", tmp_path / "one.geo")


def test_one_of_several_sources_of_a_build_goes_by_its_bounds(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    """Cells are 8 m here: the seam lies on one."""
    a = write_raster(tmp_path / "a.tif", paint(240, 304, seed=1), affine=Affine(0.5, 0, WEST_M, 0, -0.5, NORTH_M))
    b = write_raster(tmp_path / "b.tif", paint(240, 320, seed=2), affine=Affine(0.5, 0, WEST_M + 152, 0, -0.5, NORTH_M))
    build_index([b], tmp_path / "b.geo", describe, identity, options)
    build_index([a, b], tmp_path / "both.geo", describe, identity, options)
    remove_from_index(tmp_path / "both.geo", What(source="a.tif"), describe)
    same_answers(tmp_path / "both.geo", tmp_path / "b.geo")


def test_removed_tiles_are_never_found_and_ground_that_comes_back_is(
    tmp_path: Path, pieces: Any, describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    build_index(pieces[:1], tmp_path / "a.geo", describe, identity, options)
    build_index(pieces, tmp_path / "whole.geo", describe, identity, options)
    with GeoIndex.open(tmp_path / "a.geo") as index:
        south, west, north, east = index.segments[0].bounds_lat_lon
        was = index.descriptors(np.arange(len(index)))
    west = (west + east) / 2
    done = remove_from_index(tmp_path / "a.geo", What(Region.box(west, south, east, north)), describe)
    with GeoIndex.open(tmp_path / "a.geo") as index:
        _, ids = index.search(was, len(was))
        assert ids.shape == (len(was), done.tiles)
        assert (np.sort(ids, axis=1) == np.arange(done.tiles)).all()
        assert index.lat_lon(np.arange(len(index)))[:, 1].max() < west + 40 / 98_000
    add_to_index(pieces, tmp_path / "a.geo", describe, identity)
    same_answers(tmp_path / "a.geo", tmp_path / "whole.geo", levels=60)


def test_a_zone_goes_with_all_of_its_imagery(
    tmp_path: Path, ortho: Path, far_ortho: Path, describe: Any, identity: Any, options: Any
) -> None:
    build_index([ortho, far_ortho], tmp_path / "a.geo", describe, identity, options)
    done = remove_from_index(tmp_path / "a.geo", What(source="ortho.tif"), never)
    assert [s.crs for s in done.segments] == ["EPSG:32737"]
    assert [s.name for s in done.sources] == ["far.tif"]
    assert not any(s.removed for s in done.segments)
    assert verify_index(tmp_path / "a.geo") == []


def test_what_cannot_be_removed_says_so_and_leaves_the_index(
    tmp_path: Path, ortho: Path, describe: Any, identity: Any, options: Any
) -> None:
    first = build_index([ortho], tmp_path / "a.geo", describe, identity, dataclasses.replace(options, vintage="2023-06"))
    for what, kind, said in (
        (What(source="b.tif"), InputError, r"has no b\.tif; it has ortho\.tif"),
        (What(vintage="2022"), InputError, r"has no vintage 2022; it has vintage 2023-06"),
        (What(Region.box(0.0, 0.0, 1.0, 1.0)), InputError, "nothing was removed"),
        (What(vintage="2023"), UsageError, "nothing would be left"),
        (What(Region.box(80.0, 20.0, 90.0, 30.0)), UsageError, "nothing would be left"),
    ):
        with pytest.raises(kind, match=said):
            remove_from_index(tmp_path / "a.geo", what, never)
        assert read_manifest(tmp_path / "a.geo") == first
    with pytest.raises(UsageError, match="nothing is named"):
        What()
    with pytest.raises(UsageError, match="west, south"):
        Region.box(1.0, 0.0, 0.0, 1.0)


def test_a_damaged_record_of_what_is_removed_is_found(tmp_path: Path, ortho: Path, describe: Any, identity: Any, options: Any) -> None:
    build_index([ortho], tmp_path / "a.geo", describe, identity, options)
    region = Region.read(polygon(tmp_path / "out.geojson", (0, 0), (90, 0), (90, 200), (0, 200)))
    remove_from_index(tmp_path / "a.geo", What(region), describe)
    (path,) = (tmp_path / "a.geo" / "removed").iterdir()
    path.write_bytes(path.read_bytes()[:-1])
    assert [path.name in problem for problem in verify_index(tmp_path / "a.geo")] == [True]
    with pytest.raises(StoreError, match=path.name):
        GeoIndex.open(tmp_path / "a.geo")


def test_a_place_knows_its_source_and_tiles_their_vintage(tmp_path: Path, pieces: Any, describe: Any, identity: Any, options: Any) -> None:
    build_index(pieces[:1], tmp_path / "a.geo", describe, identity, dataclasses.replace(options, vintage="2023-06", min_valid=0.3))
    add_to_index(pieces[1:], tmp_path / "a.geo", describe, identity, AddOptions(vintage="2024-05-01"))
    with GeoIndex.open(tmp_path / "a.geo") as index:
        (segment,) = index.segments
        for x, source in ((150.0, "a.tif"), (153.0, "b.tif"), (263.0, "b.tif"), (265.0, None), (-1.0, None)):
            found = index.source_at(segment, WEST_M + x, NORTH_M - 100.0)
            assert (None if found is None else found.name) == source
        old, new = index.ids_of_vintage("2023"), index.ids_of_vintage("2024-05")
        assert sorted([*old, *new]) == list(range(len(index)))
        assert index.centres[old][:, 0].max() < WEST_M + 152.0 + 30.0
        both = index.centres[:, 1] > NORTH_M - 120.0
        assert set(old) >= set(np.flatnonzero((index.centres[:, 0] < WEST_M + 152.0) & both))
        assert len(index.ids_of_vintage("2022")) == len(index.ids_of_vintage("2023-0")) == 0


def test_ground_and_source_together_name_what_is_of_both(
    tmp_path: Path, pieces: Any, describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    region = Region.read(polygon(tmp_path / "out.geojson", (60, 30), (230, 50), (220, 140), (60, 100)))
    for name, first in (("a.geo", [What(region, source="b.tif")]), ("b.geo", [])):
        build_index(pieces[:1], tmp_path / name, describe, identity, options)
        add_to_index(pieces[1:], tmp_path / name, describe, identity, AddOptions(masks=() if first else (region,)))
        for what in first:
            remove_from_index(tmp_path / name, what, describe)
    same_answers(tmp_path / "a.geo", tmp_path / "b.geo")
    with GeoIndex.open(tmp_path / "a.geo") as index:
        assert index.covers(index.segments[0], WEST_M + 100, NORTH_M - 80)  # of a.tif
        assert not index.covers(index.segments[0], WEST_M + 200, NORTH_M - 90)  # only b.tif had it
