"""Tiles that show little are left out or thinned, by a measure that is what it is said to be, and additions keep to it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine

from crossgeo.errors import InputError, UsageError
from crossgeo.indexer.add import add_to_index
from crossgeo.indexer.block_store import BlockStore
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.contrast import contrasts
from crossgeo.indexer.ground import Ground, Layer
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import read_manifest, segment_path

WEST_M, NORTH_M = 353400.0, 3058000.0


def calm_in_the_east(paint: Any, seed: int) -> Any:
    """Return 320 x 480 px of which the eastern half is one colour."""
    rgb = paint(320, 480, seed=seed)
    rgb[:, 240:] = (60, 80, 90)
    return rgb


def tiles_of(index: Path) -> dict[tuple[float, float], int]:
    """Return the ids of the tiles by their centres."""
    with GeoIndex.open(index) as opened:
        return {(float(x), float(y)): n for n, (x, y) in enumerate(opened.centres)}


def test_contrast_is_how_far_the_cells_differ_in_colour(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any
) -> None:
    rng = np.random.default_rng(0)
    rgb = np.asarray(paint(700, 700, seed=3))
    mask = np.where(rng.random((44, 44)) < 0.1, 0, 255).astype(np.uint8).repeat(16, 0).repeat(16, 1)[:700, :700]
    path = write_raster(tmp_path / "a.tif", rgb, mask=mask)
    options = BuildOptions(gsd_m=0.5, tile_px=32, stride_m=24.0, tile_m=64.0)
    built = build_index([path], tmp_path / "a.geo", describe, identity, options)
    with (
        GeoIndex.open(tmp_path / "a.geo") as index,
        BlockStore(segment_path(index.path, built.segments[0].name) / "blocks.lmdb") as store,
    ):
        tiles = np.rint(index.centres / 24.0).astype(np.int32)
        found = contrasts(Ground([Layer(store)]), tiles, 0.5, 64.0, 24.0)
        for n in range(0, len(tiles), 17):
            x, y = index.centres[n]
            window, valid = index.read_window(index.segments[0], float(x), float(y), 64.0, 128)  # 8 x 8 cells of 8 m, on their borders
            assert (x / 8.0, y / 8.0) == (round(x / 8.0), round(y / 8.0))
            cells = window.reshape(8, 16, 8, 16, 3).swapaxes(1, 2).reshape(64, 256, 3).astype(float)
            kept = valid.reshape(8, 16, 8, 16).swapaxes(1, 2).reshape(64, 256)
            means = np.asarray([c[k].mean(axis=0) for c, k in zip(cells, kept, strict=True) if k.sum() >= 128])
            assert found[n] == pytest.approx(np.sqrt(means.var(axis=0).mean()), abs=1e-6)


def test_tiles_that_show_nothing_are_left_out(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any
) -> None:
    path = write_raster(tmp_path / "a.tif", calm_in_the_east(paint, 1))
    build_index([path], tmp_path / "all.geo", describe, identity, options)
    some = build_index([path], tmp_path / "some.geo", describe, identity, dataclasses.replace(options, min_contrast=5.0))
    every, kept = tiles_of(tmp_path / "all.geo"), tiles_of(tmp_path / "some.geo")
    east_m = WEST_M + 120.0
    assert kept.keys() == {(x, y) for x, y in every if x - 30.0 < east_m - 4.0}
    assert json.loads((tmp_path / "some.geo" / "manifest-000001.json").read_text())["features"] == ["content"]
    assert read_manifest(tmp_path / "some.geo") == some
    with GeoIndex.open(tmp_path / "some.geo") as index:
        assert index.covers(index.segments[0], WEST_M + 200.0, NORTH_M - 80.0)  # its imagery is there for clicks and windows


def test_where_ground_is_dull_every_second_tile_of_every_second_row_stays(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any
) -> None:
    path = write_raster(tmp_path / "a.tif", calm_in_the_east(paint, 1))
    build_index([path], tmp_path / "all.geo", describe, identity, options)
    build_index([path], tmp_path / "some.geo", describe, identity, dataclasses.replace(options, sparse_below=5.0))
    every, kept = tiles_of(tmp_path / "all.geo"), tiles_of(tmp_path / "some.geo")
    dull = {(x, y) for x, y in every if x - 30.0 >= WEST_M + 116.0}
    assert dull
    assert kept.keys() == {(x, y) for x, y in every if (x, y) not in dull or (x % 30.0, y % 30.0) == (0.0, 0.0)}
    with GeoIndex.open(tmp_path / "some.geo") as index:
        assert (index.stride_m, index.widest_stride_m) == (15.0, 30.0)


def test_an_addition_keeps_to_the_contrast_that_the_index_asks_for(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, same_answers: Any
) -> None:
    how = dataclasses.replace(options, min_contrast=5.0, sparse_below=30.0)
    a = write_raster(tmp_path / "a.tif", calm_in_the_east(paint, 1))
    b = write_raster(tmp_path / "b.tif", paint(320, 320, seed=2), affine=Affine(0.5, 0, WEST_M + 240, 0, -0.5, NORTH_M - 40))
    build_index([a, b], tmp_path / "both.geo", describe, identity, how)
    build_index([a], tmp_path / "a.geo", describe, identity, how)
    add_to_index([b], tmp_path / "a.geo", describe, identity)
    same_answers(tmp_path / "a.geo", tmp_path / "both.geo")


def test_ground_that_shows_too_little_anywhere_is_refused(tmp_path: Path, ortho: Path, describe: Any, identity: Any, options: Any) -> None:
    with pytest.raises(InputError, match=r"contrast of 200.*lower --min-valid or --min-contrast"):
        build_index([ortho], tmp_path / "a.geo", describe, identity, dataclasses.replace(options, min_contrast=200.0))
    with pytest.raises(UsageError, match="min_contrast"):
        dataclasses.replace(options, min_contrast=-1.0)
