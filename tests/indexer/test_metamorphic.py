"""Rules between builds: imagery moved or in another CRS gives the places moved or the same, and how a build is cut up changes nothing."""

from __future__ import annotations

import dataclasses
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from affine import Affine
from hypothesis import given, settings
from hypothesis import strategies as st
from rasterio.warp import Resampling, calculate_default_transform, reproject

from crossgeo.indexer import described, pieces
from crossgeo.indexer.ahead import ahead
from crossgeo.indexer.build import build_index
from crossgeo.indexer.index import GeoIndex

WEST_M, NORTH_M = 353408.0, 3058000.0
STRIDE_M = 16.0  # two cells of coverage: a shift by strides moves cells onto cells
CRS_OF_USERS = [
    "EPSG:4326",
    "EPSG:3857",
    "EPSG:32644",
    "EPSG:32646",
    "+proj=laea +lat_0=27.5 +lon_0=85.4",
    "+proj=omerc +lat_0=27 +lonc=85 +alpha=30 +gamma=0",
]
some = partial(settings, deadline=None, database=None)


@pytest.fixture(scope="module")
def build(describe: Any, identity: Any, options: Any) -> Any:
    """Return a function that builds sources in a folder with changed options."""

    def run(sources: list[Path], out: Path, **changes: Any) -> Any:
        return build_index(sources, out, describe, identity, dataclasses.replace(options, stride_m=STRIDE_M, **changes))

    return run


@pytest.fixture(scope="module")
def pixels(paint: Any) -> Any:
    """Return imagery of 150 x 130 m."""
    return paint(260, 300, seed=7)


@pytest.fixture(scope="module")
def still(tmp_path_factory: pytest.TempPathFactory, write_raster: Any, pixels: Any, build: Any) -> Any:
    """Return the GeoTIFF of it and its index, open."""
    folder = tmp_path_factory.mktemp("still")
    path = write_raster(folder / "still.tif", pixels, affine=Affine(0.5, 0.0, WEST_M, 0.0, -0.5, NORTH_M))
    build([path], folder / "still.geo")
    with GeoIndex.open(folder / "still.geo") as index:
        yield path, index


@some(max_examples=8)
@given(east=st.integers(-40, 40), north=st.integers(-40, 40))
def test_imagery_that_is_shifted_shifts_every_answer_equally(
    east: int, north: int, still: Any, write_raster: Any, pixels: Any, build: Any
) -> None:
    _, index = still
    shift = np.asarray([east, north]) * STRIDE_M
    with tempfile.TemporaryDirectory() as folder:
        place = Affine(0.5, 0.0, WEST_M + shift[0], 0.0, -0.5, NORTH_M + shift[1])
        build([write_raster(Path(folder) / "moved.tif", pixels, affine=place)], Path(folder) / "moved.geo")
        with GeoIndex.open(Path(folder) / "moved.geo") as moved:
            assert set(map(tuple, moved.centres)) == set(map(tuple, index.centres + shift))
            queries = index.descriptors(np.arange(len(index)))
            scores, ids = moved.search(queries, 1)
            wanted, themselves = index.search(queries, 1)
            np.testing.assert_array_equal(moved.centres[ids[:, 0]], index.centres[themselves[:, 0]] + shift)
            np.testing.assert_allclose(scores, wanted, atol=0.01)  # JPEG's blocks lie otherwise


@some(max_examples=6)
@given(crs=st.sampled_from(CRS_OF_USERS), finer=st.floats(1.0, 2.0))
def test_imagery_in_another_crs_gives_the_same_places(crs: str, finer: float, still: Any, build: Any) -> None:
    path, index = still
    with tempfile.TemporaryDirectory() as folder:
        other = Path(folder) / "other.tif"
        with rasterio.open(path) as data:
            place, width, height = calculate_default_transform(data.crs, crs, data.width, data.height, *data.bounds)
            width, height, place = round(width * finer), round(height * finer), place * Affine.scale(1 / finer)
            profile = {"driver": "GTiff", "width": width, "height": height, "count": 4, "dtype": "uint8", "crs": crs, "transform": place}
            with rasterio.open(other, "w", photometric="RGB", alpha="YES", **profile) as out:
                for band in (1, 2, 3):
                    warped = np.zeros((height, width), np.uint8)
                    reproject(rasterio.band(data, band), warped, dst_transform=place, dst_crs=crs, resampling=Resampling.cubic)
                    out.write(warped, band)
                seen = np.zeros((height, width), np.uint8)
                whole = np.full((data.height, data.width), 255, np.uint8)
                reproject(whole, seen, src_transform=data.transform, src_crs=data.crs, dst_transform=place, dst_crs=crs)
                out.write(seen, 4)
        build([other], Path(folder) / "other.geo")
        with GeoIndex.open(Path(folder) / "other.geo") as found:
            assert found.segments[0].crs == index.segments[0].crs
            x, y = (index.centres - [WEST_M, NORTH_M]).T
            inside = np.flatnonzero((x >= 32) & (x <= 118) & (y <= -32) & (y >= -98))
            assert len(inside) > 20
            _, ids = found.search(index.descriptors(inside), 1)
            np.testing.assert_array_equal(found.centres[ids[:, 0]], index.centres[inside])


@some(max_examples=10)
@given(
    order=st.permutations(range(4)),
    batch=st.integers(1, 40),
    workers=st.integers(1, 6),
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)),
)
def test_order_batches_workers_and_pieces_change_nothing(
    order: list[int], batch: int, workers: int, sizes: tuple[int, int], parts: Any, build: Any
) -> None:
    sources, wanted = parts
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(pieces, "ahead", partial(ahead, workers=workers))
        patch.setattr(described, "ahead", partial(ahead, workers=workers))
        patch.setattr(pieces, "BLOCKS_PER_PIECE", sizes[0])
        patch.setattr(described, "BATCHES_PER_PIECE", sizes[1])
        made = build([sources[n] for n in order], Path(folder) / "a.geo", batch=batch)
    assert made.segments == wanted.segments  # names and checksums of every file
    assert sorted(made.sources, key=str) == sorted(wanted.sources, key=str)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory, write_raster: Any, pixels: Any, build: Any) -> Any:
    """Return the imagery in four parts that abut, and the manifest of their index."""
    folder = tmp_path_factory.mktemp("parts")
    sources = []
    for row, rows in ((0, slice(0, 100)), (100, slice(100, 260))):
        for col, cols in ((0, slice(0, 170)), (170, slice(170, 300))):
            place = Affine(0.5, 0.0, WEST_M + col / 2, 0.0, -0.5, NORTH_M - row / 2)
            sources.append(write_raster(folder / f"{row}-{col}.tif", pixels[rows, cols], affine=place))
    return sources, build(sources, folder / "parts.geo")
