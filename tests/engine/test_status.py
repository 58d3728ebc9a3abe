"""When an answer may be believed."""

import pytest

from crossgeo.engine.status import Thresholds, status_of
from crossgeo.errors import WeightsError

LIMITS = Thresholds(score=0.5, margin=0.1)


@pytest.mark.parametrize(
    ("scores", "status"),
    [
        ([0.8, 0.6], "located"),
        ([0.8], "located"),
        ([0.8, 0.75], "ambiguous"),
        ([0.8, 0.8], "ambiguous"),
        ([0.4, 0.1], "low_confidence"),
        ([], "outside_coverage"),
    ],
)
def test_status_follows_score_and_margin(scores: list[float], status: str) -> None:
    assert status_of(scores, LIMITS) == status


def test_the_card_of_the_weights_sets_the_thresholds() -> None:
    assert Thresholds.from_card({"thresholds": {"score": 0.7}}) == Thresholds(score=0.7)
    assert Thresholds.from_card({}) == Thresholds()


@pytest.mark.parametrize("wrong", ["high", None, float("nan")])
def test_a_threshold_that_is_no_number_is_a_fault_of_the_weights(wrong: object) -> None:
    with pytest.raises(WeightsError, match="score"):
        Thresholds.from_card({"thresholds": {"score": wrong}})


def test_a_narrow_photo_needs_the_score_of_narrow_ones_where_that_is_more() -> None:
    limits = Thresholds(score=0.5, margin=0.1, narrow_score=0.6)
    assert [limits.for_fov(fov).score for fov in (360.0, 70.0, 69.9, 20.0, None)] == [0.5, 0.5, 0.6, 0.6, 0.5]
    assert Thresholds(score=0.7, narrow_score=0.6).for_fov(40.0).score == 0.7
    assert Thresholds.from_card({"thresholds": {"narrow_score": 0.6}}).for_fov(40.0) == Thresholds(score=0.6, narrow_score=0.6)
