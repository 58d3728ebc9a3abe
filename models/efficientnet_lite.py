"""EfficientNet-Lite0 trunk with its batch norms folded away (Tan and Le 2019; the Lite variant of 2020): the stem of the small presets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.kernels.depthwise import depthwise_conv2d
from crossgeo.models.padding import same_pad

BATCH_NORM_EPS = 1e-3
MEAN = (0.498, 0.498, 0.498)  # the published weights expect (x / 255 - 0.498) / 0.502
STD = (0.502, 0.502, 0.502)


@dataclass(frozen=True)
class _Stage:
    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


STAGES = (
    _Stage(1, 3, 1, 1, 16),
    _Stage(2, 3, 2, 6, 24),
    _Stage(2, 5, 2, 6, 40),
    _Stage(3, 3, 2, 6, 80),
    _Stage(3, 5, 1, 6, 112),
    _Stage(4, 5, 2, 6, 192),
    _Stage(1, 3, 1, 6, 320),
)
STEM_CHANNELS = 32
_STRIDE_8_BLOCK = 4  # the last of stage 3


class Conv(nn.Conv2d):
    """A convolution with SAME padding and a bias that holds the folded batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride, padding=kernel // 2 if stride == 1 else 0, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, C, H, W)."""
        if self.stride[0] > 1:
            x = same_pad(x, self.kernel_size[0], self.stride[0])
        if self.groups > 1:
            return depthwise_conv2d(x, self.weight, self.bias, self.stride[0], int(self.padding[0]))
        return super().forward(x)


class Block(nn.Module):
    """Inverted residual without squeeze-excitation: expand -> depthwise -> project, ReLU6."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expand: int) -> None:
        super().__init__()
        hidden = inputs * expand
        self.expand = Conv(inputs, hidden, 1) if expand > 1 else nn.Identity()
        self.depthwise = Conv(hidden, hidden, kernel, stride, groups=hidden)
        self.project = Conv(hidden, outputs, 1)
        self.widens = expand > 1
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C_out, H / stride, W / stride)."""
        y = F.relu6(self.expand(x)) if self.widens else x
        y = self.project(F.relu6(self.depthwise(y)))
        return x + y if self.residual else cast(Tensor, y)


class EfficientNetLite(nn.Module):
    """The first `stages` stages: 5 give 112 channels at stride 16, 7 give 320 at stride 32."""

    def __init__(self, stages: int = 5, in_channels: int = 3) -> None:
        super().__init__()
        if not 1 <= stages <= len(STAGES):
            raise ValueError(f"EfficientNet-Lite0 has 1 to {len(STAGES)} stages, not {stages}")
        self.stem = Conv(in_channels, STEM_CHANNELS, 3, 2)
        blocks: list[Block] = []
        channels, stride = STEM_CHANNELS, 2
        for stage in STAGES[:stages]:
            for repeat in range(stage.repeats):
                blocks.append(Block(channels, stage.channels, stage.kernel, stage.stride if repeat == 0 else 1, stage.expand))
                channels = stage.channels
            stride *= stage.stride
        self.blocks = nn.ModuleList(blocks)
        self.channels = channels
        self.stride = stride

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, channels, H / stride, W / stride)."""
        x = F.relu6(self.stem(images))
        for block in self.blocks:
            x = block(x)
        return x

    def pyramid(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the maps of (B, 3, H, W) images at stride 8 (40 channels) and at the last stride (5 stages: 112 channels, stride 16)."""
        x = F.relu6(self.stem(images))
        middle = x
        for index, block in enumerate(self.blocks):
            x = block(x)
            if index == _STRIDE_8_BLOCK:
                middle = x
        return middle, x

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Take the ImageNet weights under their published names, folding each batch norm into its convolution."""
        _fold(self.stem, state, "_conv_stem", "_bn0")
        for index, module in enumerate(self.blocks):
            block = cast(Block, module)
            prefix = f"_blocks.{index}."
            if block.widens:
                _fold(cast(Conv, block.expand), state, prefix + "_expand_conv", prefix + "_bn0")
            _fold(block.depthwise, state, prefix + "_depthwise_conv", prefix + "_bn1")
            _fold(block.project, state, prefix + "_project_conv", prefix + "_bn2")


def _fold(conv: Conv, state: Mapping[str, Tensor], weight_name: str, norm_name: str) -> None:
    scale = state[norm_name + ".weight"] / torch.sqrt(state[norm_name + ".running_var"] + BATCH_NORM_EPS)
    with torch.no_grad():
        folded = state[weight_name + ".weight"] * scale.reshape(-1, 1, 1, 1)
        conv.weight.zero_()
        conv.weight[:, : folded.shape[1]].copy_(folded)  # an extra input channel starts at zero
        assert conv.bias is not None
        conv.bias.copy_(state[norm_name + ".bias"] - state[norm_name + ".running_mean"] * scale)
