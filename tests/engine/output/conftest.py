"""Records of every kind, for tests of what is written from them."""

from __future__ import annotations

from typing import Any

import pytest

from crossgeo.engine.place import Answer, Clicked, FoundObject, Place, error_json
from crossgeo.engine.pose import DronePose
from crossgeo.errors import InputError, UsageError

SQUARE = {"type": "Polygon", "coordinates": [[[85.0, 27.0], [85.1, 27.0], [85.1, 27.1], [85.0, 27.1], [85.0, 27.0]]]}
PLACE = Place(27.61234567891, 85.5, 2.54, 359.98, 0.81234567, 17, DronePose(359.98, 65.0), (27.61, 85.51))
OBJECT = FoundObject(27.05, 85.05, (10.04, 20.0, 30.0, 44.0), SQUARE, 12.345, 9.0, 0.876543)


@pytest.fixture(name="answers")
def answers_fixture() -> list[dict[str, Any]]:
    """Return an answer with an object, one without, one of no place, and an error."""
    with_object = Answer("a.jpg", "located", (PLACE, PLACE), OBJECT, 3, "egotr", {"total": 12.34})
    without = Answer("ä,b.jpg", "low_confidence", (PLACE,), None, 3, "egotr", notes=("one was guessed", "another, too"))
    nowhere = Answer("c.jpg", "outside_coverage", (), None, 3, "egotr")
    return [with_object.to_json(), without.to_json(), nowhere.to_json(), error_json("d.jpg", InputError("d.jpg: cut short"))]


@pytest.fixture(name="several")
def several_fixture() -> dict[str, Any]:
    """Return a photo of three points: an object, none, and one outside."""
    clicks = (
        Clicked((1.0, 2.5), OBJECT), Clicked((3.0, 4.0), None, ("nothing there",)), Clicked((999.0, 4.0), error=UsageError("outside")),
    )  # fmt: skip
    record = Answer("m.jpg", "located", (PLACE,), OBJECT, 3, "egotr", notes=("a guess",), objects=clicks).to_json()
    return {"photo": record.pop("photo"), "id": "7", "group": "drive", "taken": "2024-05-01T10:00:00+02:00", **record}


@pytest.fixture
def everything(answers: list[dict[str, Any]], several: dict[str, Any]) -> list[dict[str, Any]]:
    """Return one of each kind, and a name that XML has no characters for."""
    return [*answers, several, error_json("e\x01<&.jpg", InputError("no such file"))]
