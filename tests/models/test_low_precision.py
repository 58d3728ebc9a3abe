"""models/low_precision.py: networks that are wholly in bfloat16 answer as in float32, and nothing between their layers is wider."""

from __future__ import annotations

import copy
import dataclasses
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from crossgeo.engine.runtime.torch import casting, lowered
from crossgeo.models.attengeo import PRESETS, AttenGeo
from crossgeo.models.egotr import PRESETS as DESCRIBERS
from crossgeo.models.egotr import EgoTRBranch
from crossgeo.models.fold import fold_branch, stem_maps
from crossgeo.models.low_precision import cast_whole

FINDERS = [
    dataclasses.replace(
        PRESETS["attengeo"], depths=(1, 1), widths=(16, 32), stride=8, window_px=56, photo_px=40, channels=32, heads=2, hidden=24,
        iterations=1, spatial_hidden=8,
    ),
    dataclasses.replace(PRESETS["attengeo-s-street"], channels=16, heads=2, hidden=24, spatial_hidden=8, window_px=96, photo_px=64),
]  # fmt: skip


def _wide(module: nn.Module, *inputs: Tensor) -> tuple[Any, list[str]]:
    """Run a network, and name the parts of it whose result is wider than 16 bits."""
    wide: list[str] = []

    def seen(name: str, given: Any) -> None:
        if isinstance(given, Tensor) and given.dtype.itemsize > 2:
            wide.append(name)

    handles = [
        part.register_forward_hook(lambda _part, _given, result, name=name: seen(name, result))
        for name, part in module.named_modules()
        if name
    ]
    with torch.no_grad(), casting("cuda", "bf16"):
        result = module(*inputs)
    for handle in handles:
        handle.remove()
    return result, wide


# A stem of 16 blocks that has learned nothing makes more of rounding; autocast's descriptors are as far from float32's.
@pytest.mark.parametrize(("preset", "near"), [("egotr-s", 0.9998), ("egotr-b", 0.95)])
def test_descriptors_are_those_of_float32_and_of_unit_length_in_float32(preset: str, near: float) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(DESCRIBERS[preset], layers=2)
    folded = fold_branch(EgoTRBranch(config, (32, 48)).eval())
    images = torch.randn(2, 3, 32, 48)
    with torch.no_grad():
        expected, maps = folded(images), stem_maps(folded.stem, images)  # type: ignore[arg-type]
    low, wide = _wide(lowered(folded, "cuda", "bf16"), images)
    assert wide == [] and low.dtype == torch.float32
    assert (low.norm(dim=1) - 1).abs().max() < 1e-6
    assert torch.cosine_similarity(low, expected).min() > near
    with torch.no_grad():
        for given, exact in zip(stem_maps(folded.stem, images), maps, strict=True):  # type: ignore[arg-type]
            assert given.dtype == torch.bfloat16
            assert torch.cosine_similarity(given.flatten().float(), exact.flatten(), dim=0) > near


@pytest.mark.parametrize("config", FINDERS, ids=lambda config: config.name)
def test_predictions_are_those_of_float32_and_clicks_keep_their_pixels(config: Any) -> None:
    torch.manual_seed(1)
    network = AttenGeo(config).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    windows, photos = (torch.randint(0, 256, (2, 3, side, side), dtype=torch.uint8) for side in (config.window_px, config.photo_px))
    inputs = [windows, photos, torch.rand(2, 2) * config.photo_px]
    inputs += [torch.rand(2, 4) * config.window_px] if config.look_deg else []
    with torch.no_grad():
        expected = network(*inputs)
        pointed = network.pointed(inputs[2], photos)
    low, wide = _wide(lowered(copy.deepcopy(network), "cuda", "bf16"), *inputs)
    assert wide == [] and low.dtype == torch.float32
    assert torch.cosine_similarity(low.flatten(), expected.flatten(), dim=0) > 0.998
    cast = cast_whole(network, torch.bfloat16)
    assert torch.equal(cast.pointed(inputs[2], photos), pointed.bfloat16())  # rounded once, at the end
    assert torch.equal(cast.mean, AttenGeo(config).mean)  # colours are normalised in float32


def test_batch_norms_keep_their_statistics_unless_one_type_is_asked_for() -> None:
    def made() -> nn.Module:
        return nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4)).eval()

    apart, whole = cast_whole(made(), torch.bfloat16), cast_whole(made(), torch.bfloat16, batch_norms=True)
    assert {name: tensor.dtype for name, tensor in apart.state_dict().items() if tensor.is_floating_point()} == {
        **dict.fromkeys(("0.weight", "0.bias"), torch.bfloat16),
        **dict.fromkeys(("1.weight", "1.bias", "1.running_mean", "1.running_var"), torch.float32),
    }
    assert {tensor.dtype for tensor in whole.state_dict().values() if tensor.is_floating_point()} == {torch.bfloat16}
    for module in (apart, whole):
        assert module(torch.randn(1, 3, 2, 2).bfloat16()).dtype == torch.bfloat16
