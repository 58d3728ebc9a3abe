"""The click map that tells a network where in a photo the user pointed (Sun et al. 2023, DetGeo, sec. 3)."""

from __future__ import annotations

import torch
from torch import Tensor


def click_map(clicks: Tensor, height: int, width: int, power: float = 2.0) -> Tensor:
    """Return m[i, j] = (1 - dist((i, j), click) / sqrt(H^2 + W^2))^2 of (B, 2) clicks as (B, 1, H, W) float32 in [0, 1].

    Clicks are x, y in pixels with pixel edges at whole numbers, so pixel (i, j) has its centre at x = j + 0.5, y = i + 0.5.
    A line, (B, 4) as x0, y0, x1, y1, is as near as its nearest point.
    `power` is 2 in DetGeo; a higher one narrows the peak.
    """
    clicks = clicks.float()
    rows = torch.arange(height, dtype=torch.float32, device=clicks.device) + 0.5
    columns = torch.arange(width, dtype=torch.float32, device=clicks.device) + 0.5
    dx = columns[None, None, :] - clicks[:, 0, None, None]  # (B, 1, W)
    dy = rows[None, :, None] - clicks[:, 1, None, None]  # (B, H, 1)
    if clicks.shape[1] == 4:
        along = (clicks[:, 2:] - clicks[:, :2])[:, :, None, None]  # (B, 2, 1, 1)
        share = (dx * along[:, 0] + dy * along[:, 1]) / along.square().sum(dim=1).clamp_min(1e-6)  # (B, H, W)
        share = share.clamp(0.0, 1.0)
        dx, dy = dx - share * along[:, 0], dy - share * along[:, 1]
    distance = torch.sqrt(dx * dx + dy * dy)  # (B, H, W)
    nearness = (1.0 - distance / float(height * height + width * width) ** 0.5).clamp(min=0.0)  # a click outside may be farther than that
    return torch.pow(nearness, power)[:, None]  # (B, 1, H, W)
