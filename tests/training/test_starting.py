"""training/starting.py: weights are read with the view that their photos were placed by."""

from pathlib import Path
from typing import Any

import pytest
import torch

from crossgeo.models.checkpoint import load_egotr, save_weights
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street_view import StreetView
from crossgeo.models.views import DroneView
from crossgeo.training.starting import start_from


@pytest.mark.parametrize("view", [DroneView(size_px=32), StreetView(size_px=32), PanoramaView((32, 32), (32, 32))])
def test_weights_start_with_their_own_view(view: Any, street_city: Any, tmp_path: Path) -> None:
    model = load_egotr(street_city.weights)
    path = tmp_path / "own.safetensors"
    save_weights(path, model.module.state_dict(), {**model.card, "view": view.to_dict()})
    begun = start_from(str(path))
    assert begun.view == view and begun.state is not None
    assert torch.equal(begun.state["ground.norm.weight"], model.module.ground.norm.weight)
