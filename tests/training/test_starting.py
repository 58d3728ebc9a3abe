"""training/starting.py: weights are read with the view that their photos were placed by."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from crossgeo.engine.status import Thresholds
from crossgeo.errors import UsageError
from crossgeo.models.checkpoint import load_egotr, read_card, save_weights
from crossgeo.models.egotr import PRESETS, EgoTRBranch
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.published.timm_hybrid import timm_name
from crossgeo.models.street_view import StreetView
from crossgeo.models.tensors import shapes_of
from crossgeo.models.views import DroneView
from crossgeo.training.starting import start_fresh, start_from


@pytest.mark.parametrize("view", [DroneView(size_px=32), StreetView(size_px=32), PanoramaView((32, 32), (32, 32))])
def test_weights_start_with_their_own_view(view: Any, street_city: Any, tmp_path: Path) -> None:
    model = load_egotr(street_city.weights)
    path = tmp_path / "own.safetensors"
    save_weights(path, model.module.state_dict(), {**model.card, "view": view.to_dict()})
    begun = start_from(str(path))
    assert begun.view == view and begun.state is not None
    assert torch.equal(begun.state["ground.norm.weight"], model.module.ground.norm.weight)


@pytest.mark.parametrize(("score", "kept"), [(0.65, 0.65), (0.2, 0.45)])
def test_trained_weights_say_that_the_thresholds_before_were_not_measured_on_them(
    score: float, kept: float, street_city: Any, tmp_path: Path
) -> None:
    model = load_egotr(street_city.weights)
    measured = {"score": score, "margin": 0.05}
    save_weights(tmp_path / "before.safetensors", model.module.state_dict(), {**model.card, "name": "measured", "thresholds": measured})
    path = str(tmp_path / "before.safetensors")
    for name in ("once", "twice"):
        start_from(path).save(tmp_path / f"{name}.safetensors", model.module, {"name": name})
        path = str(tmp_path / f"{name}.safetensors")
        thresholds = read_card(path)["thresholds"]
        assert (thresholds["calibrated"], thresholds["taken_from"]) == (False, "measured")
        assert Thresholds.from_card(read_card(path)) == Thresholds(score=kept, margin=0.05)


def test_weights_that_start_without_thresholds_end_without(street_city: Any, tmp_path: Path) -> None:
    begun = start_from(str(street_city.weights))
    begun.save(tmp_path / "after.safetensors", load_egotr(street_city.weights).module, {"name": "after"})
    assert "thresholds" not in read_card(tmp_path / "after.safetensors")


@pytest.mark.parametrize(
    ("preset", "tensors"), [("egotr-b", 378), ("polar-egotr-b-self", 378), ("polar-egotr-b-no-position", 377), ("egotr-b-no-position", 377)]
)
def test_a_preset_of_the_paper_begins_as_timms_hybrid_and_reads_its_colours(preset: str, tensors: int) -> None:
    config = PRESETS["egotr-b"]
    with torch.device("meta"):
        shapes = shapes_of(EgoTRBranch(replace(config, stem="resnetv2-same"), config.ground_hw))
    published: dict[str, torch.Tensor] = {}
    for name, shape in shapes.items():
        times = 3 if name.split(".")[-2:][0] in ("query", "key", "value") else 1
        own = (1, 197, 768) if name == "position" else (times * shape[0], *shape[1:])
        published[timm_name(name)] = torch.zeros(own, device="meta")
    begun = start_fresh(preset, "cvusa", published)
    assert isinstance(begun.view, PanoramaView) and begun.view.mean == (0.5, 0.5, 0.5)
    assert (begun.config.name, begun.view.polar) == (preset, preset.startswith("polar"))
    assert begun.config.stem == "resnetv2-same" and begun.state is not None and len(begun.state) == 2 * tensors
    with pytest.raises(UsageError, match="leave --imagenet out"):
        start_fresh("egotr-s", "cvusa", published)
