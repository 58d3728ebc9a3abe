"""models/resnetv2.py against the equations written out in numpy, in float64."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from crossgeo.models.fold import fold_weight_standardisation
from crossgeo.models.resnetv2 import Bottleneck, ResNetV2, WSConv2d, standardise_weight

Array = NDArray[np.float64]


def _conv(x: Array, weight: Array, stride: int) -> Array:
    """Convolve (C, H, W) by (O, C, k, k), the mean and standard deviation of each filter taken out, k // 2 zeros on every side."""
    centred = weight - weight.mean((1, 2, 3), keepdims=True)
    weight = centred / np.sqrt((centred**2).mean((1, 2, 3), keepdims=True) + 1e-5)
    k = weight.shape[-1]
    x = np.pad(x, ((0, 0), (k // 2, k // 2), (k // 2, k // 2)))
    windows = np.lib.stride_tricks.sliding_window_view(x, (k, k), axis=(1, 2))[:, ::stride, ::stride]
    return np.einsum("chwij,ocij->ohw", windows, weight)


def _norm(x: Array, norm: nn.GroupNorm, groups: int, eps: float) -> Array:
    parts = x.reshape(groups, -1)
    parts = (parts - parts.mean(1, keepdims=True)) / np.sqrt(parts.var(1, keepdims=True) + eps)
    return parts.reshape(x.shape) * _np(norm.weight)[:, None, None] + _np(norm.bias)[:, None, None]


def _np(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy()


def _bottleneck(x: Array, block: Bottleneck, stride: int) -> Array:
    y = np.maximum(_norm(_conv(x, _np(block.conv1.weight), 1), block.norm1, 32, 1e-6), 0)
    y = np.maximum(_norm(_conv(y, _np(block.conv2.weight), stride), block.norm2, 32, 1e-6), 0)
    y = _norm(_conv(y, _np(block.conv3.weight), 1), block.norm3, 32, 1e-6)
    if isinstance(block.shortcut, WSConv2d) and isinstance(block.shortcut_norm, nn.GroupNorm):
        x = _norm(_conv(x, _np(block.shortcut.weight), stride), block.shortcut_norm, len(y), 1e-5)
    return np.maximum(x + y, 0)


def _pool(x: Array) -> Array:
    x = np.pad(x, ((0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max((-2, -1))


def _randomised(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return module.double().eval()


def test_the_stem_is_its_equations_at_odd_sizes() -> None:
    stem = _randomised(ResNetV2(units=(2, 1, 2), width=32))
    assert isinstance(stem, ResNetV2)
    image = torch.randn(1, 3, 75, 53, generator=torch.Generator().manual_seed(4), dtype=torch.float64)
    expected = _pool(np.maximum(_norm(_conv(_np(image[0]), _np(stem.conv.weight), 2), stem.norm, 32, 1e-6), 0))
    for index, stage in enumerate(stem.stages):
        assert isinstance(stage, nn.Sequential)
        for unit, block in enumerate(stage):
            assert isinstance(block, Bottleneck)
            expected = _bottleneck(expected, block, 2 if index and not unit else 1)
    with torch.no_grad():
        given = stem(image)
    assert given.shape == (1, 512, 5, 4)
    assert np.abs(_np(given[0]) - expected).max() < 1e-10 * np.abs(expected).max()


def test_the_paper_stem_has_1024_channels_at_stride_16() -> None:
    with torch.device("meta"):
        stem = ResNetV2()
        features = stem(torch.empty(1, 3, 128, 512))
    assert (stem.out_channels, stem.stride) == (1024, 16)
    assert features.shape == (1, 1024, 8, 32)
    assert [len(list(stage.children())) for stage in stem.stages] == [3, 4, 9]


def test_standardised_filters_have_zero_mean_and_unit_variance() -> None:
    weight = standardise_weight(torch.randn(5, 7, 3, 3, dtype=torch.float64) * 4 + 2)
    assert weight.mean((1, 2, 3)).abs().max() < 1e-12
    assert (weight.var((1, 2, 3), correction=0) - 1).abs().max() < 1e-5


def test_bfloat16_weights_are_standardised_in_float32() -> None:
    weight = (torch.randn(4, 64, 3, 3) * 0.01 + 1).bfloat16()  # a mean that bfloat16 sums would lose
    given = standardise_weight(weight)
    assert given.dtype == torch.float32
    assert (given - standardise_weight(weight.double())).abs().max() < 1e-3


@pytest.mark.parametrize(("kernel", "stride"), [(1, 1), (1, 2), (3, 1), (3, 2), (7, 2)])
def test_a_folded_convolution_gives_the_same_features(kernel: int, stride: int) -> None:
    conv = WSConv2d(6, 5, kernel, stride)
    plain = conv.folded()
    images = torch.randn(2, 6, 17, 23)
    assert type(plain) is nn.Conv2d
    assert torch.equal(plain(images), conv(images))


def test_folding_a_stem_keeps_its_features_and_leaves_no_standardisation() -> None:
    stem = ResNetV2(units=(1, 1), width=32).eval()
    images = torch.randn(1, 3, 33, 40)
    with torch.no_grad():
        expected = stem(images)
        folded = fold_weight_standardisation(stem)
        assert torch.equal(folded(images), expected)
    assert not any(isinstance(m, WSConv2d) for m in folded.modules())
