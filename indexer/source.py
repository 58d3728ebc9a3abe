"""What every kind of imagery offers, and bringing a piece of it into another CRS and pixel size."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.disk import SCARCE
from crossgeo.errors import GeoError, InputError, LimitError
from crossgeo.indexer.block_store import Mask, Pixels
from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.places import affine_of, ground_m

_PIECE_PX = 1024  # OpenCV samples pictures under 32768 px only
_NODE_PX = 32
_SAMPLE_BYTES = 1 << 16
_SAMPLES = 16


class Source(Protocol):
    """A georeferenced piece of imagery, read in any CRS, by any number of threads."""

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

    def glance(self) -> str:
        """Return a hash of the names and sizes of its files and the sampled bytes of some: quick to compare, however many there are."""
        ...

    def close(self) -> None:
        """Let go of its files and what it keeps of them; reading opens them again."""
        ...


def resample(
    rgb: Pixels, valid: Mask, affine: Affine, crs: CRS, to_crs: CRS, to_bounds: Bounds, shape: tuple[int, int]
) -> tuple[Pixels, Mask]:
    """Bring (h, w, 3) RGB and (h, w) valid, placed by `affine` (pixel edges) in `crs`, on to (H, W) pixels of a box of `to_crs`.

    Bilinear where pixels grow; where they shrink, the mean over each new pixel of bilinear samples at least as dense as the old pixels.
    Invalid pixels carry no colour; a pixel is valid when at least half of what it is made of is.
    """
    to_affine = affine_of(to_bounds, shape)
    ratio = ground_m(to_crs, to_affine, shape[0] / 2, shape[1] / 2) / ground_m(crs, affine, rgb.shape[0] / 2, rgb.shape[1] / 2)
    samples = max(1, math.ceil(ratio - 0.05))  # along each side of a new pixel
    out, kept = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
    for top in range(0, shape[0], _PIECE_PX):
        for left in range(0, shape[1], _PIECE_PX):
            height, width = min(_PIECE_PX, shape[0] - top), min(_PIECE_PX, shape[1] - left)
            cols, rows = _sample_places(to_affine * Affine.translation(left, top), to_crs, ~affine, crs, (height, width), samples)
            piece = slice(top, top + height), slice(left, left + width)
            out[piece], kept[piece] = _sample(rgb, valid, cols, rows, (height, width))
    return out, kept


def fill(rgb: Pixels, valid: Mask, more_rgb: Pixels, more_valid: Mask) -> None:
    """Put (H, W, 3) pixels where there are none yet, in place: what came first stays."""
    if not valid.any():
        rgb[:], valid[:] = more_rgb, more_valid
        return
    new = more_valid & ~valid
    rgb[new] = more_rgb[new]
    valid |= new


def _sample_places(
    to_affine: Affine, to_crs: CRS, to_pixels: Affine, crs: CRS, shape: tuple[int, int], samples: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return columns and rows (H * samples, W * samples) in old pixels, 0 being the first pixel's centre, of the samples of new pixels.

    The CRSs are asked at nodes at most 32 px apart; between them places run straight (to 1e-5 m for pixels under a metre).
    """
    height, width = shape
    node_rows, node_cols = (np.linspace(0.0, n, max(2, -(-n // _NODE_PX) + 1)) for n in shape)
    grid_cols, grid_rows = np.meshgrid(node_cols, node_rows)
    x = to_affine.c + to_affine.a * grid_cols + to_affine.b * grid_rows
    y = to_affine.f + to_affine.d * grid_cols + to_affine.e * grid_rows
    x, y = (v.reshape(grid_cols.shape) for v in geodesy.transform(to_crs, crs, x.ravel(), y.ravel()))
    down = _between(node_rows, (np.arange(height * samples) + 0.5) / samples)  # (H * samples, nodes)
    across = _between(node_cols, (np.arange(width * samples) + 0.5) / samples)
    cols = to_pixels.c + to_pixels.a * x + to_pixels.b * y - 0.5
    rows = to_pixels.f + to_pixels.d * x + to_pixels.e * y - 0.5
    return down @ cols @ across.T, down @ rows @ across.T


def _between(nodes: NDArray[np.float64], at: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the weights (n, nodes) of linear interpolation at n places between nodes."""
    step = nodes[1] - nodes[0]
    weights: NDArray[np.float64] = np.maximum(0.0, 1.0 - np.abs(at[:, None] - nodes[None, :]) / step)
    return weights


def _sample(rgb: Pixels, valid: Mask, cols: NDArray[np.float64], rows: NDArray[np.float64], shape: tuple[int, int]) -> tuple[Pixels, Mask]:
    """Sample old pixels bilinearly and average the samples of each new pixel."""
    nothing = np.zeros((*shape, 3), np.uint8), np.zeros(shape, bool)
    if not (np.isfinite(cols).all() and np.isfinite(rows).all()):
        return nothing
    left, top = max(0, math.floor(cols.min()) - 1), max(0, math.floor(rows.min()) - 1)
    right, bottom = min(rgb.shape[1], math.floor(cols.max()) + 3), min(rgb.shape[0], math.floor(rows.max()) + 3)
    if left >= right or top >= bottom:
        return nothing
    map_x, map_y = (cols - left).astype(np.float32), (rows - top).astype(np.float32)
    part, mask = rgb[top:bottom, left:right], valid[top:bottom, left:right]
    size = shape[::-1]
    inside = map_x.min() >= 0 and map_y.min() >= 0 and map_x.max() <= part.shape[1] - 1 and map_y.max() <= part.shape[0] - 1
    if inside and mask.all():
        fine = cv2.remap(part, map_x, map_y, cv2.INTER_LINEAR)
        return np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA), np.uint8), np.ones(shape, bool)
    weight = mask[..., None].astype(np.float32)
    planes = np.concatenate([part * weight, weight], axis=2)  # (h, w, 4), invalid pixels 0
    fine = cv2.remap(planes, map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_CONSTANT, borderValue=(0.0, 0.0, 0.0, 0.0))
    mean = np.asarray(cv2.resize(fine, size, interpolation=cv2.INTER_AREA))
    kept = mean[..., 3] >= 0.5 - 1e-6
    out = np.rint(mean[..., :3] / np.maximum(mean[..., 3:], 0.25)).clip(0, 255).astype(np.uint8)
    out[~kept] = 0
    return out, kept


def files_glance(paths: Sequence[Path]) -> str:
    """Return a hash of the names and sizes of files and of what `files_fingerprint` reads of 16 of them, from first to last."""
    some = [paths[(len(paths) - 1) * n // (_SAMPLES - 1)] for n in range(_SAMPLES)] if len(paths) > _SAMPLES else paths
    digest = hashlib.sha256(files_fingerprint(some).encode())
    for path in paths:
        try:
            digest.update(f"{path.name}\0{path.stat().st_size}\0".encode())
        except OSError as error:
            raise unreadable(path, error) from error
    return digest.hexdigest()


def files_fingerprint(paths: Iterable[Path]) -> str:
    """Return a hash of the names, sizes and up to 16 samples of 64 KiB of each file, so that large ones need not be read."""
    digest = hashlib.sha256()
    for path in paths:
        try:
            size = path.stat().st_size
            digest.update(f"{path.name}\0{size}\0".encode())
            with path.open("rb") as file:
                for n in range(_SAMPLES if size > _SAMPLES * _SAMPLE_BYTES else 1):
                    if size > _SAMPLES * _SAMPLE_BYTES:
                        file.seek((size - _SAMPLE_BYTES) * n // (_SAMPLES - 1))
                        digest.update(file.read(_SAMPLE_BYTES))
                    else:
                        digest.update(file.read())
        except OSError as error:
            raise unreadable(path, error) from error
    return digest.hexdigest()


def unreadable(path: Path, error: OSError) -> GeoError:
    """Return the error for a file of imagery that cannot be read."""
    if error.errno in SCARCE:
        return LimitError(f"{path}: {error.strerror}; {SCARCE[error.errno or 0]}, then run the same command again")
    return InputError(f"{path} cannot be read: {error.strerror or error}; check the file and its permissions")
