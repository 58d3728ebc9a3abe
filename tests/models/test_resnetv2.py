"""models/resnetv2.py against the equations written out in numpy, in float64."""

import math
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from crossgeo.models.fold import fold_weight_standardisation
from crossgeo.models.resnetv2 import STYLES, Bottleneck, PaddedConv2d, ResNetV2, WSConv2d, standardise_weight

Array = NDArray[np.float64]


@dataclass(frozen=True)
class _Written:
    """A style as its source writes it: L2LTR's code, or timm's, whose convolutions and pool pad as TensorFlow does."""

    same: bool
    standardise_eps: float
    group_eps: float
    shortcut_eps: float
    shortcut_groups: int | None


WRITTEN = {"resnetv2": _Written(False, 1e-5, 1e-6, 1e-5, None), "resnetv2-same": _Written(True, 1e-8, 1e-5, 1e-5, 32)}


def _around(x: Array, k: int, stride: int, how: _Written, value: float = 0.0) -> Array:
    """Pad (C, H, W): k // 2 on every side, or SAME's total with the odd one last."""
    pads = [(0, 0)]
    for size in x.shape[1:]:
        total = max((math.ceil(size / stride) - 1) * stride + k - size, 0)
        pads.append((total // 2, total - total // 2) if how.same else (k // 2, k // 2))
    return np.pad(x, pads, constant_values=value)


def _conv(x: Array, weight: Array, stride: int, how: _Written) -> Array:
    """Convolve (C, H, W) by (O, C, k, k), the mean and standard deviation of each filter taken out."""
    centred = weight - weight.mean((1, 2, 3), keepdims=True)
    weight = centred / np.sqrt((centred**2).mean((1, 2, 3), keepdims=True) + how.standardise_eps)
    k = weight.shape[-1]
    windows = np.lib.stride_tricks.sliding_window_view(_around(x, k, stride, how), (k, k), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("chwij,ocij->ohw", windows, weight)


def _norm(x: Array, norm: nn.GroupNorm, groups: int, eps: float) -> Array:
    parts = x.reshape(groups, -1)
    parts = (parts - parts.mean(1, keepdims=True)) / np.sqrt(parts.var(1, keepdims=True) + eps)
    return parts.reshape(x.shape) * _np(norm.weight)[:, None, None] + _np(norm.bias)[:, None, None]


def _np(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy()


def _bottleneck(x: Array, block: Bottleneck, stride: int, how: _Written) -> Array:
    y = np.maximum(_norm(_conv(x, _np(block.conv1.weight), 1, how), block.norm1, 32, how.group_eps), 0)
    y = np.maximum(_norm(_conv(y, _np(block.conv2.weight), stride, how), block.norm2, 32, how.group_eps), 0)
    y = _norm(_conv(y, _np(block.conv3.weight), 1, how), block.norm3, 32, how.group_eps)
    if isinstance(block.shortcut, WSConv2d) and isinstance(block.shortcut_norm, nn.GroupNorm):
        x = _norm(_conv(x, _np(block.shortcut.weight), stride, how), block.shortcut_norm, how.shortcut_groups or len(y), how.shortcut_eps)
    return np.maximum(x + y, 0)


def _pool(x: Array, how: _Written) -> Array:
    x = _around(x, 3, 2, how, -np.inf)
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max((-2, -1))


def _randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.double().eval()


@pytest.mark.parametrize("style", WRITTEN)
@pytest.mark.parametrize("size", [(75, 53), (64, 96), (66, 47)])  # SAME pads odd and even sides differently
def test_the_stem_is_its_equations_in_either_style(style: str, size: tuple[int, int]) -> None:
    stem, how = _randomised(ResNetV2(units=(2, 1, 2), width=32, style=STYLES[style])), WRITTEN[style]
    assert isinstance(stem, ResNetV2)
    image = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = _pool(np.maximum(_norm(_conv(_np(image[0]), _np(stem.conv.weight), 2, how), stem.norm, 32, how.group_eps), 0), how)
    for index, stage in enumerate(stem.stages):
        assert isinstance(stage, nn.Sequential)
        for unit, block in enumerate(stage):
            assert isinstance(block, Bottleneck)
            expected = _bottleneck(expected, block, 2 if index and not unit else 1, how)
    with torch.no_grad():
        given = stem(image)
    assert given.shape == (1, 512, math.ceil(size[0] / 16), math.ceil(size[1] / 16))
    assert np.abs(_np(given[0]) - expected).max() < 1e-10 * np.abs(expected).max()


def test_the_paper_stem_has_1024_channels_at_stride_16() -> None:
    with torch.device("meta"):
        stem = ResNetV2()
        features = stem(torch.empty(1, 3, 128, 512))
    assert (stem.out_channels, stem.stride) == (1024, 16)
    assert features.shape == (1, 1024, 8, 32)
    assert [len(list(stage.children())) for stage in stem.stages] == [3, 4, 9]


def test_standardised_filters_have_zero_mean_and_unit_variance() -> None:
    weight = standardise_weight(torch.randn(5, 7, 3, 3, dtype=torch.float64) * 4 + 2, 1e-5)
    assert weight.mean((1, 2, 3)).abs().max() < 1e-12
    assert (weight.var((1, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_bfloat16_weights_are_standardised_in_float32() -> None:
    weight = (torch.randn(4, 64, 3, 3) * 0.01 + 1).bfloat16()  # a mean that bfloat16 sums would lose
    given = standardise_weight(weight, 1e-5)
    assert given.dtype == torch.float32
    assert (given - standardise_weight(weight.double(), 1e-5)).abs().max() < 1e-3


@pytest.mark.parametrize("style", STYLES)
@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_a_folded_convolution_gives_the_same_features(kernel: int, stride: int, style: str) -> None:
    conv = WSConv2d(6, 5, kernel, stride, STYLES[style])
    plain = conv.folded()
    images = torch.randn(2, 6, 17, 24)
    assert type(plain) is PaddedConv2d
    assert torch.equal(plain(images), conv(images))


def test_folding_a_stem_keeps_its_features_and_leaves_no_standardisation() -> None:
    stem = ResNetV2(units=(1, 1), width=32).eval()
    images = torch.randn(1, 3, 33, 40)
    with torch.no_grad():
        expected = stem(images)
        folded = fold_weight_standardisation(stem)
        assert torch.equal(folded(images), expected)
    assert not any(isinstance(m, WSConv2d) for m in folded.modules())
