"""`geo weights import --probe`: a checkpoint under L2LTR's names and a few pairs of CVUSA's layout give weights that know their view."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from crossgeo.kernels.polar import polar_transform
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.published import importing
from crossgeo.models.published.l2ltr import branch_to_l2ltr

PLAIN = replace(PRESETS["egotr-b"], ground_hw=(32, 128), aerial_hw=(64, 64), width=48, layers=1, heads=3, hidden=64, descriptor=48)
POLAR = replace(PRESETS["polar-egotr-b"], ground_hw=(32, 128), aerial_hw=(32, 128), width=48, layers=1, heads=3, hidden=64, descriptor=48)


@pytest.fixture
def cvusa(tmp_path: Path) -> Path:
    """Panoramas that are their aerial unrolled, in CVUSA's layout."""
    root, rng, lines = tmp_path / "CVUSA", np.random.default_rng(2), []
    for folder in ("bingmap/19", "streetview/panos", "splits"):
        (root / folder).mkdir(parents=True)
    for number in range(10):
        coarse = rng.integers(0, 255, (4, 4, 3), dtype=np.uint8)
        aerial = np.asarray(Image.fromarray(coarse).resize((96, 96), Image.Resampling.BICUBIC))
        unrolled = polar_transform(torch.from_numpy(aerial.copy()).permute(2, 0, 1)[None].double(), 32, 128)[0].permute(1, 2, 0)
        Image.fromarray(aerial).save(root / f"bingmap/19/{number}.png")
        Image.fromarray(unrolled.round().byte().numpy()).save(root / f"streetview/panos/{number}.png")
        lines.append(f"bingmap/19/{number}.png,streetview/panos/{number}.png,streetview/annotations/{number}.png\n")
    (root / "splits" / "train-19zl.csv").write_text("".join(lines))
    (root / "splits" / "val-19zl.csv").write_text("".join(lines[:1]))
    return root


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small network whose branches are alike, so that it knows a panorama by its aerial unrolled."""
    monkeypatch.setattr(importing, "EGOTR", {"egotr-b": PLAIN, "polar-egotr-b": POLAR})
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    torch.manual_seed(3)
    branch = EgoTR(PLAIN).ground
    for parameter in branch.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
    state = branch_to_l2ltr(branch.state_dict(), PLAIN)
    torch.save({"model_grd": state, "model_sat": state, "optimizer": {}}, tmp_path / "model_checkpoint.pth")
    return tmp_path / "model_checkpoint.pth"


def test_a_few_pairs_tell_the_view_and_the_card_says_so_forever_after(
    cvusa: Path, checkpoint: Path, geo: Any, refused: Callable[..., str]
) -> None:
    probe = ("weights", "import", checkpoint, "--from", "l2ltr", "--probe", cvusa)
    assert "give --view polar or plain, or --probe PAIRS" in refused(2, *probe[:-2], "--out", "untold")
    line = refused(6, *probe, "--view", "plain", "--out", "wrong")
    assert "these are weights of the polar view, not of the plain one; give --view polar" in line
    done = geo(*probe, "--out", "found")
    assert done.exit_code == 0, done.output
    said = " ".join(done.stderr.split())
    assert "10 with the polar view" in said and "egotr of the polar view" in said
    card = json.loads(geo("weights", "info", "found", "--json").stdout)
    assert card["view"]["polar"] and card["config"]["polar"]
    assert card["probe"]["set"] == "CVUSA" and card["probe"]["polar"]["first"] == 10 and card["probe"]["view"] == "polar"
    judged = geo(
        "eval",
        "retrieval",
        cvusa,
        "--split",
        "train",
        "--weights",
        "found",
        "--fov",
        "360",
        "--heading",
        "known",
        "--no-controls",
        "--json",
    )
    assert judged.exit_code == 0, judged.output
    (cell,) = json.loads(judged.stdout)["cells"]
    assert cell["models"][0]["id"]["R@1"]["value"] == 1.0
