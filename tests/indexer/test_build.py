"""What a build makes of its sources and options, what it refuses, and that equal commands end alike."""

from __future__ import annotations

import dataclasses
import fcntl
import math
import os
import platform
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from crossgeo import disk
from crossgeo.errors import InputError, LockedError, StoreError, UsageError, WeightsError
from crossgeo.indexer import parts
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity, check_file
from crossgeo.indexer.progress import Progress
from crossgeo.indexer.verify import verify_index


@pytest.fixture
def build(tmp_path: Path, describe: Any, identity: ModelIdentity, options: BuildOptions) -> Any:
    """Return a function that builds sources to an output with changed options."""

    def run(sources: list[Path], out: str = "a.geo", model: ModelIdentity = identity, **changes: Any) -> Any:
        return build_index(sources, tmp_path / out, describe, model, dataclasses.replace(options, **changes))

    return run


def test_equal_builds_are_equal_byte_for_byte(build: Any, tmp_path: Path, ortho: Path, far_ortho: Path) -> None:
    one, two = build([ortho, far_ortho], "one.geo"), build([ortho, far_ortho], "two.geo")
    assert one.hash == two.hash
    assert one.segments == two.segments  # names and checksums of every file
    assert {p.name for p in (tmp_path / "one.geo").iterdir()} == {"CURRENT", "LOCK", "manifest-000001.json", "segments"}


def test_progress_counts_blocks_then_tiles_to_the_end(tmp_path: Path, describe: Any, identity: Any, options: Any, ortho: Path) -> None:
    seen: list[Progress] = []
    manifest = build_index([ortho], tmp_path / "a.geo", describe, identity, options, progress=seen.append)
    assert [p.stage for p in seen] == sorted((p.stage for p in seen), reverse=True)
    for stage, total in (("imagery", manifest.segments[0].blocks), ("describe", manifest.tiles)):
        done = [p.done for p in seen if p.stage == stage]
        assert done == sorted(done)
        assert (done[-1], seen[[p.stage for p in seen].index(stage)].total) == (total, total)


def test_a_finished_index_is_returned_without_describing_again(
    build: Any, tmp_path: Path, identity: Any, options: Any, ortho: Path
) -> None:
    first = build([ortho])

    def never(_: Any) -> Any:
        raise AssertionError

    for overwrite in (False, True):
        again = build_index([ortho], tmp_path / "a.geo", never, identity, dataclasses.replace(options, overwrite=overwrite))
        assert again == first


@pytest.mark.parametrize("change", [{"stride_m": 20.0}, {"min_valid": 0.9}, {"model": ModelIdentity("x", "0", "0")}])
def test_another_index_is_replaced_only_when_told(build: Any, tmp_path: Path, ortho: Path, change: dict[str, Any]) -> None:
    first = build([ortho])
    with pytest.raises(UsageError, match="--overwrite"):
        build([ortho], **change)
    with GeoIndex.open(tmp_path / "a.geo") as pinned:
        second = build([ortho], overwrite=True, **change)
        assert second.hash != first.hash
        assert second.generation == 2
        assert pinned.manifest == first
        rgb, valid = pinned.read_window(pinned.segments[0], *pinned.centres[0], 60.0, 32)
        assert valid.any()
        assert rgb.any()
    with GeoIndex.open(tmp_path / "a.geo") as now:
        assert now.manifest == second
    assert verify_index(tmp_path / "a.geo") == []
    assert build([ortho], "fresh.geo", **change).hash == second.hash


