"""Compacting: the same answers from fewer files, and what was removed is gone from disk."""

from __future__ import annotations

import dataclasses
import fcntl
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from crossgeo import disk, geodesy
from crossgeo.errors import InputError, LockedError
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import build_index
from crossgeo.indexer.compact import compact_index
from crossgeo.indexer.generations import roll_back
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import read_manifest
from crossgeo.indexer.region import Region
from crossgeo.indexer.remove import What, remove_from_index
from crossgeo.indexer.verify import verify_index

WEST_M, NORTH_M = 353400.0, 3058000.0


@pytest.fixture
def pieces(tmp_path: Path, write_raster: Any, paint: Any) -> list[Path]:
    """Three pictures beside each other, on borders of blocks, and a fourth that lies across them."""
    west, north = round(WEST_M / 128) * 128.0, round(NORTH_M / 128) * 128.0
    places = [(0.0, 0.0), (128.0, 0.0), (256.0, 0.0), (64.0, -40.0)]
    return [
        write_raster(tmp_path / f"{n}.tif", paint(256, 256, seed=n), affine=Affine(0.5, 0, west + x, 0, -0.5, north + y))
        for n, (x, y) in enumerate(places)
    ]


def bytes_of(path: Path) -> int:
    """Return how many bytes an index takes."""
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def test_pieces_that_were_added_one_by_one_compact_to_what_one_build_makes(
    tmp_path: Path, pieces: list[Path], describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    whole = build_index(pieces[:3], tmp_path / "whole.geo", describe, identity, options)
    build_index(pieces[:1], tmp_path / "a.geo", describe, identity, options)
    for piece in pieces[1:3]:
        add_to_index([piece], tmp_path / "a.geo", describe, identity)
    done = compact_index(tmp_path / "a.geo")
    assert [(s.crs, s.tiles, s.blocks, s.bounds, s.removed) for s in done.segments] == [
        (s.crs, s.tiles, s.blocks, s.bounds, None) for s in whole.segments
    ]
    assert done.segments[0].files["blocks.lmdb"] == whole.segments[0].files["blocks.lmdb"]
    assert done.hash == whole.hash  # descriptors too: the stand-in describes a tile alike in any batch
    same_answers(tmp_path / "a.geo", tmp_path / "whole.geo")
    assert {p.name for p in (tmp_path / "a.geo").iterdir()} == {"CURRENT", "LOCK", "manifest-000004.json", "segments"}
    assert compact_index(tmp_path / "a.geo") == done


def test_layers_of_other_vintages_stay_apart_and_can_still_be_removed(
    tmp_path: Path, pieces: list[Path], describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    build_index(pieces[:2], tmp_path / "two.geo", describe, identity, dataclasses.replace(options, vintage="2023"))
    build_index(pieces[:1], tmp_path / "a.geo", describe, identity, dataclasses.replace(options, vintage="2023"))
    add_to_index(pieces[1:2], tmp_path / "a.geo", describe, identity, AddOptions(vintage="2023"))
    add_to_index(pieces[3:], tmp_path / "a.geo", describe, identity, AddOptions(vintage="2025", over=True))
    before = read_manifest(tmp_path / "a.geo")
    done = compact_index(tmp_path / "a.geo", keep=1)
    assert sorted(s.layer for s in done.segments) == [-1, 0]
    assert done.tiles == before.tiles
    roll_back(tmp_path / "a.geo")
    with GeoIndex.open(tmp_path / "a.geo") as index:
        assert index.manifest == before
    roll_back(tmp_path / "a.geo", done.generation)
    remove_from_index(tmp_path / "a.geo", What(vintage="2025"), describe)
    same_answers(tmp_path / "a.geo", tmp_path / "two.geo")
    assert verify_index(tmp_path / "a.geo") == []


def test_pictures_that_overlap_are_not_encoded_again(
    tmp_path: Path, pieces: list[Path], describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    for name in ("a.geo", "b.geo"):
        build_index(pieces[:2], tmp_path / name, describe, identity, options)
        add_to_index(pieces[3:], tmp_path / name, describe, identity)
    done = compact_index(tmp_path / "a.geo")
    assert len(done.segments) == 2
    assert sum(s.tiles > 0 for s in done.segments) == 1
    same_answers(tmp_path / "a.geo", tmp_path / "b.geo")
    assert compact_index(tmp_path / "a.geo") == done


def test_what_was_removed_is_gone_from_disk(
    tmp_path: Path, pieces: list[Path], describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    built = build_index(pieces[:3], tmp_path / "a.geo", describe, identity, options)
    with GeoIndex.open(tmp_path / "a.geo") as index:
        south, west, north, east = index.segments[0].bounds_lat_lon
    remove_from_index(tmp_path / "a.geo", What(Region.box((west + east) / 2, south, east, north)), describe)
    size = bytes_of(tmp_path / "a.geo")
    with GeoIndex.open(tmp_path / "a.geo") as index:
        kept = index.descriptors(np.arange(len(index)))
        pinned = index.read_window(index.segments[0], *index.centres[0], 60.0, 120)
        done = compact_index(tmp_path / "a.geo")
        again = index.read_window(index.segments[0], *index.centres[3], 60.0, 120)  # its files are gone, but open
        assert again[1].any()
    assert bytes_of(tmp_path / "a.geo") < 0.7 * size
    assert done.segments[0].blocks < built.segments[0].blocks
    assert not (tmp_path / "a.geo" / "removed").exists()
    with GeoIndex.open(tmp_path / "a.geo") as index:
        np.testing.assert_array_equal(index.descriptors(np.arange(len(index))), kept)
        np.testing.assert_array_equal(index.read_window(index.segments[0], *index.centres[0], 60.0, 120)[0], pinned[0])
        assert not index.covers(index.segments[0], *geodesy.from_lat_lon(index.segments[0].crs, (south + north) / 2, (west + 2 * east) / 3))
    with pytest.raises(InputError, match="keeps no generation before 3"):
        roll_back(tmp_path / "a.geo")


def test_an_interrupted_compaction_leaves_the_index_and_no_litter_that_blocks(
    tmp_path: Path, pieces: list[Path], describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(pieces[:1], tmp_path / "a.geo", describe, identity, options)
    first = add_to_index(pieces[1:2], tmp_path / "a.geo", describe, identity)
    points: list[str] = []

    def stop(point: str) -> None:
        points.append(point)
        if len(points) % 4 == 0:
            raise KeyboardInterrupt

    monkeypatch.setattr(disk, "FAULT", stop)
    for _ in range(4):
        with pytest.raises(KeyboardInterrupt):
            compact_index(tmp_path / "a.geo")
        assert read_manifest(tmp_path / "a.geo") == first
        assert verify_index(tmp_path / "a.geo") == []
    monkeypatch.setattr(disk, "FAULT", None)
    done = compact_index(tmp_path / "a.geo")
    assert (len(done.segments), done.tiles) == (1, first.tiles)
    assert not (tmp_path / "a.geo" / "work-compact").exists()
    with (tmp_path / "a.geo" / "LOCK").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockedError):
            compact_index(tmp_path / "a.geo")
