"""Intervals: known values, edges, and that they hold what they promise."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crossgeo.training.evaluation.statistics import Figure, median, over_seeds, paired_medians, paired_shares, share


def test_a_share_has_wilsons_interval() -> None:
    figure = share([True] * 8 + [False] * 2)
    assert figure.value == 0.8
    assert (figure.low, figure.high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))


@pytest.mark.parametrize("hit", [True, False])
def test_a_share_of_all_or_none_still_has_an_interval_that_holds_it(hit: bool) -> None:
    figure = share([hit] * 20)
    assert figure.low is not None and figure.high is not None
    assert figure.low <= figure.value <= figure.high
    assert figure.high - figure.low == pytest.approx(0.1611, abs=1e-3)


def test_a_median_is_the_middle_with_an_interval_by_seed() -> None:
    values = np.random.default_rng(1).normal(size=401)
    figure = median(values, seed=3)
    assert figure.value == float(np.median(values))
    assert figure == median(values, seed=3)
    assert figure.low is not None and figure.high is not None and figure.low < figure.value < figure.high


@pytest.mark.parametrize("count", [21, 22])
def test_the_bootstrap_of_a_median_is_that_of_resampling(count: int) -> None:
    rng = np.random.default_rng(2)
    values = rng.exponential(size=count)
    resampled = np.median(values[rng.integers(0, count, (20_000, count))], axis=1)
    figure = median(values)
    assert figure.low == pytest.approx(np.quantile(resampled, 0.025), abs=0.06)
    assert figure.high == pytest.approx(np.quantile(resampled, 0.975), abs=0.12)


def test_a_median_of_mostly_no_answers_is_infinite_and_null_in_json() -> None:
    figure = median([1.0, math.inf, math.inf])
    assert figure.value == math.inf
    assert figure.to_json() == {"value": None, "low": 1.0, "high": None, "count": 3}


def test_seeds_have_students_interval_and_one_seed_has_none() -> None:
    figure = over_seeds([0.60, 0.62, 0.64])
    assert figure.value == pytest.approx(0.62)
    assert figure.low == pytest.approx(0.62 - 4.3027 * 0.02 / math.sqrt(3), abs=1e-6)
    assert over_seeds([0.6]) == Figure(0.6, None, None, 1)


def test_a_paired_difference_is_narrower_than_two_shares() -> None:
    rng = np.random.default_rng(4)
    first = rng.random(400) < 0.5
    second = first.copy()
    second[np.nonzero(~first)[0][:20]] = True
    figure = paired_shares(first, second)
    assert figure.value == pytest.approx(0.05)
    assert figure.low is not None and figure.high is not None
    assert 0.0 < figure.low < 0.05 < figure.high < 0.08


def test_models_that_never_differ_still_have_an_interval() -> None:
    same = [True, False] * 10
    figure = paired_shares(same, same)
    assert figure.value == 0.0 and figure.low is not None and figure.low < 0.0


def test_paired_metres_take_two_missing_answers_as_no_difference() -> None:
    figure = paired_medians([5.0, math.inf, 9.0], [4.0, math.inf, math.inf])
    assert figure.value == 0.0
    with pytest.raises(ValueError, match="same questions"):
        paired_medians([1.0], [1.0, 2.0])
