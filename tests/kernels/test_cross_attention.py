"""kernels/cross_attention.py on torch's own kernels: heads, tables, gradients and what is refused."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.kernels.attention import attention_definition
from crossgeo.kernels.cross_attention import cross_attention, cross_attention_definition

TOLERANCE = {torch.float64: 1e-13, torch.float32: 2e-6, torch.bfloat16: 4e-2}


def _tokens(dtype: torch.dtype, *shapes: tuple[int, ...]) -> list[Tensor]:
    draw = torch.Generator().manual_seed(3)
    return [torch.randn(shape, generator=draw, dtype=torch.float64).to(dtype) for shape in shapes]


def test_each_head_attends_with_its_own_channels() -> None:
    q, k, v = _tokens(torch.float64, (2, 7, 24), (2, 63, 24), (2, 63, 24))
    given = cross_attention_definition(q, k, v, heads=3)
    for head in range(3):
        own = slice(8 * head, 8 * head + 8)
        expected = attention_definition(q[:, None, :, own], k[:, None, :, own], v[:, None, :, own])[:, 0]
        torch.testing.assert_close(given[:, :, own], expected)


def test_tables_stand_for_positions_that_are_added_before_a_projection() -> None:
    x, y, px, py, wq, wk = _tokens(torch.float64, (2, 5, 8), (2, 9, 8), (5, 8), (9, 8), (8, 8), (8, 8))
    given = cross_attention_definition(F.linear(x, wq), F.linear(y, wk), y, 2, F.linear(px, wq), F.linear(py, wk))
    torch.testing.assert_close(given, cross_attention_definition(F.linear(x + px, wq), F.linear(y + py, wk), y, 2))


@pytest.mark.parametrize("dtype", list(TOLERANCE))
@pytest.mark.parametrize("tabled", [False, True])
def test_the_op_agrees_with_the_definition_on_parts_of_a_wider_product(dtype: torch.dtype, tabled: bool) -> None:
    wide, q_table, k_table = _tokens(dtype, (2, 65, 72), (1, 24), (65, 24))
    value, query, key = wide.chunk(3, dim=-1)
    tables = (q_table, k_table) if tabled else ()
    given = cross_attention(query[:, :1], key, value, 3, *tables)
    expected = cross_attention_definition(query[:, :1].double(), key.double(), value.double(), 3, *(t.double() for t in tables))
    assert given.dtype == dtype
    assert (given.double() - expected).abs().max() < TOLERANCE[dtype]


def test_gradients_reach_tokens_and_tables() -> None:
    inputs = [x.requires_grad_() for x in _tokens(torch.float64, (1, 3, 4), (1, 5, 4), (1, 5, 4), (3, 4), (5, 4))]
    assert torch.autograd.gradcheck(lambda q, k, v, a, b: cross_attention(q, k, v, 2, a, b), inputs)


def test_the_choice_of_a_backend_does_not_break_a_compiled_graph() -> None:
    q, k, v = _tokens(torch.float32, (2, 3, 8), (2, 5, 8), (2, 5, 8))
    compiled = torch.compile(lambda q, k, v: cross_attention(q, k, v, 2), backend="eager", fullgraph=True)
    assert torch.equal(compiled(q, k, v), cross_attention(q, k, v, 2))


@pytest.mark.parametrize(
    ("shapes", "heads"),
    [
        (((1, 3, 8), (1, 5, 8), (1, 4, 8)), 2),
        (((1, 3, 8), (2, 5, 8), (2, 5, 8)), 2),
        (((1, 3, 8), (1, 0, 8), (1, 0, 8)), 2),
        (((1, 3, 8), (1, 5, 8), (1, 5, 8)), 3),
        (((1, 3, 8), (1, 5, 8), (1, 5, 8), (5, 8)), 2),
        (((1, 3, 8), (1, 5, 8), (1, 5, 8), (3, 8), (5, 4)), 2),
    ],
)
def test_shapes_that_do_not_go_together_are_refused(shapes: tuple[tuple[int, ...], ...], heads: int) -> None:
    q, k, v, *tables = _tokens(torch.float32, *shapes)
    with pytest.raises(ValueError, match=f"do not go together in {heads} heads"):
        cross_attention(q, k, v, heads, *tables)
