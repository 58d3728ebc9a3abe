"""ConvNeXt V2 as a feature extractor (Woo et al. 2023), its tensors named as in timm's `convnextv2_tiny`, without the head."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn

from crossgeo.kernels.convnext_block import (
    NORM_EPS,
    BlockWeights,
    block_backend,
    block_dtype,
    prepared,
    prepared_block,
    respond,
    response_scale,
    sums_of_squares,
)
from crossgeo.models.prepared import Prepared
from crossgeo.models.tensors import check_tensors

TINY_DEPTHS = (3, 3, 9, 3)
TINY_WIDTHS = (96, 192, 384, 768)
MEAN = (0.485, 0.456, 0.406)  # ImageNet, of RGB / 255
STD = (0.229, 0.224, 0.225)


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each pixel of (B, C, H, W)."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Global response normalisation: each channel is weighed by its L2 norm over the image against the mean of the channels (eq. 1-3)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape; the sum of squares is taken in float32 at least."""
        return respond(x, response_scale(sums_of_squares(x), self.weight), self.bias)


class Mlp(nn.Module):
    """Two pointwise layers with GELU and global response normalisation between them."""

    def __init__(self, channels: int, hidden: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(channels, hidden)
        self.act = nn.GELU()
        self.grn = GlobalResponseNorm(hidden)
        self.fc2 = nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, H, W, C) to the same shape."""
        return cast(Tensor, self.fc2(self.grn(self.act(self.fc1(x)))))


class Block(nn.Module):
    """Depthwise 7x7, LayerNorm, the two pointwise layers, residual. `backend` is that of `kernels.choose`."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.backend = "auto"
        self.conv_dw = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = nn.LayerNorm(channels, eps=NORM_EPS)
        self.mlp = Mlp(channels, 4 * channels)
        self._prepared = Prepared()

    def weights(self) -> BlockWeights:
        """Return the block's tensors as the kernels take them."""
        conv, norm, fc1, grn, fc2 = self.conv_dw, self.norm, self.mlp.fc1, self.mlp.grn, self.mlp.fc2
        return BlockWeights(
            *(conv.weight, cast(Tensor, conv.bias), norm.weight, norm.bias), *(fc1.weight, fc1.bias), *(grn.weight, grn.bias),
            *(fc2.weight, fc2.bias),
        )  # fmt: skip

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape; on a GPU, in half precision and without gradients, by the Triton twin of the whole."""
        weights = self.weights()
        if block_backend(x, weights, self.backend) == "triton":
            dtype = block_dtype(x)
            ready = self._prepared.of(dtype, weights.tensors, lambda: prepared(weights, dtype).tensors)
            return prepared_block(x, BlockWeights(*ready))
        y = self.conv_dw(x).permute(0, 2, 3, 1)  # (B, H, W, C)
        return cast(Tensor, x + self.mlp(self.norm(y)).permute(0, 3, 1, 2))


class Stage(nn.Module):
    """An optional halving of the grid, then blocks."""

    def __init__(self, inputs: int, channels: int, depth: int, halve: bool) -> None:
        super().__init__()
        self.downsample: nn.Module = nn.Identity()
        if halve:
            self.downsample = nn.Sequential(LayerNorm2d(inputs, eps=NORM_EPS), nn.Conv2d(inputs, channels, 2, stride=2))
        self.blocks = nn.Sequential(*(Block(channels) for _ in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C_in, H, W) to (B, C, H / 2, W / 2), or to (B, C, H, W) where the grid is kept."""
        return cast(Tensor, self.blocks(self.downsample(x)))


class ConvNeXtV2(nn.Module):
    """Stem of stride 4 and a stage for each depth; four stages give stride 32."""

    def __init__(self, depths: Sequence[int] = TINY_DEPTHS, widths: Sequence[int] = TINY_WIDTHS) -> None:
        super().__init__()
        if len(depths) != len(widths) or not depths:
            raise ValueError(f"one width for each depth, not depths {tuple(depths)} and widths {tuple(widths)}")
        self.stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=4), LayerNorm2d(widths[0], eps=NORM_EPS))
        inputs = (widths[0], *widths[:-1])
        self.stages = nn.Sequential(*(Stage(inputs[i], widths[i], depths[i], halve=i > 0) for i in range(len(depths))))
        self.channels = widths[-1]
        self.stride = 4 * 2 ** (len(depths) - 1)
        self.apply(_initialise)

    def forward(self, images: Tensor) -> Tensor:
        """Map (B, 3, H, W) normalised images to (B, channels, H / stride, W / stride)."""
        return cast(Tensor, self.stages(self.stem(images)))

    def load_published(self, state: Mapping[str, Tensor]) -> None:
        """Take ImageNet weights under timm's names, leaving the head aside; a click channel keeps what it has.

        Raises WeightsError when tensors are missing, unknown or of other sizes.
        """
        self.load_state_dict(self.published(state), strict=False)

    def published(self, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return of a state under timm's names what this model takes, with the errors of `load_published`."""
        taken = {name: tensor for name, tensor in state.items() if not name.startswith(("head.", "norm_pre."))}
        own = {name: tensor.shape for name, tensor in self.state_dict().items() if name != "stem.0.click"}
        check_tensors(taken, own, "ConvNeXt V2 of this size")
        return taken


def _initialise(module: nn.Module) -> None:
    if isinstance(module, (nn.Conv2d, nn.Linear)):
        nn.init.trunc_normal_(module.weight, std=0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
