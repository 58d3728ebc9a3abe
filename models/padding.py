"""Padding of images as TensorFlow's SAME does it: as many cells as strides fit in, and the odd pixel to the right and the bottom."""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor


def same_pad(x: Tensor, kernel: int, stride: int, value: float = 0.0) -> Tensor:
    """Pad (B, C, H, W) so that a kernel without padding of its own gives (B, C, ceil(H / stride), ceil(W / stride))."""
    pads: list[int] = []
    for size in (x.shape[-1], x.shape[-2]):
        # Where strides fit in, the padding is a constant: an export for sizes of that kind then keeps short formulas for what follows.
        total = max(kernel - stride if size % stride == 0 else kernel - size % stride, 0)
        pads += [total // 2, total - total // 2]
    return F.pad(x, pads, value=value)