def test_a_reader_that_a_new_generation_overtakes_opens_the_new_one(
    build: Any, tmp_path: Path, ortho: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build([ortho])
    new = []

    def overtaken(path: Path, record: Any) -> None:
        if not new:
            new.append(build([ortho], stride_m=30.0, overwrite=True, keep=0))  # its files are gone before they are read
        check_file(path, record)

    monkeypatch.setattr(parts, "check_file", overtaken)
    with GeoIndex.open(tmp_path / "a.geo") as index:
        assert index.manifest == new[0]


def test_a_damaged_index_is_mended_by_overwriting_it(build: Any, tmp_path: Path, ortho: Path) -> None:
    first = build([ortho])
    path = tmp_path / "a.geo" / "segments" / first.segments[0].name / "ann.faiss"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(StoreError, match=r"ann\.faiss"):
        build([ortho])
    assert build([ortho], overwrite=True).hash == first.hash
    (tmp_path / "a.geo" / "CURRENT").write_text("gone")
    with pytest.raises(StoreError, match="CURRENT"):
        build([ortho])
    assert build([ortho], overwrite=True).hash == first.hash
    assert verify_index(tmp_path / "a.geo") == []


def test_changed_imagery_is_another_index(build: Any, tmp_path: Path, write_raster: Any, paint: Any) -> None:
    path = write_raster(tmp_path / "a.tif", paint(300, 300))
    build([path])
    write_raster(path, paint(300, 300, seed=3))
    with pytest.raises(UsageError, match="holds another index"):
        build([path])


def test_an_unfinished_build_of_another_command_is_not_mixed_in(
    build: Any, tmp_path: Path, ortho: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(point: str) -> None:
        if point == "000000: renamed":
            raise KeyboardInterrupt

    monkeypatch.setattr(disk, "FAULT", stop)
    with pytest.raises(KeyboardInterrupt):
        build([ortho])
    monkeypatch.setattr(disk, "FAULT", None)
    with pytest.raises(UsageError, match=r"unfinished build of another command \(stride_m: 15\.0, now 20\.0\)"):
        build([ortho], stride_m=20.0)
    assert build([ortho], stride_m=20.0, overwrite=True).grid.stride_m == 20.0


def test_one_writer_at_a_time(build: Any, tmp_path: Path, ortho: Path) -> None:
    (tmp_path / "a.geo").mkdir()
    with (tmp_path / "a.geo" / "LOCK").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        for written, said in (("4711\n", "process 4711;"), ("4711 far-away.example\n", r"process 4711 on far-away\.example;")):
            held.seek(0)
            held.write(written)
            held.flush()
            with pytest.raises(LockedError, match=said):
                build([ortho])
    assert build([ortho]).tiles > 0
    assert (tmp_path / "a.geo" / "LOCK").read_text() == f"{os.getpid()} {platform.node()}\n"


def test_an_output_that_is_something_else_is_left_alone(build: Any, tmp_path: Path, ortho: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "mine").write_text("mine")
    for out in ("file", "folder"):
        with pytest.raises(UsageError, match="--out"):
            build([ortho], out, overwrite=True)
    assert (tmp_path / "folder" / "mine").read_text() == "mine"


def test_bad_imagery_leaves_no_output(build: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        build([tmp_path / "none.tif"])
    with pytest.raises(InputError, match="no imagery given"):
        build([])
    assert not (tmp_path / "a.geo").exists()


def test_imagery_smaller_than_a_tile_says_its_size(build: Any, tmp_path: Path, write_raster: Any, paint: Any) -> None:
    with pytest.raises(InputError, match=r"a\.tif.*40 x 40 m.*tile of 60 m"):
        build([write_raster(tmp_path / "a.tif", paint(80, 80))])


def test_imagery_without_a_valid_pixel_is_refused(build: Any, tmp_path: Path, write_raster: Any, ortho: Path) -> None:
    empty = write_raster(tmp_path / "a.tif", np.zeros((300, 300, 3), np.uint8), nodata=0)
    with pytest.raises(InputError, match=r"a\.tif.*no data"):
        build([ortho, empty])


def test_imagery_too_coarse_is_refused_unless_allowed(build: Any, tmp_path: Path, write_raster: Any, paint: Any) -> None:
    path = write_raster(tmp_path / "a.tif", paint(100, 100), affine=Affine(2.5, 0, 353400.0, 0, -2.5, 3058000.0))
    with pytest.raises(InputError, match=r"a\.tif has pixels of 2\.5 m"):
        build([path])
    assert build([path], max_coarser=6.0).tiles > 100


def test_earlier_sources_lie_over_later_ones_and_holes_are_filled(build: Any, tmp_path: Path, write_raster: Any) -> None:
    mask = np.full((300, 300), 255, np.uint8)
    mask[:, 150:] = 0
    top = write_raster(tmp_path / "top.tif", np.full((300, 300, 3), 200, np.uint8), mask=mask)
    below = write_raster(tmp_path / "below.tif", np.full((300, 300, 3), 60, np.uint8))
    for sources, left in (([top, below], 200), ([below, top], 60)):
        build(sources, f"{left}.geo")
        with GeoIndex.open(tmp_path / f"{left}.geo") as index:
            rgb, valid = index.read_window(index.segments[0], 353475.0, 3057925.0, 100.0, 200)
        assert valid.all()
        assert abs(int(rgb[100, 20, 0]) - left) <= 3
        assert abs(int(rgb[100, 180, 0]) - 60) <= 3


def test_imagery_of_several_pixel_sizes_shares_one_segment(build: Any, tmp_path: Path, write_raster: Any, paint: Any) -> None:
    fine = write_raster(tmp_path / "fine.tif", paint(800, 800), affine=Affine(0.125, 0, 353400.0, 0, -0.125, 3058000.0))
    coarse = write_raster(tmp_path / "coarse.tif", paint(100, 100), affine=Affine(1.0, 0, 353500.0, 0, -1.0, 3058000.0))
    manifest = build([fine, coarse])
    assert len(manifest.segments) == 1
    with GeoIndex.open(tmp_path / "a.geo") as index:
        assert index.read_window(index.segments[0], 353500.0, 3057950.0, 90.0, 90)[1].all()


def test_one_crs_for_all_is_used_where_it_fits(build: Any, ortho: Path, far_ortho: Path) -> None:
    assert build([ortho], crs="EPSG:32645").segments[0].crs == "EPSG:32645"
    assert build([ortho], "next.geo", crs="EPSG:32644").segments[0].crs == "EPSG:32644"  # 4.5 degrees off: 0.3 % long
    with pytest.raises(InputError, match=r"far\.tif.*true to scale"):
        build([ortho, far_ortho], "b.geo", crs="EPSG:32645")
    for crs in ("EPSG:4326", "EPSG:3857"):
        with pytest.raises(UsageError, match="not a metric CRS"):
            build([ortho], "b.geo", crs=crs)


def test_descriptors_that_are_none_are_refused(tmp_path: Path, identity: Any, options: Any, ortho: Path) -> None:
    for bad in (np.full(8, np.nan), np.zeros(8), np.full(8, 1.0)):
        with pytest.raises(WeightsError, match="model made"):
            build_index([ortho], tmp_path / "a.geo", lambda t, b=bad: np.tile(b, (len(t), 1)).astype(np.float32), identity, options)


@pytest.mark.parametrize(
    ("name", "value"), [("gsd_m", 0.0), ("gsd_m", math.nan), ("stride_m", -1.0), ("tile_m", 0.1), ("min_valid", 1.5), ("batch", 0)]
)
def test_options_out_of_range_are_refused(options: BuildOptions, name: str, value: float) -> None:
    with pytest.raises(UsageError, match=name):
        dataclasses.replace(options, **{name: value})
