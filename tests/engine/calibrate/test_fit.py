"""Fitting on made-up answers whose truth is known: coverage within binomial limits, order, ties, all right and all wrong."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.engine.calibrate.chances import LADDER_M, METHODS, Chances, Method, log_loss
from crossgeo.engine.calibrate.conformal import LEAST_M, conformal_level, least_pairs, levels_of, radii_at
from crossgeo.engine.calibrate.features import NAMES, SCORE, features_of
from crossgeo.engine.calibrate.fit import Seen, choose, fit_kind, folds_of, seen_of
from crossgeo.engine.evidence import Evidence
from crossgeo.errors import InputError

Float = NDArray[np.float64]
Draw = Callable[[int, int], Seen]
REACH_M = 600.0


def test_the_radius_holds_in_nine_of_ten_new_pairs_over_many_seeds(draw: Draw) -> None:
    seeds, fresh = 20, 400
    held = 0
    for seed in range(seeds):
        fitted = fit_kind(draw(160, seed), REACH_M, seed)
        new = draw(fresh, 1000 + seed)
        assert fitted.level is not None
        radii = radii_at(fitted.chances.at(features_of(new.evidence)), fitted.level, REACH_M)
        held += int((new.distances_m <= radii).sum())
    # Of n conformal pairs the coverage over fits has mean (k / (n + 1)) and that spread; the rest is binomial.
    rank, pairs = math.ceil(81 * 0.9), 80
    mean, spread = rank / (pairs + 1), math.sqrt(rank * (pairs + 1 - rank) / ((pairs + 1) ** 2 * (pairs + 2)) / seeds)
    assert abs(held / (seeds * fresh) - mean) < 4.0 * math.hypot(spread, math.sqrt(mean * (1 - mean) / (seeds * fresh)))


def test_chances_come_to_the_true_ones(draw: Draw, make_evidence: Callable[..., Evidence], true_chance: Callable[[Float], Float]) -> None:
    fitted = fit_kind(draw(3000, 5), REACH_M)
    scores = np.linspace(0.35, 0.85, 11)
    told = fitted.chances.told(features_of([make_evidence(score) for score in scores]))
    assert np.abs(told[:, 2] - true_chance(scores)).max() < 0.1


@pytest.mark.parametrize(("method", "penalty"), METHODS)
def test_chances_never_fall_with_the_score_nor_with_the_distance(draw: Draw, method: Method, penalty: float) -> None:
    seen = draw(200, 3)
    chances = Chances.fit(features_of(seen.evidence), seen.distances_m, method, penalty)
    rows = np.tile(features_of(seen.evidence).mean(axis=0), (200, 1))
    rows[:, SCORE] = np.linspace(-1.0, 1.0, 200)
    told = chances.at(rows)
    assert (np.diff(told, axis=0) >= -1e-12).all()
    assert (np.diff(told, axis=1) >= 0.0).all()
    assert (told > 0.0).all()
    assert (told < 1.0).all()


def test_more_lead_and_overlap_never_make_a_place_less_likely(draw: Draw) -> None:
    rng = np.random.default_rng(0)
    seen = draw(300, 4)
    rows = features_of(seen.evidence) + rng.normal(0.0, 0.2, (300, len(NAMES)))  # features that mean nothing, and some the other way
    rows[:, NAMES.index("margin")] += (seen.distances_m > 25.0) * 0.2
    chances = Chances.fit(rows, seen.distances_m, "logistic", 0.3)
    for name, sign in (("margin", 1.0), ("overlap", 1.0), ("rivals", -1.0), ("spread", -1.0)):
        more = rows.copy()
        more[:, NAMES.index(name)] += 0.3 * sign
        assert (chances.at(more) >= chances.at(rows) - 1e-12).all(), name


def test_the_order_of_pairs_makes_no_difference(draw: Draw) -> None:
    seen = draw(150, 8)
    order = np.random.default_rng(1).permutation(len(seen))
    turned = seen_of([seen.evidence[n] for n in order], seen.distances_m[order].tolist(), seen.cells[order].tolist())
    one, other = fit_kind(seen, REACH_M, 2), fit_kind(turned, REACH_M, 2)
    assert one.chances.to_json() == other.chances.to_json()
    assert (one.level, one.conformal_pairs) == (other.level, other.conformal_pairs)


def test_ties_of_scores_share_one_chance(make_evidence: Callable[..., Evidence]) -> None:
    rng = np.random.default_rng(0)
    metres = np.where(rng.random(100) < 0.7, 1.0, 100.0)
    seen = seen_of([make_evidence(0.5)] * 100, metres.tolist(), (np.arange(100) % 10).tolist())
    fitted = fit_kind(seen, REACH_M)
    told = fitted.chances.told(features_of(seen.evidence))
    assert np.ptp(told, axis=0).max() == 0.0
    assert 0.5 < told[0, 0] < 0.85
    assert fitted.level is not None
    assert float(radii_at(fitted.chances.at(features_of(seen.evidence[:1])), fitted.level, REACH_M)[0]) >= 100.0


@pytest.mark.parametrize(("metres", "near"), [(1.0, True), (300.0, False)])
def test_all_right_or_all_wrong_is_never_certain(make_evidence: Callable[..., Evidence], metres: float, near: bool) -> None:
    scores = np.linspace(0.4, 0.8, 80)
    seen = seen_of([make_evidence(score) for score in scores], [metres] * 80, (np.arange(80) % 8).tolist())
    fitted = fit_kind(seen, REACH_M)
    told = fitted.chances.told(features_of(seen.evidence))
    assert (told > 0.9).all() if near else (told < 0.1).all()
    assert (told < 1.0).all()
    assert (told > 0.0).all()
    assert fitted.level is not None
    radii = radii_at(fitted.chances.at(features_of(seen.evidence)), fitted.level, REACH_M)
    assert ((radii >= metres * 0.999) & (radii <= REACH_M)).all()
    if near:
        assert radii.max() < 3.0


def test_what_scores_do_not_tell_is_told_by_the_share_alone() -> None:
    rng = np.random.default_rng(3)
    rows = rng.normal(0.0, 1.0, (400, len(NAMES)))
    metres = np.where(rng.random(400) < 0.8, 1.0, 100.0)
    method, penalty = choose(rows, metres, rng.integers(20, size=400), 0)
    assert method == "constant" or penalty == 30.0
    told = Chances.fit(rows, metres, method, penalty).told(rows)
    assert np.abs(told - 0.8).max() < 0.1
    assert log_loss(told, metres) < log_loss(np.full_like(told, 0.5), metres)


def test_too_few_pairs_or_too_little_ground_are_refused(draw: Draw) -> None:
    with pytest.raises(InputError, match=r"20 photos on .* at least 30"):
        fit_kind(draw(20, 0), REACH_M)
    seen = draw(60, 0)
    with pytest.raises(InputError, match="on 1 cells"):
        fit_kind(Seen(seen.evidence, seen.distances_m, np.zeros(60, np.int64)), REACH_M)


def test_fewer_than_nine_pairs_allow_no_radius() -> None:
    assert least_pairs() == 9
    assert conformal_level(np.linspace(0.0, 1.0, 8)) is None
    assert conformal_level(np.linspace(0.0, 0.8, 9)) == pytest.approx(0.8)
    assert conformal_level(np.zeros(0)) is None


def test_levels_and_radii_undo_each_other(draw: Draw) -> None:
    seen = draw(100, 1)
    chances = Chances.fit(features_of(seen.evidence), seen.distances_m, "logistic", 3.0).at(features_of(seen.evidence))
    metres = np.geomspace(0.06, REACH_M * 0.99, 100)
    levels = levels_of(chances, metres, REACH_M)
    back = np.array([radii_at(chances[n : n + 1], level, REACH_M)[0] for n, level in enumerate(levels)])
    assert np.allclose(back, np.maximum(metres, LEAST_M), rtol=1e-3)
    assert (radii_at(chances, 0.9, REACH_M) >= radii_at(chances, 0.5, REACH_M)).all()
    assert len(LADDER_M) == chances.shape[1]


def test_cells_are_never_torn_apart(draw: Draw) -> None:
    cells = draw(200, 0).cells
    fold = folds_of(cells, 4, 7)
    assert all(len(np.unique(fold[cells == cell])) == 1 for cell in np.unique(cells))
    assert np.bincount(fold, minlength=4).min() > 30
    assert (folds_of(cells, 4, 8) != fold).any()
