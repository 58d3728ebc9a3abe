"""What every kind of imagery offers, and bringing a piece of it into another CRS and pixel size."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path
from typing import Protocol

import numpy as np
from affine import Affine
from crossgeo.indexer.block_store import Mask, Pixels
from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.places import affine_of, ground_m
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.crs import CRS as RasterCRS
from rasterio.enums import Resampling
from rasterio.warp import reproject

_SAMPLE_BYTES = 1 << 16
_SAMPLES = 16


class Source(Protocol):
    """A georeferenced piece of imagery, read in any CRS."""

    path: Path
    kind: str  # "geotiff", "xyz" or "worldfile"
    crs: CRS
    bounds: Bounds  # in its CRS
    gsd_m: float  # metres of ground a pixel covers at its centre, mean of both axes

    def read(self, crs: CRS, bounds: Bounds, shape: tuple[int, int]) -> tuple[Pixels, Mask]:
        """Return RGB (H, W, 3), 0 where invalid, and valid (H, W) of a box of any CRS (see `resample`)."""
        ...

    def parts(self) -> NDArray[np.float64]:
        """Return boxes (n, 4) in its CRS that hold all of its imagery."""
        ...

    def has_imagery(self) -> bool:
        """Say whether any of its pixels is valid."""
        ...

    def fingerprint(self) -> str:
        """Return a hash of the names, sizes and sampled bytes of its files."""
        ...

    def close(self) -> None:
        """Let go of its files."""
        ...


def resample(
    rgb: Pixels, valid: Mask, affine: Affine, crs: CRS, to_crs: CRS, to_bounds: Bounds, shape: tuple[int, int]
) -> tuple[Pixels, Mask]:
    """Bring (h, w, 3) RGB and (h, w) valid, placed by `affine` (pixel edges) in `crs`, on to (H, W) pixels of a box of `to_crs`.

    Averaged where pixels shrink, bilinear where they grow. Invalid pixels carry no colour; a pixel is valid when at least half of what it
    is made of is.
    """
    height, width = shape
    weight = valid[..., None].astype(np.float32)
    planes = np.concatenate([rgb * weight, weight], axis=2).transpose(2, 0, 1)  # (4, h, w)
    out = np.zeros((4, height, width), np.float32)
    to_affine = affine_of(to_bounds, shape)
    shrinks = ground_m(to_crs, to_affine, height / 2, width / 2) > ground_m(crs, affine, rgb.shape[0] / 2, rgb.shape[1] / 2)
    reproject(
        np.ascontiguousarray(planes),
        out,
        src_transform=affine,
        src_crs=raster_crs(crs),
        dst_transform=to_affine,
        dst_crs=raster_crs(to_crs),
        resampling=Resampling.average if shrinks else Resampling.bilinear,
        num_threads=1,
    )
    share = out[3]
    kept = share >= 0.5
    pixels = np.rint(out[:3] / np.maximum(share, 0.25)).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
    pixels = np.ascontiguousarray(pixels)
    pixels[~kept] = 0
    return pixels, kept


def raster_crs(crs: CRS) -> RasterCRS:
    """Return a CRS as rasterio has it."""
    code = crs.to_epsg(min_confidence=100)
    return RasterCRS.from_epsg(code) if code is not None else RasterCRS.from_wkt(crs.to_wkt())


def files_fingerprint(paths: Iterable[Path]) -> str:
    """Return a hash of the names, sizes and up to 16 samples of 64 KiB of each file, so that large ones need not be read."""
    digest = hashlib.sha256()
    for path in paths:
        size = path.stat().st_size
        digest.update(f"{path.name}\0{size}\0".encode())
        with path.open("rb") as file:
            for n in range(_SAMPLES if size > _SAMPLES * _SAMPLE_BYTES else 1):
                if size > _SAMPLES * _SAMPLE_BYTES:
                    file.seek((size - _SAMPLE_BYTES) * n // (_SAMPLES - 1))
                    digest.update(file.read(_SAMPLE_BYTES))
                else:
                    digest.update(file.read())
    return digest.hexdigest()
