"""`geo query` for people: why there is no object."""

from __future__ import annotations

from pathlib import Path

import pytest

from crossgeo.commands.query import describe
from crossgeo.engine.place import Answer, Place, Status
from crossgeo.engine.pose import DronePose

PLACE = Place(27.6, 85.5, 2.5, 10.0, 0.4, 17, DronePose(10.0, 65.0))


@pytest.mark.parametrize(
    ("status", "anyway", "says"),
    [
        ("low_confidence", False, "--anyway"), ("low_confidence", True, "no imagery"), ("located", False, "no imagery"),
        ("outside_coverage", True, "no place"),
    ],
)  # fmt: skip
def test_a_click_without_an_object_says_why(status: Status, anyway: bool, says: str) -> None:
    places = () if status == "outside_coverage" else (PLACE,)
    rows = dict(describe(Answer("a.jpg", status, places, None, 1, "egotr").to_json(), Path("a.geo"), True, anyway))
    assert says in rows["object"]


def test_without_a_click_nothing_is_said_of_objects() -> None:
    answer = Answer("a.jpg", "low_confidence", (PLACE,), None, 1, "egotr").to_json()
    assert "object" not in dict(describe(answer, Path("a.geo"), False))
