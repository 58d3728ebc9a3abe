"""A small ground with outlines, drawn from a seed, and a small city with photos from its streets."""

from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import PIL.Image
import pytest
import rasterio
import torch
from numpy.typing import NDArray
from rasterio.transform import from_origin

from crossgeo import geodesy
from crossgeo.models.checkpoint import save_weights
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.views import DroneView
from crossgeo.training.grounds import Ground, make_ground


@pytest.fixture
def ground() -> Ground:
    """Return 240 m of coloured patches at 0.25 m/px, one square building outlined in its middle."""
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    rgb = np.asarray(cv2.resize(small, (960, 960), interpolation=cv2.INTER_CUBIC), np.uint8)
    square = np.array([[460, 470], [500, 470], [500, 510], [460, 510]], np.float32)
    return make_ground("patches", [rgb], np.ones((960, 960), np.bool_), 0.25, [square], real=True)


@dataclass(frozen=True)
class StreetCity:
    """A flat city of coloured patches, 400 m wide, with panoramas taken on two long streets that look as its ground does."""

    folder: Path

    @property
    def ortho(self) -> Path:
        return self.folder / "ortho.tif"

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    @property
    def weights(self) -> Path:
        """Untrained weights of a tiny model with a drone view of 32 px."""
        return self.folder / "tiny.safetensors"


TINY = replace(
    PRESETS["egotr-s"], name="tiny", ground_hw=(32, 32), aerial_hw=(32, 32), width=32, layers=1, heads=2, hidden=32, descriptor=16
)
CRS, WEST, NORTH, GSD_M, SIDE_PX, HEIGHT_M = "EPSG:32645", 363_000.0, 3_057_600.0, 0.5, 800, 2.0


@pytest.fixture(scope="session")
def street_city(tmp_path_factory: pytest.TempPathFactory) -> StreetCity:
    """Return the city; photos are 20 m apart, of any heading."""
    city, rng = StreetCity(tmp_path_factory.mktemp("street")), np.random.default_rng(9)
    rgb = np.asarray(
        cv2.resize(rng.integers(0, 256, (80, 80, 3), dtype=np.uint8), (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_CUBIC), np.uint8
    )
    profile = {"driver": "GTiff", "width": SIDE_PX, "height": SIDE_PX, "count": 3, "dtype": "uint8", "crs": CRS}
    with rasterio.open(city.ortho, "w", transform=from_origin(WEST, NORTH, GSD_M, GSD_M), **profile) as file:
        file.write(rgb.transpose(2, 0, 1))
    city.photos.mkdir()
    for number in range(32):
        x, y = 45.0 + 20.0 * (number % 16), (100.0, 300.0)[number // 16]  # metres east and south of the corner
        heading = float(rng.uniform(0.0, 360.0))
        lat, lon = geodesy.to_lat_lon(geodesy.parse_crs(CRS), WEST + x, NORTH - y)
        exif = PIL.Image.Exif()
        gps = exif.get_ifd(0x8825)
        gps[1], gps[2], gps[3], gps[4] = "N", (lat, 0.0, 0.0), "E", (lon, 0.0, 0.0)
        xmp = f'<x GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="{heading}"/>'.encode()
        true_to_grid = geodesy.grid_convergence_deg(geodesy.parse_crs(CRS), WEST + x, NORTH - y)
        panorama = flat_panorama(rgb, x / GSD_M, y / GSD_M, heading - true_to_grid)
        PIL.Image.fromarray(panorama).save(city.photos / f"p{number:02d}.jpg", exif=exif, xmp=xmp, quality=95)
    torch.manual_seed(0)
    card = {"name": "tiny", "kind": "egotr", "config": TINY.to_dict(), "view": DroneView(size_px=32).to_dict()}
    save_weights(city.weights, EgoTR(TINY).state_dict(), card)
    return city


def flat_panorama(rgb: NDArray[np.uint8], column: float, row: float, heading_deg: float) -> NDArray[np.uint8]:
    """Return what is seen from 2 m above flat ground: 512 x 256 px, grey sky."""
    azimuth = np.radians(heading_deg) + ((np.arange(512) + 0.5) / 512 - 0.5) * 2.0 * np.pi
    down = np.maximum((np.arange(256) + 0.5 - 128.0) / 256 * np.pi, 1e-3)[:, None]
    away = HEIGHT_M / np.tan(down) / GSD_M
    u, v = column + away * np.sin(azimuth), row - away * np.cos(azimuth)
    seen = cv2.remap(rgb, (u - 0.5).astype(np.float32), (v - 0.5).astype(np.float32), cv2.INTER_LINEAR, borderValue=(90, 90, 90))
    seen[:128] = 200
    return np.asarray(seen, np.uint8)
