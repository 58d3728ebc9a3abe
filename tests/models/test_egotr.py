"""models/egotr.py and models/transformer.py against the paper's figures and, in float64, its equations written out in numpy."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from crossgeo.models.cost import count_macs
from crossgeo.models.egotr import PRESETS, EgoTR, EgoTRBranch, EgoTRConfig
from crossgeo.models.transformer import Layer

Array = NDArray[np.float64]
TINY = EgoTRConfig("tiny", "efficientnet-lite0", (48, 80), (32, 64), width=24, layers=4, heads=3, hidden=40, dropout=0.1)
erf = np.vectorize(math.erf)


def _np(tensor: torch.Tensor) -> Array:
    return tensor.detach().numpy()


def _norm(x: Array, norm: nn.LayerNorm) -> Array:
    x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-6)
    return x * _np(norm.weight) + _np(norm.bias)


def _linear(x: Array, linear: nn.Linear) -> Array:
    return x @ _np(linear.weight).T + _np(linear.bias)


def _layer(x: Array, k: Array, layer: Layer, heads: int) -> Array:
    """Carry (N, C) tokens through one layer whose keys come from (N, C) tokens k (paper eq. 3)."""
    a, normed = layer.attention, _norm(x, layer.norm)
    query, value = _linear(normed, a.query), _linear(normed, a.value)
    key = _linear(_norm(k, layer.key_norm), a.key)
    size = x.shape[1] // heads
    mixed = np.empty_like(x)
    for h in range(heads):
        part = slice(h * size, (h + 1) * size)
        scores = np.exp(query[:, part] @ key[:, part].T / math.sqrt(size))
        mixed[:, part] = scores / scores.sum(1, keepdims=True) @ value[:, part]
    x = x + _linear(mixed, a.out)
    hidden = _linear(_norm(x, layer.mlp_norm), layer.expand)
    return x + _linear(hidden * 0.5 * (1 + erf(hidden / math.sqrt(2))), layer.contract)


def _describe(features: Array, branch: EgoTRBranch, config: EgoTRConfig) -> Array:
    """Describe the (C, H, W) features of the stem as a unit vector."""
    patches = features.reshape(len(features), -1).T @ _np(branch.embed.weight)[:, :, 0, 0].T + _np(branch.embed.bias)
    x = np.concatenate([_np(branch.class_token)[0], patches])
    if branch.position is not None:
        x = x + _np(branch.position)[0]
    inputs = [x]  # x[0], x[1], ...: what each layer reads
    for number, layer in enumerate(branch.layers, start=1):
        assert isinstance(layer, Layer)
        k = inputs[max(number - 2, 0)] if config.cross else inputs[-1]
        inputs.append(_layer(inputs[-1], k, layer, config.heads))
    token = _norm(inputs[-1], branch.norm)[0]
    if isinstance(branch.project, nn.Linear):
        token = _linear(token, branch.project)
    return token / np.linalg.norm(token)


def _randomised(config: EgoTRConfig) -> EgoTRBranch:
    generator = torch.manual_seed(5)
    branch = EgoTRBranch(config, config.ground_hw)
    with torch.no_grad():
        for name, parameter in branch.named_parameters():
            if not name.startswith("stem."):
                parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator))
    return branch.double().eval()


@pytest.mark.parametrize(
    "changes",
    [{}, {"cross": False}, {"position": False}, {"project": True, "descriptor": 17}, {"layers": 1}, {"layers": 2}],
    ids=["self-cross", "self-attention", "no position", "projected", "one layer", "two layers"],
)
def test_the_descriptor_is_the_papers_equations(changes: dict[str, int | bool]) -> None:
    config = dataclasses.replace(TINY, **changes)  # type: ignore[arg-type]
    branch = _randomised(config)
    images = torch.randn(2, 3, 48, 80, generator=torch.Generator().manual_seed(6), dtype=torch.float64)
    with torch.no_grad():
        features, given = branch.stem(images), branch(images)
    assert given.dtype == torch.float64
    for one, row in zip(features, given, strict=True):
        assert np.abs(_describe(_np(one), branch, config) - _np(row)).max() < 1e-12


def test_self_cross_and_self_attention_differ_from_the_second_layer_on() -> None:
    images = torch.randn(1, 3, 48, 80, dtype=torch.float64)
    for layers, same in ((1, True), (2, False)):
        cross = _randomised(dataclasses.replace(TINY, layers=layers))
        plain = _randomised(dataclasses.replace(TINY, layers=layers, cross=False))
        plain.load_state_dict(cross.state_dict())
        with torch.no_grad():
            assert torch.equal(cross(images), plain(images)) == same


@pytest.mark.parametrize("preset", [name for name in PRESETS if name != "egotr-s"])
def test_the_papers_preset_has_the_papers_size_and_cost(preset: str) -> None:
    config = PRESETS[preset]
    with torch.device("meta"):
        model = EgoTR(config).eval()
    for branch, hw in ((model.ground, config.ground_hw), (model.aerial, config.aerial_hw)):
        assert sum(p.numel() for p in branch.parameters()) == 97_954_624 - (0 if config.position else 257 * 768)
        assert branch.position is None if preset.endswith("-no-position") else branch.position.shape == (1, 257, 768)
        assert [layer.cross for layer in branch.layers] == [preset != "polar-egotr-b-self"] * 12
        assert count_macs(branch, (1, 3, *hw)) == pytest.approx(28.4e9, abs=0.05e9)


def test_the_small_preset_keeps_its_bounds() -> None:
    config = PRESETS["egotr-s"]
    with torch.device("meta"):
        branch = EgoTR(config).eval().aerial
    assert sum(p.numel() for p in branch.parameters()) <= 6_000_000
    assert 2 * count_macs(branch, (1, 3, *config.aerial_hw)) <= 4e9
    assert branch(torch.empty(1, 3, *config.aerial_hw, device="meta")).shape == (1, 768)


def test_count_macs_counts_convolutions_products_and_attention() -> None:
    with torch.device("meta"):
        layer = Layer(24, 3, 40, 0.0, cross=True)
        conv = nn.Conv2d(3, 5, 3, padding=1)
    assert count_macs(conv, (2, 3, 7, 9)) == 2 * 7 * 9 * 5 * 3 * 9
    assert count_macs(layer, (1, 11, 24), (1, 11, 24)) == 11 * 24 * 24 * 4 + 2 * 11 * 11 * 24 + 2 * 11 * 24 * 40


def test_the_branches_share_nothing_and_the_ablations_keep_their_tensors() -> None:
    model = EgoTR(TINY)
    ours, theirs = ({id(p) for p in b.parameters()} for b in (model.ground, model.aerial))
    assert not ours & theirs
    full, plain = set(model.state_dict()), set(EgoTR(dataclasses.replace(TINY, cross=False)).state_dict())
    assert full == plain
    assert full - set(EgoTR(dataclasses.replace(TINY, position=False)).state_dict()) == {"ground.position", "aerial.position"}


def test_both_branches_give_unit_vectors_of_the_descriptor_size() -> None:
    model = EgoTR(dataclasses.replace(TINY, project=True, descriptor=31)).eval()
    with torch.no_grad():
        ground, aerial = model(torch.randn(3, 3, 48, 80), torch.randn(2, 3, 32, 64))
    assert ground.shape == (3, 31) and aerial.shape == (2, 31)
    assert torch.allclose(ground.norm(dim=1), torch.ones(3)) and torch.allclose(aerial.norm(dim=1), torch.ones(2))


def test_dropout_acts_in_training_alone() -> None:
    branch = EgoTRBranch(TINY, (48, 80))
    images = torch.randn(1, 3, 48, 80)
    with torch.no_grad():
        assert not torch.equal(branch.train()(images), branch(images))
        assert torch.equal(branch.eval()(images), branch(images))


def test_every_parameter_learns_from_the_descriptor() -> None:
    branch = _randomised(TINY).train()
    branch(torch.randn(2, 3, 48, 80, dtype=torch.float64)).square()[:, ::2].sum().backward()
    key_biases = {f"layers.{n}.attention.key.bias" for n in range(4)}  # softmax does not see them
    assert [n for n, p in branch.named_parameters() if (p.grad is None or not p.grad.any()) and n not in key_biases] == []


def test_a_configuration_survives_json() -> None:
    for name, config in PRESETS.items():
        assert config.name == name
        assert EgoTRConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@pytest.mark.parametrize(("changes", "hw"), [({}, (40, 80)), ({"width": 25}, (48, 80))])
def test_sizes_that_do_not_fit_are_refused(changes: dict[str, int], hw: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="not a multiple of"):
        EgoTRBranch(dataclasses.replace(TINY, **changes), hw)  # type: ignore[arg-type]
