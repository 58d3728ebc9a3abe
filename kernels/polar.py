"""The polar transform of a north-up aerial square to the frame of a street panorama (Shi et al. 2019, SAFA; Shi et al. 2020, DSM)."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
import torch.nn.functional as F
from torch import Tensor


def polar_coordinates(side_px: int, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return the float64 source rows and columns, each (height, width), in pixel indices of a (side_px, side_px) image.

    Column 0 looks south, width / 4 west, width / 2 north; row 0 is the far rim, the last row the centre.
    """
    radius = side_px / 2 / height * torch.arange(height - 1, -1, -1, dtype=torch.float64)[:, None]  # (height, 1)
    angle = 2 * math.pi / width * torch.arange(width, dtype=torch.float64)[None]  # (1, width)
    return side_px / 2 + radius * torch.cos(angle), side_px / 2 - radius * torch.sin(angle)


def polar_definition(aerial: Tensor, height: int = 128, width: int = 512) -> Tensor:
    """Resample (B, C, S, S) to (B, C, height, width) bilinearly by gathering four neighbours, each 0 where it lies outside."""
    side_px = _side_px(aerial)
    rows, columns = (c.to(aerial.device) for c in polar_coordinates(side_px, height, width))
    top, left = rows.floor(), columns.floor()
    total = aerial.new_zeros((*aerial.shape[:2], height, width))
    for down in (0, 1):
        for right in (0, 1):
            row, column = (top + down).long(), (left + right).long()
            weight = (1 - (rows - row).abs()) * (1 - (columns - column).abs())
            inside = (row >= 0) & (row < side_px) & (column >= 0) & (column < side_px)
            values = aerial[:, :, row.clamp(0, side_px - 1), column.clamp(0, side_px - 1)]  # (B, C, height, width)
            total = total + values * (weight * inside).to(aerial.dtype)
    return total


def polar_transform(aerial: Tensor, height: int = 128, width: int = 512) -> Tensor:
    """Resample (B, C, S, S) floating-point squares to (B, C, height, width) panoramas, bilinearly, 0 outside.

    Meant for pixel values before normalisation, as the public polar images are made, so that 0 is black.
    """
    side_px = _side_px(aerial)
    grid = _sampling_grid(side_px, height, width).to(device=aerial.device, dtype=aerial.dtype)
    return F.grid_sample(aerial, grid.expand(aerial.shape[0], -1, -1, -1), mode="bilinear", padding_mode="zeros", align_corners=True)


@lru_cache(maxsize=16)
def _sampling_grid(side_px: int, height: int, width: int) -> Tensor:
    """Return the (1, height, width, 2) float64 grid of (x, y) in -1..1 that `grid_sample` takes, -1 and 1 being the outer pixel centres."""
    rows, columns = polar_coordinates(side_px, height, width)
    return (torch.stack([columns, rows], dim=-1) * (2 / (side_px - 1)) - 1)[None]


def _side_px(aerial: Tensor) -> int:
    assert aerial.ndim == 4 and aerial.shape[2] == aerial.shape[3] >= 2, f"not (B, C, S, S): {tuple(aerial.shape)}"
    assert aerial.is_floating_point(), f"not floating point: {aerial.dtype}"
    return aerial.shape[2]
