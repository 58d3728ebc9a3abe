"""kernels/depthwise.py against F.conv2d in float64, gradients included, at odd shapes."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.kernels.depthwise import depthwise_conv2d

SHAPES = [(2, 3, 9, 7, 3, 1, 1), (1, 8, 11, 13, 5, 1, 2), (2, 5, 12, 9, 3, 2, 0), (1, 4, 15, 14, 5, 2, 0), (1, 2, 5, 5, 5, 1, 2)]
TOLERANCE = 0.02  # bfloat16 has 8 bits: of the largest value


@contextmanager
def _bf16() -> Iterator[None]:
    with torch.autocast("cpu", torch.bfloat16):
        yield


def _make(shape: tuple[int, ...]) -> tuple[Tensor, Tensor, Tensor]:
    batch, channels, height, width, kernel, _, _ = shape
    generator = torch.Generator().manual_seed(sum(shape))
    x = torch.randn(batch, channels, height, width, generator=generator).bfloat16().double()
    weight = torch.randn(channels, 1, kernel, kernel, generator=generator).bfloat16().double()
    return x, weight, torch.randn(channels, generator=generator).bfloat16().double()


@pytest.mark.parametrize("shape", SHAPES)
def test_gradients_under_autocast_are_those_of_the_definition(shape: tuple[int, ...]) -> None:
    stride, padding = shape[5:]
    exact = [t.requires_grad_() for t in _make(shape)]
    expected = F.conv2d(exact[0], exact[1], exact[2], stride, padding, groups=len(exact[1]))
    upstream = torch.randn(expected.shape, generator=torch.Generator().manual_seed(9)).bfloat16()
    expected.backward(upstream.double())
    ours = [t.detach().float().requires_grad_() for t in exact]
    with _bf16():
        got = depthwise_conv2d(ours[0], ours[1], ours[2], stride, padding)
    assert got.dtype == torch.bfloat16
    assert type(got.grad_fn).__name__ == "_DepthwiseBackward"
    got.backward(upstream)
    for mine, theirs in [(got, expected), *((a.grad, b.grad) for a, b in zip(ours, exact, strict=True))]:
        assert mine is not None and theirs is not None
        assert (mine.double() - theirs).abs().max() <= TOLERANCE * theirs.abs().max()
    assert all(t.grad is not None and t.grad.dtype == torch.float32 for t in ours)


def test_without_autocast_or_gradients_it_is_plain_conv2d() -> None:
    x, weight, bias = _make(SHAPES[1])
    torch.testing.assert_close(depthwise_conv2d(x, weight, bias, 1, 2), F.conv2d(x, weight, bias, 1, 2, groups=8), atol=0, rtol=0)
    weight.requires_grad_()
    with torch.no_grad(), _bf16():
        assert depthwise_conv2d(x, weight, bias, 1, 2).grad_fn is None
    assert "Convolution" in type(depthwise_conv2d(x, weight, bias, 1, 2).grad_fn).__name__


def test_an_input_that_needs_no_gradient_and_a_missing_bias_are_fine() -> None:
    x, weight, _ = (t.float() for t in _make(SHAPES[0]))
    weight.requires_grad_()
    with _bf16():
        depthwise_conv2d(x, weight, None, 1, 1).sum().backward()
    assert weight.grad is not None and weight.grad.shape == weight.shape
