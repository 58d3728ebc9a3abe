"""The backbone that AttenGeo's two views share: a photo brings a click map as a fourth channel, a window does without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.models import efficientnet_lite
from crossgeo.models.convnextv2 import ConvNeXtV2
from crossgeo.models.efficientnet_lite import EfficientNetLite

Backbone = ConvNeXtV2 | EfficientNetLite
BackboneName = Literal["convnextv2", "efficientnet-lite0"]


class ClickStem(nn.Conv2d):
    """A first convolution of three channels, and of a fourth for the click map where one is given; that one's weights start at zero."""

    def __init__(self, channels: int, kernel: int, stride: int) -> None:
        super().__init__(3, channels, kernel, stride)
        self.click = nn.Parameter(torch.zeros(channels, 1, kernel, kernel))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.shape[1] > self.in_channels:
            weight = torch.cat([weight, self.click], dim=1)  # (C, 4, k, k)
        return F.conv2d(input, weight, bias, self.stride, self.padding)


class _LiteClickStem(efficientnet_lite.Conv):
    """The same for EfficientNet-Lite, whose stem pads as TensorFlow does."""

    def __init__(self) -> None:
        super().__init__(3, efficientnet_lite.STEM_CHANNELS, 3, 2)
        self.click = nn.Parameter(torch.zeros(efficientnet_lite.STEM_CHANNELS, 1, 3, 3))

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        if input.shape[1] > self.in_channels:
            weight = torch.cat([weight, self.click], dim=1)  # (C, 4, 3, 3)
        return F.conv2d(input, weight, bias, self.stride, self.padding)


def make_backbone(name: BackboneName, depths: Sequence[int], widths: Sequence[int]) -> Backbone:
    """Build ConvNeXt V2 of these depths and widths, or the first `depths[0]` stages of EfficientNet-Lite0; both take 3 or 4 channels."""
    if name == "convnextv2":
        convnext = ConvNeXtV2(depths, widths)
        stem = ClickStem(widths[0], 4, 4)
        nn.init.trunc_normal_(stem.weight, std=0.02)
        convnext.stem[0] = stem
        return convnext
    lite = EfficientNetLite(stages=depths[0])
    lite.stem = _LiteClickStem()
    return lite


def freeze_first(backbone: Backbone, layers: int) -> None:
    """Take the stem (not its click channel) and the next `layers - 1` blocks (ConvNeXt V2: stages) out of training; 0 takes nothing out."""
    following = backbone.stages if isinstance(backbone, ConvNeXtV2) else backbone.blocks
    for module in (backbone.stem, *following)[:layers]:
        for name, parameter in module.named_parameters():
            if name.rpartition(".")[2] != "click":
                parameter.requires_grad_(False)
