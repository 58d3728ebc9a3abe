"""The two regressions against what they should come to."""

from __future__ import annotations

import numpy as np
import pytest

from crossgeo.engine.calibrate.isotonic import fit_isotonic
from crossgeo.engine.calibrate.logistic import fit_logistic, sigmoid


def test_newton_ends_where_the_slope_is_none_or_leads_past_a_bound() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(500, 3))
    hits = rng.random(500) < sigmoid(0.5 + x @ np.array([1.5, -0.8, 0.0]))
    signs = (1, 1, 0)  # the second is held: it would be below 0
    w = fit_logistic(x, hits, signs, 0.5)
    chance = sigmoid(w[0] + x @ w[1:])
    slope = x.T @ (chance - hits) + w[1:]
    assert w[2] == 0.0
    assert slope[1] > 0.0  # less of it would fit better
    assert np.abs(slope[[0, 2]]).max() < 1e-4
    assert w[1] == pytest.approx(1.4, abs=0.35)


def test_separable_pairs_have_finite_weights() -> None:
    x = np.linspace(-1.0, 1.0, 50)[:, None]
    w = fit_logistic(x, x[:, 0] > 0.0, (1,), 1.0)
    assert np.isfinite(w).all()
    assert (np.diff(sigmoid(w[0] + x[:, 0] * w[1])) > 0.0).all()


def test_pooled_levels_are_the_means_of_what_they_pool() -> None:
    scores = np.array([1.0, 2.0, 3.0, 3.0, 4.0, 5.0])
    knots, chances = fit_isotonic(scores, np.array([False, True, False, False, True, True]))
    # 1 | 2, 3, 3 (a third) | 4, 5, each level with half a hit and half a miss more
    assert knots.tolist() == pytest.approx([1.0, 8.0 / 3.0, 4.5])
    assert chances.tolist() == pytest.approx([0.25, 1.5 / 4.0, 2.5 / 3.0])


def test_falling_scores_are_one_level() -> None:
    knots, chances = fit_isotonic(np.arange(4.0), np.array([True, True, False, False]))
    assert (knots.tolist(), chances.tolist()) == ([1.5], [0.5])
