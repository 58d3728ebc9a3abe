"""The twins inside the models that use them: the same answers as torch's own kernels give (models/fold.py, models/cvcam.py)."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
from run_types import HALVES
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from crossgeo.errors import UsageError
from crossgeo.models.attention import MultiHeadAttention
from crossgeo.models.cvcam import CVCAM
from crossgeo.models.egotr import PRESETS, EgoTRBranch
from crossgeo.models.fold import FoldedLayer, fold_branch
from crossgeo.models.low_precision import cast_whole

PRODUCTS = [getattr(torch.ops.aten, name).default for name in ("mm", "addmm", "bmm", "baddbmm")]


def _on(backend: str, model: nn.Module) -> nn.Module:
    """Have all attention of a model run on a backend."""
    for module in model.modules():
        if isinstance(module, (FoldedLayer, MultiHeadAttention)):
            module.backend = backend
    return model


@pytest.mark.parametrize("changes", [{"layers": 2}, {"layers": 1, "cross": False}], ids=str)
def test_egotr_says_the_same_with_one_kernel_for_attention(changes: dict[str, int], device: str) -> None:
    torch.manual_seed(7)
    folded = fold_branch(EgoTRBranch(dataclasses.replace(PRESETS["egotr-s"], **changes), (32, 48)).eval()).to(device)
    images = torch.randn(2, 3, 32, 48, device=device)
    expected = _on("torch", folded)(images)
    assert (_on("triton", folded)(images) - expected).abs().max() < 1e-5


def _cvcam(seed: int, iterations: int, device: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """Return the blocks with features of two photos, 3 x 5 cells, and of their windows, 7 x 4."""
    torch.manual_seed(seed)
    model = CVCAM(32, 2, 12, iterations=iterations).eval().to(device)
    return model, torch.randn(2, 32, 3, 5, device=device), torch.randn(2, 32, 7, 4, device=device)


def test_cvcam_says_the_same_with_positions_added_behind_the_projections(device: str) -> None:
    model, query, reference = _cvcam(1, 2, device)
    with torch.no_grad():
        expected = _on("torch", model)(query, reference)
        given = _on("triton", model)(query, reference)
    assert (given - expected).abs().max() < 2e-5


def test_cvcam_makes_positions_and_tables_once_until_a_weight_changes(device: str) -> None:
    model, query, reference = _cvcam(3, 1, device)
    _on("triton", model)
    products: list[Any] = []

    class Counted(TorchDispatchMode):
        def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if op in (*PRODUCTS, torch.ops.aten.sin.default):
                products.append(op)
            return op(*args, **(kwargs or {}))

    def ran() -> tuple[torch.Tensor, int]:
        products.clear()
        with torch.no_grad(), Counted():
            return model(query, reference), len(products)

    (first, at_first), (second, later) = ran(), ran()
    # 3 blocks: a product each for queries, for keys and values, for what is mixed, and two of the FFN. At first tables and sines besides.
    assert torch.equal(first, second) and (at_first, later) == (3 * 5 + 3 * 2 + 2 * 2, 3 * 5)
    with torch.no_grad():
        model.get_parameter("fuse.attention.key.weight").mul_(2.0)
        expected = _on("torch", model)(query, reference)
    _on("triton", model)
    third, again = ran()
    assert (third - expected).abs().max() < 2e-5 and again == later + 1
    assert (third - first).abs().max() > 1e-3


@pytest.mark.parametrize("dtype", HALVES)
def test_networks_that_are_wholly_in_16_bits_say_the_same(dtype: torch.dtype, device: str) -> None:
    model, query, reference = _cvcam(4, 1, device)
    torch.manual_seed(8)
    folded = fold_branch(EgoTRBranch(dataclasses.replace(PRESETS["egotr-s"], layers=1), (32, 48)).eval()).to(device)
    images = torch.randn(2, 3, 32, 48, device=device)
    with torch.no_grad():
        expected, described = _on("torch", model)(query, reference), _on("torch", folded)(images)
        given = cast_whole(_on("triton", model), dtype)(query.to(dtype), reference.to(dtype))
        low = cast_whole(_on("triton", folded), dtype)(images)
    assert given.dtype == dtype and low.dtype == torch.float32
    assert 1e-6 < (given - expected).norm() / expected.norm() < 2e-2
    assert torch.cosine_similarity(low, described).min() > 0.999


@pytest.mark.parametrize("dtype", HALVES)
def test_cvcam_says_the_same_under_autocast(dtype: torch.dtype, device: str) -> None:
    model, query, reference = _cvcam(2, 1, device)
    with torch.no_grad():
        expected = _on("torch", model)(query, reference)
        with torch.autocast(device, dtype):
            given = _on("triton", model)(query, reference)
    assert given.dtype == torch.float32
    assert 1e-6 < (given - expected).norm() / expected.norm() < 2e-2  # in 16 bits, and close


def test_a_block_that_learns_refuses_the_kernel_that_has_no_gradient(device: str) -> None:
    model = _on("triton", CVCAM(32, 2, 12, iterations=0)).to(device)
    with pytest.raises(UsageError, match="a gradient is wanted"):
        model(torch.randn(1, 32, 2, 2, device=device), torch.randn(1, 32, 2, 2, device=device))
