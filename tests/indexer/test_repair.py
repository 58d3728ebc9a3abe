"""Repairing: what can be derived comes back byte for byte, and the rest is named."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.errors import InputError, LockedError, StoreError
from crossgeo.indexer import repair
from crossgeo.indexer.add import add_to_index
from crossgeo.indexer.generations import roll_back
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import read_manifest, segment_path
from crossgeo.indexer.repair import repair_index
from crossgeo.indexer.verify import verify_index


@pytest.fixture
def copied(tmp_path: Path, made_index: Path) -> Path:
    """Return an index that may be damaged."""
    shutil.copytree(made_index, tmp_path / "a.geo")
    return tmp_path / "a.geo"


def derived(index: Path) -> list[Path]:
    """Return the files that are made from others."""
    return [
        segment_path(index, s.name) / name
        for s in read_manifest(index).segments
        for name in sorted(s.files)
        if name not in ("blocks.lmdb", "descriptors.h5")
    ]


@pytest.mark.parametrize("how", ["cut", "flipped", "gone"])
def test_what_is_searched_is_made_again_from_the_descriptors(copied: Path, how: str) -> None:
    first = read_manifest(copied)
    for path in derived(copied):
        data = path.read_bytes()
        path.unlink()
        if how != "gone":
            path.write_bytes(data[:-9] if how == "cut" else data[:-9] + bytes([data[-9] ^ 4]) + data[-8:])
    assert len(verify_index(copied)) == len(derived(copied))
    assert len(repair_index(copied)) == len(derived(copied))
    assert verify_index(copied) == []
    assert read_manifest(copied) == first
    assert repair_index(copied) == []


def test_what_comes_out_otherwise_is_a_segment_of_a_new_generation(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with GeoIndex.open(copied) as index:
        first, descriptors = index.manifest, index.descriptors(np.arange(len(index)))
    path = derived(copied)[0]
    path.write_bytes(b"")
    write, whole = repair.write_search, repair.matches

    def otherwise(folder: Path) -> None:
        write(folder)
        (folder / "more").write_bytes(b"another version makes this, too")

    monkeypatch.setattr(repair, "write_search", otherwise)
    monkeypatch.setattr(repair, "matches", lambda at, record: "work-repair" not in str(at) and whole(at, record))
    repair_index(copied)
    done = read_manifest(copied)
    assert done.generation == first.generation + 1
    assert [s.name == t.name for s, t in zip(done.segments, first.segments, strict=True)] == [False, True]
    assert verify_index(copied) == []
    with GeoIndex.open(copied) as index:
        np.testing.assert_array_equal(index.descriptors(np.arange(len(index))), descriptors)


def test_a_lost_pointer_comes_back_to_the_newest_generation_that_is_whole(
    copied: Path, ortho: Path, describe: Any, identity: Any, write_raster: Any, paint: Any, tmp_path: Path
) -> None:
    first = read_manifest(copied)
    more = write_raster(tmp_path / "more.tif", paint(200, 200, seed=4), "EPSG:32646")
    second = add_to_index([more], copied, describe, identity)
    for text in ("", "manifest-000001.json nonsense"):
        (copied / "CURRENT").write_text(text)
        with pytest.raises(StoreError, match="CURRENT"):
            read_manifest(copied)
        assert "generation 2" in repair_index(copied)[0]
        assert read_manifest(copied) == second
    manifest = copied / "manifest-000002.json"
    manifest.write_bytes(manifest.read_bytes()[:-40])
    assert "generation 1" in repair_index(copied)[0]
    assert read_manifest(copied) == first
    assert verify_index(copied) == []


@pytest.mark.parametrize("name", ["blocks.lmdb", "descriptors.h5"])
def test_what_cannot_be_derived_is_left_and_named(copied: Path, name: str) -> None:
    path = segment_path(copied, read_manifest(copied).segments[0].name) / name
    path.write_bytes(path.read_bytes()[:-1])
    assert repair_index(copied) == []
    assert [name in problem for problem in verify_index(copied)] == [True]


def test_only_an_index_that_nobody_writes_is_repaired(copied: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        repair_index(tmp_path / "none.geo")
    with (copied / "LOCK").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockedError):
            repair_index(copied)


def test_going_back_asks_for_a_generation_that_is_kept_and_whole(
    copied: Path, describe: Any, identity: Any, write_raster: Any, paint: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="keeps no generation before 1"):
        roll_back(copied)
    with pytest.raises(InputError, match="is not there"):
        roll_back(tmp_path / "none.geo")
    first = read_manifest(copied)
    second = add_to_index([write_raster(tmp_path / "more.tif", paint(200, 200, seed=4), "EPSG:32646")], copied, describe, identity)
    with pytest.raises(InputError, match="keeps no generation 7, but 1, 2"):
        roll_back(copied, 7)
    assert roll_back(copied) == first
    assert read_manifest(copied) == first
    assert roll_back(copied, 2) == second
    (new,) = {s.name for s in second.segments} - {s.name for s in first.segments}
    assert roll_back(copied, 1) == first
    path = segment_path(copied, new) / "blocks.lmdb"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"blocks\.lmdb"):
        roll_back(copied, 2)
    assert read_manifest(copied) == first
