"""TensorRT-RTX builds engines of both models at their papers' sizes without a GPU; cards that it does not serve are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.halves import describing, mapping, of_clicks, of_windows
from crossgeo.engine.runtime.tensorrt import TENSORRT, TENSORRT_RTX, Flavour
from crossgeo.models.attengeo import PRESETS as OBJECTS
from crossgeo.models.attengeo import AttenGeo
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DroneView

NO_PICTURES = np.zeros((0, 1, 1, 3), np.uint8)


def half(name: str) -> Half:
    torch.manual_seed(0)
    if name.startswith("attengeo"):
        network = AttenGeo(OBJECTS["attengeo"]).eval()
        return (of_windows if name.endswith("windows") else of_clicks)(network, ("attengeo", "0" * 64), "v")
    model = EgoTR(PRESETS["egotr-b"] if name == "egotr-b" else PRESETS["egotr-s"]).eval()
    branch, view = fold_branch(model.aerial), DroneView()
    return (mapping if name.endswith("maps") else describing)(branch, view, "aerial", ("egotr", "0" * 64), "v")


@pytest.mark.parametrize(
    ("name", "precision"), [("egotr-b", "bf16"), ("attengeo windows", "bf16"), ("attengeo clicks", "fp16"), ("egotr-s maps", "fp16")]
)
def test_a_strongly_typed_engine_is_built_for_batches_of_1_to_256(name: str, precision: str, tmp_path: Path) -> None:
    made = half(name)
    most = made.largest(256)
    TENSORRT_RTX.build(made, tmp_path, precision, most, "cuda", NO_PICTURES)
    assert [path.name for path in tmp_path.iterdir()] == ["engine.plan"]
    weights = sum(parameter.numel() for parameter in made.module.parameters())
    plan = tmp_path / "engine.plan"
    assert 1.0 * weights < plan.stat().st_size < 3.5 * weights + 4e6  # two bytes a weight that it needs, and its kernels
    assert most == (16 if name in ("attengeo windows", "egotr-s maps") else 256)


def test_an_engine_is_not_loaded_where_there_is_no_card(tmp_path: Path) -> None:
    assert "runs on NVIDIA's GPUs, not on cpu" in str(TENSORRT_RTX.missing("cpu"))
    if not torch.cuda.is_available():
        assert "needs a GPU with its driver" in str(TENSORRT_RTX.missing("cuda"))


@pytest.mark.parametrize(
    ("flavour", "card", "word"),
    [
        (TENSORRT_RTX, (9, 0), "Hopper"), (TENSORRT_RTX, (7, 5), "zeros"), (TENSORRT_RTX, (7, 0), "8.0 or newer"),
        (TENSORRT, (7, 0), "7.5"),
        (TENSORRT_RTX, (8, 0), None), (TENSORRT_RTX, (8, 9), None), (TENSORRT_RTX, (12, 0), None), (TENSORRT, (9, 0), None),
    ],
)  # fmt: skip
def test_cards_that_a_runtime_does_not_serve_are_refused(flavour: Flavour, card: tuple[int, int], word: str | None) -> None:
    why = flavour.unfit(*card)
    assert (why is None) if word is None else (why is not None and word in why)


def test_a_package_that_is_not_there_says_how_to_get_it() -> None:
    try:
        TENSORRT.module()
    except ImportError:
        assert "pip install 'crossgeo[tensorrt]'" in str(TENSORRT.absent())
