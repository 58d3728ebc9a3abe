"""Small made imagery, and an index of it, for the tests of indexer/."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from affine import Affine
from numpy.typing import NDArray
from rasterio.crs import CRS

from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity

WEST_M, NORTH_M = 353400.0, 3058000.0  # in UTM 45 N
Write = Callable[..., Path]


def texture(height: int, width: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return (height, width, 3) smooth colours from 30 to 220."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(30, 221, (height // 8 + 2, width // 8 + 2, 3)).astype(np.uint8)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_LINEAR), np.uint8)


@pytest.fixture(scope="session")
def paint() -> Callable[..., NDArray[np.uint8]]:
    """Return `texture`."""
    return texture


@pytest.fixture(scope="session")
def write_raster() -> Write:
    """Return a function that writes (H, W, C) pixels as a GeoTIFF, 0.5 m/px at a place in UTM 45 N unless told."""

    def write(path: Path, pixels: NDArray[Any], crs: str | None = "EPSG:32645", affine: Affine | None = None, **more: Any) -> Path:
        mask, colours, palette = more.pop("mask", None), more.pop("colorinterp", None), more.pop("palette", None)
        place = affine or Affine(0.5, 0.0, WEST_M, 0.0, -0.5, NORTH_M)
        profile = {"driver": "GTiff", "height": pixels.shape[0], "width": pixels.shape[1], "count": pixels.shape[2], "dtype": pixels.dtype}
        with (
            rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True),
            rasterio.open(path, "w", crs=None if crs is None else CRS.from_string(crs), transform=place, **profile, **more) as data,
        ):
            data.write(pixels.transpose(2, 0, 1))
            if mask is not None:
                data.write_mask(mask)
            if colours is not None:
                data.colorinterp = colours
            if palette is not None:
                data.write_colormap(1, palette)
        return path

    return write


@pytest.fixture(scope="session")
def identity() -> ModelIdentity:
    """Return the identity of the model that `describe` stands for."""
    return ModelIdentity("made", "ab" * 32, "cd" * 16)


@pytest.fixture(scope="session")
def describe() -> Callable[[NDArray[np.uint8]], NDArray[np.float32]]:
    """Return a cheap description of tiles (B, P, P, 3) by (B, 48) unit vectors."""

    def of(tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        small = np.stack([cv2.resize(t, (4, 4), interpolation=cv2.INTER_AREA) for t in tiles]).reshape(len(tiles), -1)
        vectors = small.astype(np.float32) - 127.0
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    return of


@pytest.fixture(scope="session")
def options() -> BuildOptions:
    """Return options that suit imagery of 0.5 m: blocks of 128 m, tiles of 60 m and 32 px."""
    return BuildOptions(gsd_m=0.5, tile_m=60.0, stride_m=15.0, tile_px=32, min_valid=0.5, centre_valid=True, batch=8)


@pytest.fixture(scope="session")
def ortho(tmp_path_factory: pytest.TempPathFactory, write_raster: Write) -> Path:
    """Return a GeoTIFF of 250 x 200 m."""
    return write_raster(tmp_path_factory.mktemp("ortho") / "ortho.tif", texture(400, 500))


@pytest.fixture(scope="session")
def far_ortho(tmp_path_factory: pytest.TempPathFactory, write_raster: Write) -> Path:
    """Return a GeoTIFF of 150 x 130 m in another UTM zone, on the southern half."""
    affine = Affine(0.5, 0.0, 527000.0, 0.0, -0.5, 9332000.0)
    return write_raster(tmp_path_factory.mktemp("far") / "far.tif", texture(260, 300, seed=1), "EPSG:32737", affine)


@pytest.fixture(scope="session")
def made_index(tmp_path_factory: pytest.TempPathFactory, ortho: Path, far_ortho: Path, describe: Any, identity: Any, options: Any) -> Path:
    """Return an index of both orthophotos; nobody may change it."""
    out = tmp_path_factory.mktemp("made") / "made.geo"
    build_index([ortho, far_ortho], out, describe, identity, options)
    return out


def assert_equal_answers(one: Path, two: Path, levels: int = 0) -> None:
    """Assert that two indexes have the same tiles under the same ids, descriptors and imagery, to some levels of grey at seams."""
    with GeoIndex.open(one) as a, GeoIndex.open(two) as b:
        assert [(s.crs, s.first_id, s.tiles) for s in a.segments] == [(s.crs, s.first_id, s.tiles) for s in b.segments]
        np.testing.assert_array_equal(a.centres, b.centres)
        ids = np.arange(len(a))
        np.testing.assert_allclose(a.descriptors(ids), b.descriptors(ids), atol=1e-6 if levels == 0 else 0.05)
        for n, segment in enumerate(a.segments):
            centres = a.centres[segment.first_id : segment.first_id + segment.tiles]
            rgb_a, valid_a = a.read_windows(segment, centres, 60.0, 120)
            rgb_b, valid_b = b.read_windows(b.segments[n], centres, 60.0, 120)
            np.testing.assert_array_equal(valid_a, valid_b)
            assert np.abs(rgb_a.astype(int) - rgb_b).max() <= levels
        if levels == 0:
            queries = np.random.default_rng(0).normal(size=(7, a.manifest.dim)).astype(np.float32)
            for some in (None, ids[::3]):
                found = [i.search(queries, 9, ids=some) for i in (a, b)]
                np.testing.assert_array_equal(found[0][1], found[1][1])
                np.testing.assert_allclose(found[0][0], found[1][0], atol=1e-5)


@pytest.fixture(scope="session")
def same_answers() -> Callable[..., None]:
    """Return `assert_equal_answers`."""
    return assert_equal_answers
