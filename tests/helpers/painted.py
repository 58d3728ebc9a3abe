"""Imagery for builds in tests."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import rasterio
from affine import Affine
from rasterio.crs import CRS


def write_painted(path: Path, width_px: int, height_px: int) -> Path:
    """Write a GeoTIFF of pixels of 0.5 m in EPSG:32645, smooth patches of about 5 m in colours that are always the same."""
    coarse = np.random.default_rng(0).integers(30, 221, (height_px // 10 + 2, width_px // 10 + 1, 3)).astype(np.uint8)
    pixels = np.asarray(cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_LINEAR))
    profile = {"driver": "GTiff", "height": height_px, "width": width_px, "count": 3, "dtype": "uint8"}
    place = Affine(0.5, 0.0, 353400.0, 0.0, -0.5, 3058000.0)
    with rasterio.open(path, "w", crs=CRS.from_epsg(32645), transform=place, **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
    return path
