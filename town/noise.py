"""Smooth random fields: the stains, worn patches and leaves that make no two places of a town look the same."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Float32 = NDArray[np.float32]


def smooth_noise(rng: np.random.Generator, shape: tuple[int, int], cell_px: float) -> Float32:
    """Return a (H, W) float32 field of about unit variance whose features are `cell_px` pixels wide."""
    height, width = shape
    if cell_px <= 1.0:
        return rng.standard_normal(shape, dtype=np.float32)
    turn = rng.uniform(0.0, 2.0 * math.pi)  # or the lattice would show along rows and columns
    side = int(math.hypot(height, width) / cell_px) + 5
    grid = rng.standard_normal((side, side), dtype=np.float32)
    ca, sa, middle = math.cos(turn) / cell_px, math.sin(turn) / cell_px, side / 2.0 + rng.uniform(-0.5, 0.5, 2)
    matrix = np.array([
        [ca, -sa, middle[0] - 0.5 * (ca * width - sa * height)],
        [sa, ca, middle[1] - 0.5 * (sa * width + ca * height)],
    ])  # fmt: skip
    field = cv2.warpAffine(grid, matrix, (width, height), flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(field * np.float32(1.35), np.float32)  # interpolation takes variance away
