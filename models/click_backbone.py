"""The backbone that AttenGeo's two views share: a photo brings a click map as a fourth channel, a window does without."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from crossgeo.kernels.depthwise import depthwise_conv2d
from crossgeo.models import efficientnet_lite
from crossgeo.models.convnextv2 import ConvNeXtV2
from crossgeo.models.efficientnet_lite import Block, EfficientNetLite
from torch import Tensor, nn

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


class _LiteDepthwise(efficientnet_lite.Conv):
    """A depthwise convolution that trains quickly in bfloat16 on a CPU."""

    def _conv_forward(self, input: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return depthwise_conv2d(input, weight, bias, self.stride[0], int(self.padding[0]))


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
    for block in lite.blocks:
        assert isinstance(block, Block)
        old = block.depthwise
        block.depthwise = _LiteDepthwise(old.in_channels, old.out_channels, old.kernel_size[0], old.stride[0], old.groups)
    return lite


def freeze_first(backbone: Backbone, layers: int) -> None:
    """Take the stem (not its click channel) and the next `layers - 1` blocks (ConvNeXt V2: stages) out of training; 0 takes nothing out."""
    following = backbone.stages if isinstance(backbone, ConvNeXtV2) else backbone.blocks
    for module in (backbone.stem, *following)[:layers]:
        for name, parameter in module.named_parameters():
            if name.rpartition(".")[2] != "click":
                parameter.requires_grad_(False)
