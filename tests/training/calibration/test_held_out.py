"""Figures of held-out ground on made-up predictions whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.engine.calibrate.fit import seen_of
from crossgeo.engine.evidence import Evidence
from crossgeo.engine.status import Sure
from crossgeo.training.calibration.held_out import HeldOut, figures, hold_out, reliability
from crossgeo.training.calibration.observing import Observed, cell_side_m, cells_of


def told(rng: np.random.Generator, count: int, honest: bool) -> HeldOut:
    chance = rng.uniform(0.05, 0.95, count)
    metres = np.where(rng.random(count) < chance, 1.0, 100.0)
    said = chance if honest else np.full(count, 0.99)
    four: NDArray[np.float64] = np.repeat(said[:, None], 4, axis=1)
    return HeldOut(four, np.full(count, 150.0), np.full(count, 5.0), metres, rng.integers(50, size=count), 1)


def test_honest_chances_have_little_error_and_others_much() -> None:
    rng = np.random.default_rng(0)
    honest, boasting = (figures(told(rng, 4000, kind), Sure(0.9)) for kind in (True, False))
    assert honest["ece_25_m"]["value"] < 0.03
    assert boasting["ece_25_m"]["value"] == pytest.approx(0.49, abs=0.03)
    assert honest["brier_25_m"]["value"] < boasting["brier_25_m"]["value"]
    assert honest["located_right"]["value"] == pytest.approx(0.925, abs=0.04)
    assert (boasting["located"]["value"], honest["coverage"]["value"], honest["median_radius_m"]["value"]) == (1.0, 1.0, 150.0)
    assert honest["coverage_uncalibrated"]["value"] == honest["share_25_m"]["value"]
    for figure in (honest["share_25_m"], honest["brier_25_m"], honest["ece_25_m"]):
        assert figure["low"] <= figure["value"] <= figure["high"]


def test_intervals_go_by_ground_and_not_by_photos() -> None:
    cells = np.repeat(np.arange(20), 50)
    right = np.repeat(np.arange(20) % 2 == 0, 50)  # all photos of a cell are right, or none
    held = HeldOut(np.full((1000, 4), 0.5), np.full(1000, 5.0), np.full(1000, 5.0), np.where(right, 1.0, 100.0), cells, 1)
    share = figures(held, Sure())["share_25_m"]
    assert share["high"] - share["low"] > 0.3


def test_bins_hold_equal_chances_together() -> None:
    chances = np.array([0.2] * 30 + [0.8] * 10)
    assert reliability(chances, np.arange(40) % 2 == 0) == [(pytest.approx(0.2), 0.5, 30), (pytest.approx(0.8), 0.5, 10)]


def test_ground_that_is_judged_is_not_fitted_and_too_little_gives_none() -> None:
    rng = np.random.default_rng(1)
    xy = rng.uniform(0.0, 1000.0, (300, 2))
    score = rng.uniform(0.3, 0.9, 300)
    metres = np.where(rng.random(300) < score, 1.0, 200.0)
    evidence = [Evidence("drone", round(s, 4), round(s, 4), None, 0.1, 0, 1.0, 50.0, 5.0, 24) for s in score.tolist()]
    side_m = cell_side_m(xy)
    assert side_m == 200.0
    observed = Observed(seen_of(evidence, metres.tolist(), cells_of(xy, side_m).tolist()), xy, side_m)
    held = hold_out(observed, 1500.0, 30.0, splits=3)
    assert held is not None
    assert held.splits == 3
    assert 150 < len(held.told) < 300
    few = observed.seen.part(np.arange(300) < 20)
    assert hold_out(Observed(few, xy[:20], side_m), 1500.0, 30.0, splits=2) is None
