"""training/egotr.py: a run learns, stops by its budget and goes on where it was cut."""

from dataclasses import replace
from pathlib import Path

import torch

from crossgeo.models.egotr import PRESETS
from crossgeo.models.views import DroneView
from crossgeo.training.egotr import EgoTRTraining, train_egotr
from crossgeo.training.grounds import Ground
from crossgeo.training.render import Cameras
from crossgeo.training.sampling import SiteSampling

TINY = replace(PRESETS["egotr-s"], ground_hw=(32, 32), aerial_hw=(32, 32), width=32, layers=2, heads=2, hidden=64, descriptor=16)
CONFIG = EgoTRTraining(minutes=1000.0, steps=6, workers=0, bf16=False, frozen_blocks=9)


def run(ground: Ground, out: Path, config: EgoTRTraining, lines: list[str]) -> torch.nn.Module:
    """Train a tiny model on a small ground."""
    sampling = SiteSampling(groups=2, sites=2)
    view = DroneView(size_px=32)
    return train_egotr(
        config, [ground], out, view=view, cameras=Cameras(width_px=64), sampling=sampling, model_config=TINY, log=lines.append
    )


def test_branches_are_one_while_tied_and_part_afterwards(ground: Ground, tmp_path: Path) -> None:
    tied = run(ground, tmp_path / "tied", replace(CONFIG, tied_share=1.0), [])
    parted = run(ground, tmp_path / "parted", replace(CONFIG, tied_share=0.3), [])
    for model, same in ((tied, True), (parted, False)):
        pairs = zip(model.ground.layers.parameters(), model.aerial.layers.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs) is same


def test_a_rerun_goes_on_from_its_checkpoint_and_a_finished_one_does_nothing(ground: Ground, tmp_path: Path) -> None:
    run(ground, tmp_path, CONFIG, [])
    first = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert first["step"] == 6
    run(ground, tmp_path, CONFIG, [])
    again = torch.load(tmp_path / "checkpoint.pt", weights_only=True)
    assert again["step"] == first["step"]
    run(ground, tmp_path, replace(CONFIG, steps=9), [])
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 9


def test_frozen_parts_of_the_stem_stay_as_they_were(ground: Ground, tmp_path: Path) -> None:
    torch.manual_seed(CONFIG.seed)
    from crossgeo.models.egotr import EgoTR

    before = EgoTR(TINY).ground.stem.blocks[0].state_dict()
    model = run(ground, tmp_path, replace(CONFIG, tied_share=0.0), [])
    assert all(torch.equal(before[name], value) for name, value in model.ground.stem.blocks[0].state_dict().items())
