"""Multi-head spatial attention over several scales, MHSAM (AttenGeo, sec. 3, eq. 6-8)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

KERNELS = (1, 3, 5)  # k_i = 2 (i - 1) + 1


class SpatialHead(nn.Module):
    """Convolution without padding -> ReLU -> deconvolution back to the grid (eq. 6).

    A deconvolution of stride 1 and padding 0 is a convolution with flipped weights and padding k - 1: kept as that, it runs everywhere.
    """

    def __init__(self, channels: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.down = nn.Conv2d(channels, hidden, kernel)
        self.up = nn.Conv2d(hidden, channels, kernel, padding=kernel - 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W), H and W at least the kernel, to the same shape."""
        return cast(Tensor, self.up(F.relu(self.down(x))))


class MHSAM(nn.Module):
    """Weigh features by A = sigmoid(H1 + H2 + H3): O = A * F (eq. 7, 8)."""

    def __init__(self, channels: int, hidden: int, kernels: Sequence[int] = KERNELS) -> None:
        super().__init__()
        self.heads = nn.ModuleList(SpatialHead(channels, hidden, kernel) for kernel in kernels)

    def forward(self, features: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return self.weights(features) * features

    def weights(self, features: Tensor) -> Tensor:
        """Return A of (B, C, H, W) features, 0 to 1 for each channel of each cell, in the same shape."""
        return torch.sigmoid(torch.stack([head(features) for head in self.heads]).sum(dim=0))
