"""training/recompute.py: layers that run again in the backward pass leave the same gradients, dropout and all."""

import copy
from dataclasses import replace

import pytest
import torch

from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.training.recompute import recompute_layers

TINY = replace(PRESETS["egotr-s"], ground_hw=(32, 32), aerial_hw=(32, 32), width=32, layers=3, heads=2, hidden=64, descriptor=16)


@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_gradients_names_and_descriptors_are_the_same(dropout: float) -> None:
    torch.manual_seed(0)
    plain = EgoTR(replace(TINY, dropout=dropout)).train()
    again = copy.deepcopy(plain)
    assert recompute_layers(again) == 6
    assert again.state_dict().keys() == plain.state_dict().keys()
    images = torch.randn(2, 2, 3, 32, 32)
    found = []
    for model in (plain, again):
        torch.manual_seed(5)
        ground, aerial = model(*images)
        (ground * aerial.roll(1, 0)).sum().backward()
        found.append([ground.detach(), *(p.grad for p in model.parameters())])
    torch.testing.assert_close(found[1], found[0], atol=1e-6, rtol=1e-5)


def test_a_copy_of_a_recomputed_model_has_layers_of_its_own() -> None:
    model = EgoTR(replace(TINY, dropout=0.0))
    recompute_layers(model)
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.ground.layers.parameters():
            parameter.add_(0.1)
    image = torch.randn(1, 3, 32, 32)
    assert not torch.allclose(model.ground(image), other.ground(image))
