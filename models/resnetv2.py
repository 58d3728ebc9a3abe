"""The hybrid stem of EgoTR: a weight-standardised GroupNorm ResNet-50 cut at stride 16 (Kolesnikov 2020; Dosovitskiy 2021)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.models.padding import same_pad

GROUPS = 32


@dataclass(frozen=True)
class ResNetStyle:
    """What published networks of one structure, and of the same tensors, do differently."""

    same_padding: bool  # TensorFlow's SAME; else k // 2 zeros on every side
    standardise_eps: float
    group_eps: float
    shortcut_groups: int | None  # of the shortcut's norm; None: each channel by itself
    shortcut_eps: float


STYLES = {
    "resnetv2": ResNetStyle(False, 1e-5, 1e-6, None, 1e-5),  # L2LTR's
    "resnetv2-same": ResNetStyle(True, 1e-8, 1e-5, GROUPS, 1e-5),  # Google's ImageNet-21k hybrids as timm runs them
}


def standardise_weight(weight: Tensor, eps: float) -> Tensor:
    """Give each filter of (O, I, kh, kw) zero mean and unit (biased) variance, computed and returned in float32 or float64."""
    wide = weight if weight.dtype == torch.float64 else weight.float()
    variance, mean = torch.var_mean(wide, dim=(1, 2, 3), keepdim=True, correction=0)
    return (wide - mean) * torch.rsqrt(variance + eps)


class PaddedConv2d(nn.Conv2d):
    """A convolution without bias, zero-padded in a style: alike on both sides, or as SAME does."""

    def __init__(self, in_channels: int, out_channels: int, kernel: int, stride: int, style: ResNetStyle) -> None:
        super().__init__(in_channels, out_channels, kernel, stride, padding=0 if style.same_padding else kernel // 2, bias=False)
        self.style = style

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, I, H, W) to (B, O, ceil(H / stride), ceil(W / stride))."""
        return self._convolve(input, self.weight)

    def _convolve(self, input: Tensor, weight: Tensor) -> Tensor:
        if self.style.same_padding:
            input = same_pad(input, self.kernel_size[0], self.stride[0])
        return F.conv2d(input, weight, None, self.stride, self.padding)


class WSConv2d(PaddedConv2d):
    """The same with filters that are standardised at every call (Qiao et al. 2019)."""

    def forward(self, input: Tensor) -> Tensor:
        """Convolve (B, I, H, W) to (B, O, ceil(H / stride), ceil(W / stride))."""
        return self._convolve(input, standardise_weight(self.weight, self.style.standardise_eps).to(self.weight.dtype))

    def folded(self) -> PaddedConv2d:
        """Return a plain convolution that holds the standardised filters, for inference."""
        plain = PaddedConv2d(self.in_channels, self.out_channels, self.kernel_size[0], self.stride[0], self.style).to(self.weight)
        with torch.no_grad():
            plain.weight.copy_(standardise_weight(self.weight, self.style.standardise_eps))
        return plain.train(self.training)


class Bottleneck(nn.Module):
    """1x1, 3x3 (with the stride), 1x1 convolutions, each conv -> GroupNorm, with ReLU between them and after the sum."""

    def __init__(self, in_channels: int, channels: int, stride: int, style: ResNetStyle) -> None:
        super().__init__()
        out_channels = 4 * channels
        self.conv1 = WSConv2d(in_channels, channels, 1, 1, style)
        self.norm1 = nn.GroupNorm(GROUPS, channels, eps=style.group_eps)
        self.conv2 = WSConv2d(channels, channels, 3, stride, style)
        self.norm2 = nn.GroupNorm(GROUPS, channels, eps=style.group_eps)
        self.conv3 = WSConv2d(channels, out_channels, 1, 1, style)
        self.norm3 = nn.GroupNorm(GROUPS, out_channels, eps=style.group_eps)
        self.shortcut: nn.Module = nn.Identity()
        self.shortcut_norm: nn.Module = nn.Identity()
        if stride != 1 or in_channels != out_channels:
            self.shortcut = WSConv2d(in_channels, out_channels, 1, stride, style)
            self.shortcut_norm = nn.GroupNorm(style.shortcut_groups or out_channels, out_channels, eps=style.shortcut_eps)

    def forward(self, features: Tensor) -> Tensor:
        """Carry (B, I, H, W) to (B, 4 * channels, H / stride, W / stride)."""
        residual = self.shortcut_norm(self.shortcut(features))
        features = F.relu(self.norm1(self.conv1(features)))
        features = F.relu(self.norm2(self.conv2(features)))
        features = self.norm3(self.conv3(features))
        return F.relu(residual + features)


class ResNetV2(nn.Module):
    """Images to features at stride 16: a 7x7 root, a max pool, one stage per entry of `units`, the first at stride 1, the others at 2."""

    def __init__(self, units: Sequence[int] = (3, 4, 9), width: int = 64, style: ResNetStyle = STYLES["resnetv2"]) -> None:
        super().__init__()
        self.style = style
        self.conv = WSConv2d(3, width, 7, 2, style)
        self.norm = nn.GroupNorm(GROUPS, width, eps=style.group_eps)
        stages, in_channels = [], width
        for index, count in enumerate(units):
            channels = width * 2**index
            blocks = []
            for unit in range(count):
                blocks.append(Bottleneck(in_channels, channels, 2 if unit == 0 and index > 0 else 1, style))
                in_channels = 4 * channels
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)
        self.out_channels = in_channels
        self.stride = 4 * 2 ** (len(units) - 1)

    def forward(self, images: Tensor) -> Tensor:
        """Turn (B, 3, H, W) normalised images into (B, 1024, H / 16, W / 16) features (paper sizes)."""
        return self.pyramid(images)[-1]

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return what (B, 3, H, W) images look like at stride 8 (512 channels) and at stride 16 (1024 channels; paper sizes)."""
        features = F.relu(self.norm(self.conv(images)))  # (B, 64, H / 2, W / 2)
        if self.style.same_padding:
            features = F.max_pool2d(same_pad(features, 3, 2, -math.inf), kernel_size=3, stride=2)
        else:
            features = F.max_pool2d(features, kernel_size=3, stride=2, padding=1)  # (B, 64, H / 4, W / 4)
        middle: Tensor = self.stages[:-1](features)
        return middle, self.stages[-1](middle)
