"""Merged indexes answer as one build of all their imagery; those that do not go together are refused."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from affine import Affine

from crossgeo import disk
from crossgeo.errors import InputError, LimitError, MismatchError, StoreError, UsageError
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import build_index
from crossgeo.indexer.manifest import read_manifest, segment_path
from crossgeo.indexer.merge import merge_indexes
from crossgeo.indexer.region import Region
from crossgeo.indexer.remove import What, remove_from_index
from crossgeo.indexer.verify import verify_index

WEST_M, NORTH_M = 353400.0, 3058000.0


@pytest.fixture
def pieces(tmp_path: Path, write_raster: Any, paint: Any) -> list[Path]:
    """Pictures whose edges lie on JPEG's 8 px cells: two that overlap, one that touches, one far away in the same CRS."""
    places = [(0, 0), (104, -40), (264, 0), (4000, 800)]
    return [
        write_raster(tmp_path / f"{n}.tif", paint(240, 320, seed=n), affine=Affine(0.5, 0, WEST_M + x, 0, -0.5, NORTH_M + y))
        for n, (x, y) in enumerate(places)
    ]


def test_merged_indexes_answer_like_one_build(
    tmp_path: Path, pieces: list[Path], far_ortho: Path, describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    build_index([pieces[0], far_ortho, *pieces[1:]], tmp_path / "all.geo", describe, identity, options)
    for name, sources in (("a", [pieces[0]]), ("b", [far_ortho, pieces[1]]), ("c", pieces[2:])):
        build_index(
            sources, tmp_path / f"{name}.geo", describe, identity, dataclasses.replace(options, vintage="2024" if name == "b" else None)
        )
    before = [read_manifest(tmp_path / f"{name}.geo") for name in "abc"]
    done = merge_indexes([tmp_path / f"{name}.geo" for name in "abc"], tmp_path / "m.geo", describe)
    same_answers(tmp_path / "m.geo", tmp_path / "all.geo")
    assert verify_index(tmp_path / "m.geo") == []
    assert {p.name for p in (tmp_path / "m.geo").iterdir()} == {"CURRENT", "manifest-000001.json", "removed", "segments"}
    assert [(s.name, s.layer, s.vintage) for s in done.sources] == [
        ("0.tif", 0, None), ("far.tif", 1, "2024"), ("1.tif", 1, "2024"), ("2.tif", 2, None), ("3.tif", 2, None)
    ]  # fmt: skip
    assert [read_manifest(tmp_path / f"{name}.geo") for name in "abc"] == before


def test_indexes_that_were_changed_merge_as_they_are(
    tmp_path: Path, pieces: list[Path], describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    build_index(pieces[:1], tmp_path / "a.geo", describe, identity, options)
    add_to_index(pieces[2:3], tmp_path / "a.geo", describe, identity, AddOptions(over=True))
    build_index(pieces[1:2], tmp_path / "b.geo", describe, identity, options)
    region = Region.box(85.5151, 27.6370, 85.5156, 27.6390)
    remove_from_index(tmp_path / "b.geo", What(region), describe)
    merge_indexes([tmp_path / "a.geo", tmp_path / "b.geo"], tmp_path / "m.geo", describe)
    build_index([pieces[2], pieces[0]], tmp_path / "all.geo", describe, identity, options)
    add_to_index(pieces[1:2], tmp_path / "all.geo", describe, identity, AddOptions(masks=(region,)))
    same_answers(tmp_path / "m.geo", tmp_path / "all.geo")
    build_index(pieces[3:], tmp_path / "far.geo", describe, identity, options)

    def never(_: Any) -> Any:
        raise AssertionError

    merge_indexes([tmp_path / "m.geo", tmp_path / "far.geo"], tmp_path / "n.geo", never)  # they do not meet
    assert verify_index(tmp_path / "n.geo") == []


def test_what_does_not_go_together_is_refused_and_leaves_nothing(
    tmp_path: Path, pieces: list[Path], describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, out = tmp_path / "a.geo", tmp_path / "b.geo", tmp_path / "m.geo"
    build_index(pieces[:1], a, describe, identity, options)
    build_index(pieces[1:2], b, describe, dataclasses.replace(identity, sha256="12" * 32), options)
    with pytest.raises(MismatchError, match=r"another model.*sha256: 'abab.*and '1212"):
        merge_indexes([a, b], out, describe)
    build_index(pieces[1:2], b, describe, identity, dataclasses.replace(options, stride_m=30.0, overwrite=True))
    with pytest.raises(MismatchError, match=r"another grid \(stride_m: 15\.0 and 30\.0\)"):
        merge_indexes([a, b], out, describe)
    build_index(pieces[1:2], b, describe, identity, dataclasses.replace(options, overwrite=True))
    with pytest.raises(UsageError, match="two indexes"):
        merge_indexes([a], out, describe)
    with pytest.raises(InputError, match="exists already"):
        merge_indexes([a, b], a, describe)
    with pytest.raises(InputError, match="is not there"):
        merge_indexes([a, tmp_path / "none.geo"], out, describe)

    def full(point: str) -> None:
        if point == "CURRENT: written":
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(disk, "FAULT", full)
    with pytest.raises(LimitError, match="No space left"):
        merge_indexes([a, b], out, describe)
    monkeypatch.setattr(disk, "FAULT", None)
    path = segment_path(b, read_manifest(b).segments[0].name) / "blocks.lmdb"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"blocks\.lmdb"):
        merge_indexes([a, b], out, describe)
    assert {p.name for p in tmp_path.iterdir() if p.suffix != ".tif"} == {"a.geo", "b.geo"}
