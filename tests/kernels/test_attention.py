"""kernels/attention.py: the fused op against the definition, the definition against the equation."""

import math

import numpy as np
import pytest
import torch

from crossgeo.kernels.attention import attention, attention_definition

SHAPES = [(1, 1, 1, 1, 4), (2, 3, 7, 63, 8), (1, 2, 257, 257, 64), (3, 1, 1, 145, 32)]  # B, H, M, N, d
TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 2e-2}


def _inputs(shape: tuple[int, ...], dtype: torch.dtype) -> list[torch.Tensor]:
    batch, heads, queries, keys, size = shape
    generator = torch.Generator().manual_seed(sum(shape))
    return [torch.randn(batch, heads, n, size, generator=generator, dtype=torch.float64).to(dtype) for n in (queries, keys, keys)]


def test_the_definition_is_the_equation_in_numpy() -> None:
    q, k, v = (x.numpy() for x in _inputs((2, 3, 7, 63, 8), torch.float64))
    expected = np.empty_like(q)
    for b in range(2):
        for h in range(3):
            for m in range(7):
                weights = np.exp(k[b, h] @ q[b, h, m] / math.sqrt(8))
                expected[b, h, m] = (weights[:, None] * v[b, h]).sum(0) / weights.sum()
    given = attention_definition(torch.from_numpy(q), torch.from_numpy(k), torch.from_numpy(v)).numpy()
    assert np.abs(given - expected).max() < 1e-13


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("shape", SHAPES)
def test_the_fast_op_agrees_with_the_definition(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    q, k, v = _inputs(shape, dtype)
    expected = attention_definition(q.double(), k.double(), v.double())
    given = attention(q, k, v)
    assert given.dtype == dtype
    assert (given.double() - expected).abs().max() < TOLERANCE[dtype]


def test_its_gradients_are_those_of_finite_differences() -> None:
    q, k, v = (x.requires_grad_() for x in _inputs((1, 2, 5, 9, 4), torch.float64))
    assert torch.autograd.gradcheck(attention, (q, k, v))


def test_it_says_the_same_with_and_without_a_gradient() -> None:
    q, k, v = (x.requires_grad_() for x in _inputs((2, 3, 63, 63, 8), torch.float32))
    with torch.no_grad():
        expected = attention(q, k, v)
    assert (attention(q, k, v) - expected).abs().max() < TOLERANCE[torch.float32]


def test_large_scores_do_not_overflow() -> None:
    q, k, v = _inputs((1, 1, 3, 5, 8), torch.float32)
    given = attention(q * 1e3, k * 1e3, v)
    best = v[0, 0, (q @ k.transpose(-2, -1))[0, 0].argmax(-1)]
    assert torch.allclose(given[0, 0], best)
