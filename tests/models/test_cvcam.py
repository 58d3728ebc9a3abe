"""models/cvcam.py: position encodings and a cross-attention block against their equations, and who learns from whom."""

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from crossgeo.models.cvcam import CAB, CVCAM, sine_positions


def test_positions_are_the_sines_of_row_and_column() -> None:
    got = sine_positions(5, 7, 16).view(5, 7, 16)
    for row, column in [(0, 0), (4, 6), (2, 5)]:
        for half, position in enumerate((row, column)):
            for i in range(4):
                angle = position / 10_000 ** (2 * i / 8)
                assert got[row, column, 8 * half + 2 * i].item() == pytest.approx(math.sin(angle), abs=1e-6)
                assert got[row, column, 8 * half + 2 * i + 1].item() == pytest.approx(math.cos(angle), abs=1e-6)


def test_no_two_cells_have_the_same_position() -> None:
    table = sine_positions(32, 32, 128)
    assert torch.cdist(table, table).fill_diagonal_(9.0).min() > 0.1


def test_a_number_of_channels_that_cannot_be_split_in_four_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of 4 channels, not 10"):
        sine_positions(2, 2, 10)
    with pytest.raises(ValueError, match="not a multiple of 3 heads"):
        CAB(16, 3, 8)


def _norm(x: np.ndarray, norm: nn.LayerNorm) -> np.ndarray:
    y = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
    return np.asarray(y * norm.weight.detach().numpy() + norm.bias.detach().numpy())


def _linear(x: np.ndarray, linear: nn.Linear) -> np.ndarray:
    return np.asarray(x @ linear.weight.detach().numpy().T + linear.bias.detach().numpy())


def test_a_block_is_its_equations_with_positions_on_queries_and_keys_alone() -> None:
    torch.manual_seed(0)
    block = CAB(8, 2, 12).double()
    a = block.attention
    x, y, px, py = (torch.randn(n, 8, dtype=torch.float64).numpy() for n in (5, 7, 5, 7))
    q, k, v = _linear(x + px, a.query), _linear(y + py, a.key), _linear(y, a.value)
    mixed = np.empty_like(x)
    for head in (slice(0, 4), slice(4, 8)):
        weights = np.exp(q[:, head] @ k[:, head].T / 2.0)
        mixed[:, head] = weights / weights.sum(1, keepdims=True) @ v[:, head]
    z = _norm(x + _linear(mixed, a.out), block.norm)
    expected = _norm(z + _linear(np.maximum(_linear(z, block.expand), 0), block.contract), block.ffn_norm)
    got = block(*(torch.from_numpy(t) for t in (x[None], px, y[None], py)))
    np.testing.assert_allclose(got[0].detach().numpy(), expected, atol=1e-12)


def test_k_iterations_have_two_blocks_each_and_one_fuses() -> None:
    model = CVCAM(8, 2, 12, iterations=4)
    assert sum(isinstance(module, CAB) for module in model.modules()) == 9


@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_the_result_has_the_references_grid_and_both_views_get_gradients(iterations: int) -> None:
    torch.manual_seed(1)
    model = CVCAM(8, 2, 12, iterations)
    query, reference = torch.randn(2, 8, 3, 5, requires_grad=True), torch.randn(2, 8, 7, 4, requires_grad=True)
    fused = model(query, reference)
    assert fused.shape == reference.shape
    (fused * torch.randn_like(fused)).sum().backward()
    for view in (query, reference):
        assert view.grad is not None
        assert (view.grad.abs().amax(dim=(1, 2, 3)) > 0).all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_an_iteration_updates_each_view_from_the_other_as_it_stood_before() -> None:
    torch.manual_seed(2)
    model = CVCAM(8, 2, 12, 1).double()
    query, reference = torch.randn(1, 8, 2, 3, dtype=torch.float64), torch.randn(1, 8, 3, 3, dtype=torch.float64)
    q, r = (view.flatten(2).transpose(1, 2) for view in (query, reference))
    pq, pr = sine_positions(2, 3, 8).double(), sine_positions(3, 3, 8).double()
    new_q, new_r = model.query_blocks[0](q, pq, r, pr), model.reference_blocks[0](r, pr, q, pq)
    expected: Tensor = model.fuse(new_r, pr, new_q, pq).transpose(1, 2).view(1, 8, 3, 3)
    torch.testing.assert_close(model(query, reference), expected)


def test_where_things_are_matters_not_only_what_they_are() -> None:
    torch.manual_seed(3)
    model = CVCAM(8, 2, 12, 1).eval()
    query, reference = torch.randn(1, 8, 3, 3), torch.randn(1, 8, 4, 4)
    moved = model(query.flip(3), reference)
    assert (moved - model(query, reference)).abs().max() > 1e-3
