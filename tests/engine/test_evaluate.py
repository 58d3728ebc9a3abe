"""Measuring: ties are no hits, IoU is on the ground."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossgeo.engine.evaluate import Truth, compare, polygon_iou, rank_of_right, summary
from crossgeo.engine.place import Answer, FoundObject, Place, Status
from crossgeo.engine.pose import DronePose
from crossgeo.errors import InputError

NORTH_10_M = 10.0 / 111_132.0


def place(metres_north: float, score: float) -> Place:
    return Place(metres_north / 111_132.0, 30.0, 3.0, 10.0, score, 1, DronePose(10.0, 60.0))


def answer(*places: Place, status: Status = "located", found: FoundObject | None = None) -> Answer:
    return Answer("p.jpg", status, places, found, 1, "m", {"total": 5.0})


TRUTH = Truth(Path("p.jpg"), 0.0, 30.0, heading_deg=350.0)


def square(west: float, south: float, side: float = 1e-4) -> dict[str, object]:
    ring = [[west, south], [west + side, south], [west + side, south + side], [west, south + side], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def test_a_row_holds_metres_rank_margin_and_turn() -> None:
    row = compare(answer(place(500.0, 0.9), place(4.0, 0.8)), TRUTH)
    assert row.metres == pytest.approx(500.0, rel=0.01)
    assert (row.rank, row.margin) == (2, pytest.approx(0.1))
    assert row.heading_error_deg == pytest.approx(20.0)


def test_a_tie_with_a_wrong_place_is_not_a_hit() -> None:
    row = compare(answer(place(4.0, 0.9), place(500.0, 0.9)), TRUTH)
    assert row.rank == 2
    report = summary([row])
    assert report["within_m"]["25"] == 0.0
    assert report["recall_within_25_m"] == {"1": 0.0, "5": 1.0}


def test_rank_is_none_where_no_place_is_right() -> None:
    assert rank_of_right([0.9, 0.8], [100.0, 200.0]) is None
    assert rank_of_right([0.9, 0.8], [100.0, 20.0]) == 2


def test_the_summary_counts_what_was_believed_and_wrong() -> None:
    rows = [
        compare(answer(place(4.0, 0.9), place(100.0, 0.2)), TRUTH),
        compare(answer(place(300.0, 0.9)), TRUTH),
        compare(answer(place(300.0, 0.3), status="low_confidence"), TRUTH),
        compare(answer(status="outside_coverage"), TRUTH),
    ]
    report = summary(rows)
    assert report["within_m"] == {"5": 0.25, "10": 0.25, "15": 0.25, "25": 0.25}
    assert report["located_and_wrong"] == 1
    assert report["status"] == {"located": 2, "low_confidence": 1, "outside_coverage": 1}
    assert report["radius_held"] == 0.0


def test_a_missed_object_has_no_overlap() -> None:
    truth = Truth(Path("p.jpg"), 0.0, 30.0, point=(1.0, 1.0), polygon=square(30.0, 0.0))
    found = FoundObject(0.0, 30.0, (0, 0, 1, 1), square(30.0, 0.0), 11.0, 11.0, 0.9)
    assert compare(answer(place(0.0, 0.9)), truth).iou == 0.0
    assert compare(answer(place(0.0, 0.9), found=found), truth).iou == pytest.approx(1.0)


def test_overlap_is_measured_on_the_ground() -> None:
    assert polygon_iou(square(30.0, 60.0), square(30.00005, 60.0)) == pytest.approx(1 / 3, abs=1e-6)
    assert polygon_iou(square(30.0, 60.0), square(31.0, 60.0)) == 0.0
    with pytest.raises(InputError):
        polygon_iou({"type": "Polygon"}, square(30.0, 60.0))


def test_an_empty_truth_list_is_an_error() -> None:
    with pytest.raises(InputError, match="empty"):
        summary([])
