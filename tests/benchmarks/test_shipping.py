"""benchmarks/shipping.py: what a shipped file's card keeps of the file before it and says of the weights that a run went on from."""

import importlib.util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from crossgeo.models.checkpoint import load_weights, read_card


@pytest.fixture
def shipping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    source = Path(__file__).resolve().parents[2] / "benchmarks" / "shipping.py"
    spec = importlib.util.spec_from_file_location("benchmarks_shipping", source)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "WEIGHTS", tmp_path)
    return module


def ship(shipping: ModuleType, name: str, steps: int, **how: Any) -> dict[str, Any]:
    card = {"kind": "egotr", "config": {}, "view": {}, "credits": ["me"], "training": {"steps": steps}}
    shipping.ship_weights(name, {"w": torch.ones(2)}, card, **{"thresholds": None, "start_from": None} | how)
    return read_card(shipping.WEIGHTS / f"{name}.safetensors")


def test_a_shipped_file_holds_the_tensors_and_bears_its_name_and_licence(shipping: ModuleType, tmp_path: Path) -> None:
    card = ship(shipping, "made-up", 5)
    assert (card["name"], card["licence"], card["credits"], card["training"]) == ("made-up", "Apache-2.0", ["me"], {"steps": 5})
    _, state = load_weights(tmp_path / "made-up.safetensors")
    assert state["w"].tolist() == [1.0, 1.0]


def test_thresholds_are_kept_from_the_file_before_unless_given(shipping: ModuleType) -> None:
    assert "thresholds" not in ship(shipping, "made-up", 1)
    assert ship(shipping, "made-up", 2, thresholds=[0.6, 0.1])["thresholds"] == {"score": 0.6, "margin": 0.1}
    assert ship(shipping, "made-up", 3)["thresholds"] == {"score": 0.6, "margin": 0.1}
    assert ship(shipping, "made-up", 4, thresholds=[0.5, 0.2])["thresholds"] == {"score": 0.5, "margin": 0.2}


def test_the_card_tells_how_the_weights_were_trained_that_a_run_went_on_from(shipping: ModuleType, tmp_path: Path) -> None:
    ship(shipping, "first", 5)
    card = ship(shipping, "second", 7, start_from=str(tmp_path / "first.safetensors"))
    assert card["training"] == {"steps": 7, "went_on_from": {"steps": 5}}
    assert ship(shipping, "third", 9, start_from="egotr-s-drone")["training"]["went_on_from"] == read_card("egotr-s-drone")["training"]


def test_a_run_is_as_long_as_its_checkpoint_says(shipping: ModuleType) -> None:
    assert shipping.lengths({"step": 1311, "elapsed_s": 4690.0}) == {"steps": 1311, "minutes": 78.2}
