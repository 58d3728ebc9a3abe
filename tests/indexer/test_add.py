"""Adding imagery: build(A) + add(B) is build(A and B), tile for tile and pixel for pixel, and what cannot be added is refused."""

from __future__ import annotations

import dataclasses
import fcntl
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgeo.errors import InputError, LockedError, MismatchError, UsageError
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.manifest import ModelIdentity, read_manifest
from crossgeo.indexer.verify import verify_index

WEST_M, NORTH_M = 353400.0, 3058000.0


def raster(write: Any, path: Path, pixels: Any, east_px: int = 0, south_px: int = 0, **more: Any) -> Path:
    """Write pixels of 0.5 m that many pixels off the usual corner."""
    at = Affine(0.5, 0.0, WEST_M + 0.5 * east_px, 0.0, -0.5, NORTH_M - 0.5 * south_px)
    made: Path = write(path, pixels, affine=at, **more)
    return made


@pytest.mark.parametrize("over", [False, True])
@pytest.mark.parametrize("place", [(304, 0), (200, 80), (40, 40), (0, 240), (2000, 0)])
def test_a_build_and_an_addition_answer_like_one_build(
    tmp_path: Path,
    write_raster: Any,
    paint: Any,
    describe: Any,
    identity: Any,
    options: Any,
    same_answers: Any,
    place: tuple[int, int],
    over: bool,
) -> None:
    """Seams lie on JPEG's own 8 px cells here, so that not one pixel may differ."""
    hole = np.full((240, 304), 255, np.uint8)
    hole[96:160, 80:176] = 0
    a = raster(write_raster, tmp_path / "a.tif", paint(240, 304, seed=1), mask=hole)
    b = raster(write_raster, tmp_path / "b.tif", paint(240, 320, seed=2), *place)
    build_index([b, a] if over else [a, b], tmp_path / "both.geo", describe, identity, options)
    build_index([a], tmp_path / "a.geo", describe, identity, options)
    added = add_to_index([b], tmp_path / "a.geo", describe, identity, AddOptions(over=over, batch=5))
    assert added.generation == 2
    same_answers(tmp_path / "a.geo", tmp_path / "both.geo")
    assert verify_index(tmp_path / "a.geo") == []


@settings(max_examples=12, deadline=None)
@given(east=st.integers(-320, 340), south=st.integers(-260, 260), turn=st.integers(1, 40), order=st.booleans())
def test_wherever_imagery_is_added_the_answers_are_those_of_one_build(
    tmp_path_factory: pytest.TempPathFactory,
    write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, same_answers: Any,
    east: int, south: int, turn: int, order: bool,
) -> None:  # fmt: skip
    """At any seam the 8 px cells of JPEG that hold both pictures may differ by what JPEG loses; which tiles there are may not."""
    folder = tmp_path_factory.mktemp("any")
    a = raster(write_raster, folder / "a.tif", paint(200, 260, seed=turn))
    b = raster(write_raster, folder / "b.tif", paint(180, 240, seed=turn + 1), east, south)
    build_index([b, a] if order else [a, b], folder / "both.geo", describe, identity, options)
    build_index([a], folder / "a.geo", describe, identity, options)
    add_to_index([b], folder / "a.geo", describe, identity, AddOptions(over=order))
    same_answers(folder / "a.geo", folder / "both.geo", levels=60)


def test_additions_follow_one_another_and_reach_other_zones(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, far_ortho: Path, same_answers: Any
) -> None:
    parts = [raster(write_raster, tmp_path / f"{n}.tif", paint(200, 208, seed=n), 200 * n, 8 * n) for n in range(3)]
    build_index([parts[0], far_ortho, *parts[1:]], tmp_path / "all.geo", describe, identity, options)
    build_index(parts[:1], tmp_path / "a.geo", describe, identity, options)
    for more in ([far_ortho], [parts[1]], [parts[2]]):
        add_to_index(more, tmp_path / "a.geo", describe, identity)
    same_answers(tmp_path / "a.geo", tmp_path / "all.geo")
    names = {p.name for p in (tmp_path / "a.geo").iterdir()}
    assert names == {"CURRENT", "LOCK", "manifest-000003.json", "manifest-000004.json", "removed", "segments"}


