"""models/fold.py: folding changes what EgoTR costs, not what it says."""

import dataclasses

import pytest
import torch
from torch import nn

from crossgeo.models.cost import count_macs
from crossgeo.models.egotr import PRESETS, EgoTRBranch, EgoTRConfig
from crossgeo.models.fold import fold_branch, fold_norm

HW = (48, 80)
VARIANTS = [
    {},
    {"cross": False},
    {"position": False},
    {"layers": 1},
    {"layers": 1, "cross": False},
    {"layers": 2},
    {"layers": 2, "cross": False},
]


def _branch(preset: str, **changes: int | bool) -> EgoTRBranch:
    """Build a branch of few layers with affines far from 1 and 0, so that a fold that skips one shows."""
    config: EgoTRConfig = dataclasses.replace(PRESETS[preset], **({"layers": 3} | changes))  # type: ignore[arg-type]
    generator = torch.manual_seed(7)
    branch = EgoTRBranch(config, HW)
    with torch.no_grad():
        for name, parameter in branch.named_parameters():
            if parameter.ndim == 1 or name in ("class_token", "position"):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return branch.eval()


def _images(dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(2, 3, *HW, generator=torch.Generator().manual_seed(8)).to(dtype)


@pytest.mark.parametrize("changes", VARIANTS, ids=str)
def test_descriptors_stay_the_same_in_float64(changes: dict[str, int | bool]) -> None:
    branch = _branch("egotr-s", **changes).double()
    with torch.no_grad():
        expected, given = branch(_images(torch.float64)), fold_branch(branch)(_images(torch.float64))
    assert given.dtype == torch.float64
    assert (given - expected).abs().max() < 1e-13


@pytest.mark.parametrize("preset", ["egotr-b", "egotr-s"])
def test_descriptors_stay_within_1e_5_in_float32(preset: str) -> None:
    branch = _branch(preset)
    with torch.no_grad():
        expected, given = branch(_images()), fold_branch(branch)(_images())
    assert given.dtype == torch.float32 and given.shape == (2, 768)
    assert (given - expected).abs().max() < 1e-5


@pytest.mark.parametrize("position", [True, False])
def test_bfloat16_weights_and_autocast_stay_close_to_float32(position: bool) -> None:
    branch = _branch("egotr-s", position=position)
    folded = fold_branch(branch)
    with torch.no_grad():
        expected = branch(_images())
        with torch.autocast("cpu", torch.bfloat16):
            cast = folded(_images())
        halved = folded.bfloat16()(_images(torch.bfloat16))
    for given in (cast, halved):
        assert given.dtype == torch.float32
        assert torch.nn.functional.cosine_similarity(expected, given).min() > 0.999


def test_the_branch_itself_is_left_alone() -> None:
    branch = _branch("egotr-b")
    before = {name: tensor.clone() for name, tensor in branch.state_dict().items()}
    folded = fold_branch(branch.train())
    assert branch.training and not folded.training
    assert not any(p.requires_grad for p in folded.parameters())
    after = branch.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert not {p.data_ptr() for p in folded.parameters()} & {p.data_ptr() for p in branch.parameters()}


def test_each_layer_makes_one_product_for_queries_values_and_the_next_keys() -> None:
    folded = fold_branch(_branch("egotr-s", layers=4))
    assert [layer.project.out_features // 192 for layer in folded.layers] == [4, 3, 3, 1]  # type: ignore[union-attr, operator]


def test_the_paper_model_costs_less_by_the_last_layer_alone() -> None:
    with torch.device("meta"):
        branch = EgoTRBranch(PRESETS["egotr-b"], (256, 256)).eval()
        folded = fold_branch(branch)
    spared = 256 * (2 * 768 * 768 + 2 * 768 * 3072 + 2 * 257 * 768)  # query, out, MLP and attention of 256 tokens
    assert count_macs(branch, (1, 3, 256, 256)) - count_macs(folded, (1, 3, 256, 256)) == spared


def test_a_folded_norm_is_the_norm_and_the_product() -> None:
    norm, linear = nn.LayerNorm(9, eps=1e-6).double(), nn.Linear(9, 4).double()
    with torch.no_grad():
        norm.weight.copy_(torch.randn(9))
        norm.bias.copy_(torch.randn(9))
    x = torch.randn(5, 9, dtype=torch.float64)
    plain = nn.functional.layer_norm(x, (9,), eps=1e-6)
    assert (fold_norm(norm, linear)(plain) - linear(norm(x))).abs().max() < 1e-14
