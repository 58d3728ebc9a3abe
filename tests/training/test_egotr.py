"""training/egotr.py: a run learns, stops by its budget, goes on where it was cut, and leaves alone what it is not to train."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from crossgeo.errors import MismatchError
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.views import DroneView
from crossgeo.training.egotr import EgoTRTraining, train_egotr
from crossgeo.training.grounds import Ground
from crossgeo.training.render import Cameras
from crossgeo.training.sampling import SiteSampler, SiteSampling

TINY = replace(PRESETS["egotr-s"], ground_hw=(32, 32), aerial_hw=(32, 32), width=32, layers=2, heads=2, hidden=64, descriptor=16)
CONFIG = EgoTRTraining(steps=6, bf16=False, frozen_blocks=9, log_steps=1)


def run(ground: Ground, out: Path, config: EgoTRTraining, start_from: dict[str, torch.Tensor] | None = None) -> EgoTR:
    """Train a tiny model on a small ground."""
    view = DroneView(size_px=32)
    source = SiteSampler([ground], view, Cameras(width_px=64), SiteSampling(groups=2, sites=2))
    return train_egotr(config, source, out, view=view, model_config=TINY, start_from=start_from)


def same(one: torch.nn.Module, other: torch.nn.Module) -> bool:
    """Whether two modules hold the same tensors, to the bit."""
    return all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), other.state_dict().values(), strict=True))


def test_branches_are_one_while_tied_and_part_afterwards(ground: Ground, tmp_path: Path) -> None:
    for share, tied in ((1.0, True), (0.3, False)):
        model = run(ground, tmp_path / str(share), replace(CONFIG, tied_share=share))
        assert same(model.ground.layers, model.aerial.layers) is tied


def test_averaged_branches_are_one_while_tied_and_part_afterwards(ground: Ground, tmp_path: Path) -> None:
    for share, tied in ((1.0, True), (0.5, False)):
        model = run(ground, tmp_path / str(share), replace(CONFIG, tied_share=share, average=0.9))
        assert same(model.ground.layers, model.aerial.layers) is tied


def test_a_rerun_goes_on_from_its_checkpoint_and_a_finished_one_does_nothing(ground: Ground, tmp_path: Path) -> None:
    first = run(ground, tmp_path, CONFIG)
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 6
    written = (tmp_path / "checkpoint.pt").stat().st_mtime_ns
    assert same(first, run(ground, tmp_path, CONFIG))
    assert (tmp_path / "checkpoint.pt").stat().st_mtime_ns == written
    run(ground, tmp_path, replace(CONFIG, steps=9))
    assert torch.load(tmp_path / "checkpoint.pt", weights_only=True)["step"] == 9


def test_frozen_parts_of_the_stem_stay_as_they_were(ground: Ground, tmp_path: Path) -> None:
    torch.manual_seed(CONFIG.seed)
    before = EgoTR(TINY)
    config, begun = replace(CONFIG, tied_share=0.0), {name: tensor.clone() for name, tensor in before.state_dict().items()}
    trained = run(ground, tmp_path / "trained", config, begun)
    assert same(before.ground.stem.blocks[0], trained.ground.stem.blocks[0])
    torch.manual_seed(CONFIG.seed)
    anew = run(ground, tmp_path / "anew", config)  # what was drawn at random is never frozen
    assert not same(EgoTR(TINY).ground.stem.blocks[0], anew.ground.stem.blocks[0])


def test_a_ground_branch_is_trained_against_an_aerial_branch_that_stays_to_the_bit(ground: Ground, tmp_path: Path) -> None:
    torch.manual_seed(3)
    before = EgoTR(replace(TINY, dropout=0.1))
    for average in (0.0, 0.9):
        config = replace(CONFIG, trained="ground", frozen_blocks=0, average=average)
        after = run(ground, tmp_path / str(average), config, before.state_dict())
        assert same(before.aerial, after.aerial)
        moved = [not torch.equal(a, b) for a, b in zip(before.ground.parameters(), after.ground.parameters(), strict=True)]
        assert sum(moved) > 0.9 * len(moved)


def test_a_checkpoint_of_another_model_or_way_to_train_is_refused_with_both_named(ground: Ground, tmp_path: Path) -> None:
    run(ground, tmp_path, replace(CONFIG, steps=1))
    with pytest.raises(MismatchError, match=r"trained 'both' there and 'ground' here"):
        run(ground, tmp_path, replace(CONFIG, trained="ground"))
    source = SiteSampler([ground], DroneView(size_px=32), Cameras(width_px=64), SiteSampling(groups=2, sites=2))
    other = replace(TINY, name="egotr-other", layers=3)
    with pytest.raises(MismatchError, match=r"is of 'egotr-s', this run of 'egotr-other'"):
        train_egotr(CONFIG, source, tmp_path, view=DroneView(size_px=32), model_config=other)