@pytest.fixture
def made(tmp_path: Path, ortho: Path, describe: Any, identity: ModelIdentity, options: BuildOptions) -> Path:
    """Return an index of one orthophoto."""
    build_index([ortho], tmp_path / "a.geo", describe, identity, options)
    return tmp_path / "a.geo"


def test_the_same_addition_again_changes_nothing(made: Path, far_ortho: Path, describe: Any, identity: Any) -> None:
    first = add_to_index([far_ortho], made, describe, identity, AddOptions(vintage="2023-06", licence="CC BY 4.0"))

    def never(_: Any) -> Any:
        raise AssertionError

    assert add_to_index([far_ortho], made, never, identity, AddOptions(vintage="2023-06", licence="CC BY 4.0")) == first
    assert [(s.name, s.vintage, s.licence) for s in first.sources] == [("ortho.tif", None, None), ("far.tif", "2023-06", "CC BY 4.0")]


def test_imagery_hidden_by_what_is_there_adds_no_tile(made: Path, ortho: Path, describe: Any, identity: Any) -> None:
    first = read_manifest(made)
    done = add_to_index([ortho], made, describe, identity, AddOptions(vintage="2024"))
    assert done.tiles == first.tiles
    assert done.segments[0] == first.segments[0]
    assert set(done.segments[1].files) == {"blocks.lmdb"}
    assert verify_index(made) == []


def test_what_cannot_be_added_is_refused_and_changes_nothing(
    made: Path, tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, far_ortho: Path
) -> None:
    first = read_manifest(made)
    coarse = write_raster(tmp_path / "c.tif", paint(100, 100), affine=Affine(2.5, 0, WEST_M, 0, -2.5, NORTH_M))
    empty = write_raster(tmp_path / "e.tif", np.zeros((300, 300, 3), np.uint8), nodata=0)
    for sources, model, kind, said in (
        ([far_ortho], dataclasses.replace(identity, sha256="ef" * 32), MismatchError, "another set of weights"),
        ([coarse], identity, InputError, r"c\.tif has pixels of 2\.5 m"),
        ([empty], identity, InputError, r"e\.tif.*no data"),
        ([tmp_path / "none.tif"], identity, InputError, "no such file"),
    ):
        with pytest.raises(kind, match=said):
            add_to_index(sources, made, describe, model)
        assert read_manifest(made) == first
    with pytest.raises(InputError, match="is not there"):
        add_to_index([far_ortho], tmp_path / "none.geo", describe, identity)
    with pytest.raises(UsageError, match="give a year, a month or a day"):
        AddOptions(vintage="June")
    with (made / "LOCK").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(LockedError):
            add_to_index([far_ortho], made, describe, identity)


def test_an_interrupted_addition_goes_on_and_another_one_is_not_mixed_in(
    made: Path,
    tmp_path: Path,
    write_raster: Any,
    paint: Any,
    describe: Any,
    identity: Any,
    far_ortho: Path,
) -> None:
    b = raster(write_raster, tmp_path / "b.tif", paint(240, 320, seed=2), 480, 80)
    asked = [0]

    def stops(tiles: Any) -> Any:
        asked[0] += len(tiles)
        if asked[0] > 60:
            raise KeyboardInterrupt
        return describe(tiles)

    first = read_manifest(made)
    with pytest.raises(KeyboardInterrupt):
        add_to_index([b], made, stops, identity, AddOptions(batch=4))
    assert read_manifest(made) == first
    with pytest.raises(UsageError, match=r"unfinished add of another command \(other sources\).*--restart"):
        add_to_index([far_ortho], made, describe, identity, AddOptions(batch=4))
    again = [0]

    def counts(tiles: Any) -> Any:
        again[0] += len(tiles)
        return describe(tiles)

    done = add_to_index([b], made, counts, identity, AddOptions(batch=4))
    assert again[0] < done.segments[-1].tiles
    assert not (made / "work").exists()
    assert add_to_index([far_ortho], made, describe, identity).tiles > done.tiles
