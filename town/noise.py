"""Smooth random fields: the stains, worn patches and leaves that make no two places of a town look the same."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> Float32:
    """Return a (H, W) float32 field of about unit variance whose features are `cell_px` pixels wide."""
    height, width = shape
    if cell_px <= 1.0:
        return rng.standard_normal(shape, dtype=np.float32)
    rows, cols = int(height / cell_px) + 4, int(width / cell_px) + 4
    grid = rng.standard_normal((rows, cols), dtype=np.float32)
    start = rng.uniform(0.5, 1.5, 2)
    matrix = np.array([[1.0 / cell_px, 0.0, start[0]], [0.0, 1.0 / cell_px, start[1]]])
    field = cv2.warpAffine(grid, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(field * np.float32(1.35), np.float32)  # interpolation takes variance away
