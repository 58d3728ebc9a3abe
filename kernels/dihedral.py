"""The eight turns and mirrorings of a square (the dihedral group D4), for images, points and boxes alike.

Turn k < 4 is k quarter turns anticlockwise; k >= 4 mirrors left and right first, then turns by k - 4. Boxes are xyxy pixels, y down.
"""

from __future__ import annotations

import torch
from torch import Tensor

TURNS = 8


def turn_images(images: Tensor, k: int) -> Tensor:
    """Turn (..., S, S) images."""
    return torch.rot90(images.flip(-1) if k >= 4 else images, k % 4, (-2, -1))


def turn_points(points: Tensor, k: int, size: float) -> Tensor:
    """Return where (..., 2) points (x, y), or (..., 2 n) as n of them, of a square of side `size` lie once it is turned."""
    if points.shape[-1] > 2:
        return torch.cat([turn_points(part, k, size) for part in torch.split(points, 2, dim=-1)], dim=-1)
    x, y = points.unbind(-1)
    if k >= 4:
        x = size - x
    for _ in range(k % 4):
        x, y = y, size - x
    return torch.stack([x, y], dim=-1)


def unturn_boxes(boxes: Tensor, k: int, size: float) -> Tensor:
    """Return where (..., 4) boxes found in a turned square lay before the turn."""
    x0, y0, x1, y1 = boxes.unbind(-1)
    for _ in range(k % 4):
        x0, y0, x1, y1 = size - y1, x0, size - y0, x1
    if k >= 4:
        x0, x1 = size - x1, size - x0
    return torch.stack([x0, y0, x1, y1], dim=-1)


def unturn_images(images: Tensor, k: int) -> Tensor:
    """Return (..., S, S) images as they were before they were turned."""
    back = torch.rot90(images, -(k % 4), (-2, -1))
    return back.flip(-1) if k >= 4 else back
