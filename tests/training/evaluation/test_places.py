"""Figures in metres and of headings, and the table that any engine can fill."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crossgeo.errors import InputError
from crossgeo.training.evaluation.cells import JudgedCell, difference, groups_of, groups_over_seeds
from crossgeo.training.evaluation.places import Answered, cells, heading_figures, place_figures, recall_figures, turned_deg


def answered(*metres: float | None, **more: object) -> list[Answered]:
    return [Answered(str(n), m, **more) for n, m in enumerate(metres)]


def test_shares_count_photos_without_a_place_as_lost() -> None:
    figures = place_figures(answered(0.5, 3.0, 20.0, None))
    assert figures is not None
    assert [figures[f"within_{m}_m"].value for m in (1, 5, 25, 50)] == [0.25, 0.5, 0.75, 0.75]
    assert figures["median_m"].value == 11.5
    assert figures["quartile_3_m"].value == math.inf and figures["quartile_3_m"].to_json()["value"] is None


def test_there_are_no_metres_where_no_truth_has_a_place() -> None:
    assert place_figures(answered(None, None)) is None


def test_headings_are_judged_of_all_and_of_those_that_were_found() -> None:
    some = [Answered("a", 3.0, 5.0), Answered("b", 3.0, 90.0), Answered("c", 400.0, 170.0), Answered("d", 1.0)]
    figures = heading_figures(some)
    assert figures is not None
    assert figures["median_deg"].value == 90.0
    assert figures["within_10_deg"].value == pytest.approx(1 / 3)
    assert figures["within_10_deg_of_those_within_25_m"].value == 0.5
    assert heading_figures(answered(1.0)) is None


def test_angles_are_taken_the_short_way() -> None:
    assert turned_deg(359.0, 2.0) == pytest.approx(3.0)
    assert turned_deg(-170.0, 170.0) == pytest.approx(20.0)


def test_recall_stands_by_protocol() -> None:
    some = [Answered("a", ranks={"5m": 1, "id": 2}), Answered("b", ranks={"5m": 7, "id": 7})]
    figures = recall_figures(some, 200)
    assert figures["5m"]["R@1"].value == 0.5 and figures["id"]["R@1"].value == 0.0
    assert figures["id"]["R@1%"].value == 0.5
    assert "R@1%" not in recall_figures(some, 99)["id"]


def test_any_callable_fills_the_table() -> None:
    asked: list[tuple[float, bool]] = []

    def engine(truths: object, fov_deg: float, heading_known: bool) -> list[Answered]:
        asked.append((fov_deg, heading_known))
        return answered(1.0, 2.0)

    table = cells(["p", "q"], engine, (360.0, 90.0), (True, False))
    assert asked == [(360.0, True), (360.0, False), (90.0, True), (90.0, False)]
    assert [(cell.fov_deg, cell.heading_known, len(cell.answered)) for cell in table] == [(*one, 2) for one in asked]


def test_an_empty_set_and_answers_that_are_left_out_are_refused() -> None:
    with pytest.raises(InputError, match="empty"):
        cells([], lambda *_: [], (360.0,), (True,))
    with pytest.raises(ValueError, match="1 answers came for 2"):
        cells(["p", "q"], lambda *_: answered(1.0), (360.0,), (True,))


def test_several_seeds_give_a_mean_with_its_interval() -> None:
    every = [groups_of(answered(*([1.0] * hits + [100.0] * (10 - hits))), None) for hits in (4, 5, 6)]
    figure = groups_over_seeds(every)["metres"]["within_25_m"]
    assert figure.value == pytest.approx(0.5) and figure.count == 3
    assert figure.low == pytest.approx(0.5 - 4.3027 * 0.1 / math.sqrt(3))


def test_two_models_are_compared_question_by_question() -> None:
    rng = np.random.default_rng(0)
    base = rng.uniform(0.0, 50.0, 60)
    first, second = answered(*base), answered(*np.maximum(base - 10.0, 0.1))
    groups = difference(first, second)
    assert groups["metres"]["median_m"].value == pytest.approx(-10.0)
    assert groups["metres"]["within_25_m"].value > 0.0
    with pytest.raises(ValueError, match="same questions"):
        difference(first, second[::-1])


def test_a_cell_has_controls_and_chance_beside_its_figures() -> None:
    cell = JudgedCell(
        90.0, False, (answered(1.0, 30.0),), {"untrained network": answered(90.0, None)}, None, {"metres": {"within_25_m": 0.1}}
    )
    plain = cell.to_json(None)
    assert (plain["heading"], plain["questions"]) == ("unknown", 2)
    assert plain["models"][0]["metres"]["within_25_m"]["value"] == 0.5
    assert plain["controls"]["untrained network"]["metres"]["within_25_m"]["value"] == 0.0
    assert plain["chance"] == {"metres": {"within_25_m": 0.1}}
    assert plain["over_seeds"] is None and plain["against"] is None
