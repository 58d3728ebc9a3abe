"""training/recipes.py: what the papers print stands in their recipes, and lengths become steps."""

import math

import pytest

from crossgeo.training.recipes import ATTENGEO, EGOTR, for_length


def test_the_papers_recipe_for_egotr_is_as_printed() -> None:
    recipe = EGOTR["paper"]
    run = for_length(recipe.training, epochs=recipe.epochs, epoch_steps=1110, warmup_steps=recipe.warmup_steps)
    assert (run.lr, run.stem_lr, run.weight_decay, run.eps, run.clip, run.alpha, run.loss) == (1e-4, 1e-4, 0.03, 1e-6, 1.0, 10.0, "triplet")
    assert run.decay_all and not (run.dense or run.bf16 or run.average or run.frozen_blocks or run.tied_share)
    assert (recipe.sampling.batch, recipe.epochs, run.steps) == (32, 200, 222_000)
    assert not (recipe.sampling.turned or recipe.sampling.near_share or recipe.sampling.mined_share or recipe.sampling.limited_share)
    rates = [run.schedule.factor(step / run.steps, 1 / run.steps) for step in (0, 249, 499, 111_000)]
    assert rates == pytest.approx([1 / 500, 0.5, 1.0, 0.5], rel=1e-4)
    assert run.schedule.factor(1.0) == pytest.approx(0.0)


def test_attengeos_rate_falls_every_ten_of_thirty_epochs() -> None:
    recipe = ATTENGEO["paper"]
    run = for_length(recipe.training, epochs=recipe.epochs, epoch_steps=100, warmup_steps=recipe.warmup_steps)
    assert (run.lr, run.backbone_lr, run.steps) == (1e-4, 1e-4, 3000)
    assert [run.schedule.factor(step / run.steps) for step in (0, 999, 1000, 2000)] == pytest.approx([1.0, 1.0, 0.1, 0.01])
    assert (run.box_weight, run.overlap_weight, run.spare_iou) == (1.0, 0.0, 1.0)


def test_steps_come_before_minutes_and_minutes_before_epochs() -> None:
    settings = EGOTR["strong"].training
    length = {"epochs": 40.0, "epoch_steps": 10, "warmup_steps": 500}
    assert for_length(settings, **length, steps=7, minutes=3.0).steps == 7
    timed = for_length(settings, **length, minutes=3.0)
    assert (timed.minutes, timed.steps) == (3.0, math.inf)
    short = for_length(settings, **length)
    assert (short.steps, short.schedule.warmup_share) == (400, 0.5)
