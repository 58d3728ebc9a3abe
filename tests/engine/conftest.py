"""A small place to look for photos in: a random patchwork as imagery, its index, and a describer that needs no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from rasterio.transform import from_origin
from torch import Tensor

from crossgeo.engine.photo import Photo
from crossgeo.engine.photo_maps import STRIDES
from crossgeo.engine.placing import DronePlacer, Offsets, Placer, StreetPlacer
from crossgeo.engine.pose import Pose
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.models.views import DroneView, PhotoGeometry, ground_to_photo, warp

GSD_M = 0.5
WEST, NORTH = 363_000.0, 3_057_600.0  # in EPSG:32645
SIDE_M = 300.0


class ColourDescriber:
    """Describes by the mean colours of a 12 x 12 grid: a stand-in for a trained model that is right wherever pixels agree."""

    identity = ModelIdentity("colours", "0" * 64, "view")

    def __init__(self, card: dict[str, Any] | None = None) -> None:
        self.card = card or {"thresholds": {"score": 0.75, "margin": 0.05}}
        self.view = DroneView(size_px=96)
        self.placer: Placer[Any] = DronePlacer()
        self.tiles_described = 0

    def photo(self, photo: Photo, poses: Sequence[Pose]) -> NDArray[np.float32]:
        canvases, masks = self._place(photo, poses, None, self.view.size_px, self.view.extent_m)
        return np.stack([self._describe(canvas, mask) for canvas, mask in zip(canvases, masks, strict=True)])

    def _place(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Offsets | None, size_px: int, extent_m: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        return self.placer.place(photo, poses, centres_m or [pose.offset_m(photo) for pose in poses], size_px, extent_m)

    tiles_run_on = "numpy fp32 on cpu"

    def tiles(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.tiles_described += len(tiles)
        return np.stack([self._describe(self.view.tile_input(tile), None) for tile in tiles])

    def _describe(self, image: NDArray[np.uint8], mask: NDArray[np.bool_] | None) -> NDArray[np.float32]:
        weight = np.ones(image.shape[:2], np.float32) if mask is None else mask.astype(np.float32)
        mean = (image * weight[..., None]).sum(axis=(0, 1)) / max(float(weight.sum()), 1.0)
        cells = cv2.resize((image - mean) * weight[..., None], (12, 12), interpolation=cv2.INTER_AREA).reshape(-1)
        return np.asarray(cells / max(float(np.linalg.norm(cells)), 1e-6), np.float32)


class DenseColours(ColourDescriber):
    """The same descriptors, and mean colours of 8 and 16 px of a 160 px canvas as feature maps."""

    canvas_px, canvas_m = 160, 60.0

    def photo_with_features(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Offsets | None = None
    ) -> tuple[NDArray[np.float32], list[Tensor], NDArray[np.bool_]]:
        canvases, masks = self._place(photo, poses, centres_m, self.view.size_px, self.view.extent_m)
        rows = np.stack([self._describe(canvas, mask) for canvas, mask in zip(canvases, masks, strict=True)])
        return rows, *self.photo_features(photo, poses, centres_m)

    def photo_features(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Offsets | None = None, extent_m: float | None = None
    ) -> tuple[list[Tensor], NDArray[np.bool_]]:
        canvases, masks = self._place(photo, poses, centres_m, self.canvas_px, extent_m or self.canvas_m)
        return self.scene_features(canvases), masks

    def scene_features(self, windows: NDArray[np.uint8]) -> list[Tensor]:
        images = torch.from_numpy(windows).permute(0, 3, 1, 2).float()
        return [F.avg_pool2d(images, stride) for stride in STRIDES]


def patchwork(seed: int, side_px: int) -> NDArray[np.uint8]:
    """Coloured blobs of about 40, 20 and 10 m."""
    rng = np.random.default_rng(seed)
    total = np.full((side_px, side_px, 3), 128.0, np.float32)
    for blob_px, depth in ((80, 40.0), (40, 60.0), (20, 80.0)):
        noise = rng.uniform(-depth, depth, (side_px // blob_px + 1, side_px // blob_px + 1, 3)).astype(np.float32)
        total += cv2.resize(noise, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return np.clip(total, 0, 255).astype(np.uint8)


def write_ortho(path: Path, rgb: NDArray[np.uint8]) -> None:
    """Write a GeoTIFF at (WEST, NORTH)."""
    height, width = rgb.shape[:2]
    profile = {"driver": "GTiff", "width": width, "height": height, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(path, "w", transform=from_origin(WEST, NORTH, GSD_M, GSD_M), **profile) as file:
        file.write(rgb.transpose(2, 0, 1))


class Ground:
    """The imagery as an array, to take photos of."""

    def __init__(self, rgb: NDArray[np.uint8]) -> None:
        self.rgb = rgb

    def photo(self, x: float, y: float, heading_deg: float, width_m: float, tilt_deg: float = 0.0, fov_deg: float = 70.0) -> Photo:
        """Take a 200 x 150 photo whose centre shows (x, y)."""
        geometry = PhotoGeometry(200, 150, width_m, heading_deg, tilt_deg, fov_deg)
        to_ground = np.linalg.inv(ground_to_photo(geometry))
        to_source = np.array([[1 / GSD_M, 0, (x - WEST) / GSD_M], [0, -1 / GSD_M, (NORTH - y) / GSD_M], [0, 0, 1.0]])
        pixels, _ = warp(self.rgb, to_source @ to_ground, (200, 150))
        return Photo.from_pixels(pixels, "made.png")


@pytest.fixture(scope="session")
def ground() -> Ground:
    """The imagery that `index` holds."""
    return Ground(patchwork(1, round(SIDE_M / GSD_M)))


@pytest.fixture(scope="session")
def index_path(tmp_path_factory: pytest.TempPathFactory, ground: Ground) -> Path:
    """An index of the patchwork by ColourDescriber: 0.5 m, tiles of 60 m each 15 m."""
    folder = tmp_path_factory.mktemp("ground")
    write_ortho(folder / "ortho.tif", ground.rgb)
    describer = ColourDescriber()
    options = BuildOptions(gsd_m=GSD_M, tile_px=96)
    build_index([folder / "ortho.tif"], folder / "index.geo", describer.tiles, describer.identity, options)
    return folder / "index.geo"


@pytest.fixture(scope="session", name="write_ortho")
def write_ortho_fixture() -> Callable[[Path, NDArray[np.uint8]], None]:
    """How to write imagery where the patchwork lies."""
    return write_ortho


@pytest.fixture(scope="session")
def make_describer() -> type[ColourDescriber]:
    """The describer's class, to make others of."""
    return ColourDescriber


@pytest.fixture(scope="session")
def dense() -> DenseColours:
    """A describer with feature maps."""
    return DenseColours()


@pytest.fixture(scope="session")
def make_patchwork() -> Callable[[int, int], NDArray[np.uint8]]:
    """How to make more ground: seed and side in pixels."""
    return patchwork


@pytest.fixture(scope="session")
def make_ground() -> type[Ground]:
    """How to take photos of it."""
    return Ground


@pytest.fixture
def search(index_path: Path) -> Iterator[GeoSearch]:
    """A search over the patchwork."""
    with GeoSearch(GeoIndex.open(index_path), ColourDescriber()) as opened:
        yield opened


@pytest.fixture
def dense_search(index_path: Path, dense: DenseColours) -> Iterator[GeoSearch]:
    """A search that registers and judges, as that of the shipped weights does."""
    with GeoSearch(GeoIndex.open(index_path), dense) as opened:
        yield opened


@pytest.fixture
def street_search(index_path: Path, dense: DenseColours) -> Iterator[GeoSearch]:
    """A search for photos of either kind."""
    street = DenseColours()
    street.placer = StreetPlacer()
    with GeoSearch(GeoIndex.open(index_path), dense, street=street) as opened:
        yield opened
