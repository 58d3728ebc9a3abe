"""Darknet-53 with the neck of YOLOv3 (Redmon and Farhadi 2018, table 1 and sec. 2.3), read at stride 16 as DetGeo reads it."""

from __future__ import annotations

from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SLOPE = 0.1  # of the leaky ReLU
STAGES = ((64, 1), (128, 2), (256, 8), (512, 8), (1024, 4))  # channels, residual blocks
OUTPUTS = 255  # of YOLOv3's own heads on COCO: 3 anchors of 85 numbers


class ConvNorm(nn.Module):
    """Convolution without bias, batch norm, leaky ReLU; zeros on every side keep the size."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        self.norm = nn.BatchNorm2d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        return F.leaky_relu(self.norm(self.conv(x)), SLOPE)


class Residual(nn.Module):
    """A 1x1 convolution to half the channels and a 3x3 one back, beside the identity."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.squeeze = ConvNorm(channels, channels // 2, 1)
        self.expand = ConvNorm(channels // 2, channels, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape."""
        return cast(Tensor, x + self.expand(self.squeeze(x)))


class Neck(nn.Module):
    """Five convolutions, 1x1 and 3x3 in turn, that end on `channels`, and a sixth, 3x3, to twice as many."""

    def __init__(self, inputs: int, channels: int) -> None:
        super().__init__()
        wide = 2 * channels
        self.five = nn.Sequential(
            ConvNorm(inputs, channels, 1), ConvNorm(channels, wide, 3), ConvNorm(wide, channels, 1), ConvNorm(channels, wide, 3),
            ConvNorm(wide, channels, 1),
        )  # fmt: skip
        self.sixth = ConvNorm(channels, wide, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, inputs, H, W) to (B, 2 channels, H, W)."""
        return cast(Tensor, self.sixth(self.five(x)))


class Darknet(nn.Module):
    """Images to the 512 channels at stride 16 that YOLOv3's middle head reads.

    The sixth convolution and the head at stride 32, the head at stride 16 and all of stride 8 lead nowhere here. Published checkpoints
    hold them, so they are kept, under `unused`, and never computed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvNorm(3, 32, 3)
        channels, stages = 32, []
        for wider, count in STAGES:
            stages.append(nn.Sequential(ConvNorm(channels, wider, 3, 2), *(Residual(wider) for _ in range(count))))
            channels = wider
        self.stages = nn.Sequential(*stages)
        self.neck_32 = Neck(1024, 512)
        self.lateral_16 = ConvNorm(512, 256, 1)
        self.neck_16 = Neck(256 + 512, 256)
        self.unused = nn.ModuleDict({
            "head_32": nn.Conv2d(1024, OUTPUTS, 1), "head_16": nn.Conv2d(512, OUTPUTS, 1), "lateral_8": ConvNorm(256, 128, 1),
            "neck_8": Neck(128 + 256, 128), "head_8": nn.Conv2d(256, OUTPUTS, 1),
        })  # fmt: skip
        self.neck_32.sixth.requires_grad_(False)
        self.unused.requires_grad_(False)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images, H and W multiples of 32, to (B, 512, H / 16, W / 16)."""
        features = self.stages[:4](self.stem(images))  # (B, 512, H / 16, W / 16)
        coarse = self.lateral_16(self.neck_32.five(self.stages[4](features)))  # (B, 256, H / 32, W / 32)
        up = F.interpolate(coarse, scale_factor=2.0, mode="nearest")
        return cast(Tensor, self.neck_16(torch.cat([up, features], dim=1)))
