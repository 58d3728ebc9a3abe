"""Photos that their drive has put somewhere else: who is asked again, and what the records say of objects then."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from crossgeo.engine.sequences import SequenceOptions, merge_objects, smooth, to_ask_again, with_objects

Record = dict[str, Any]
Make = Callable[..., Record]
STEP = 1e-4  # of latitude, 11 m


def thing(lat: float, bearing_deg: float | None = 90.0) -> Record:
    ring = [[20.0, lat], [20.0001, lat], [20.0001, lat + 1e-4], [20.0, lat + 1e-4], [20.0, lat]]
    polygon = {"type": "Polygon", "coordinates": [ring]}
    return {"lat": lat, "lon": 20.0, "polygon": polygon, "confidence": 0.8, "width_m": 9.0, "height_m": 9.0, "bearing_deg": bearing_deg}


@pytest.fixture
def drive(place: Make, record: Make) -> list[Record]:
    """Seven photos on a line to the north: the third has its place second, the fifth is not sure by itself."""
    out = []
    for k in range(7):
        true = place(10.0 + k * STEP, 20.0, 0.6)
        places = [place(10.2, 20.2, 0.61, 180.0), true] if k == 2 else [true]
        status = "ambiguous" if k == 4 else "located"
        out.append(record(f"{k}.jpg", places, status, taken=f"2026-05-01T12:00:0{k}.5"))
    out[2]["object"] = thing(10.2)
    return out


def test_what_moved_and_what_is_believed_now_is_asked_again_around_its_place(drive: list[Record]) -> None:
    new = smooth(drive)
    assert [row["sequence"]["rank"] for row in new] == [1, 1, 2, 1, 1, 1, 1] and new[4]["status"] == "located"
    asked = to_ask_again(drive, new)
    assert set(asked) == {2, 4}
    assert asked[2] == (10.0 + 2 * STEP, 20.0, 10.0)
    drive[4]["object"] = thing(10.0)
    assert set(to_ask_again(drive, smooth(drive))) == {2}, "what has its object at that place keeps it"


def test_a_moved_photo_has_the_object_of_its_new_place(drive: list[Record], place: Make, record: Make) -> None:
    new = smooth(drive)
    assert new[2]["object"] is None and "bearing_deg" in new[2]["sequence"]
    again = {2: record("2.jpg", [place(10.0 + 2 * STEP, 20.0, 0.5)]) | {"object": thing(10.0002)}, 4: record("4.jpg", [])}
    before = copy.deepcopy((new, again))
    out = with_objects(new, again)
    assert (new, again) == before, "what it is given is not changed"
    assert out[2]["object"] == thing(10.0002) and out[2]["places"] == new[2]["places"]
    assert out[2]["notes"][1:] == ["the object was looked for again at the place that is now the first"]
    assert "bearing_deg" not in out[2]["sequence"], "the click is not counted twice"
    assert out[4] == new[4] and [out[k] for k in (0, 1, 3, 5, 6)] == [new[k] for k in (0, 1, 3, 5, 6)]
    (found,) = merge_objects([out[2]])
    assert found["photos"] == ["2.jpg"]


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ({"error": {"type": "InputError", "message": "2.jpg: gone"}}, "the search failed (2.jpg: gone)"),
        ({"places": [], "object": None}, "the search found no place"),
        ({"places": [{"heading_deg": 150.0}], "object": thing(10.0)}, "the photo fits best turned by 150 degrees"),
        ({"places": [{"heading_deg": 350.0}], "object": None}, "none was found"),
    ],
)
def test_where_nothing_is_found_there_it_is_said_why(drive: list[Record], answer: Record, why: str) -> None:
    new = smooth(drive)
    (out,) = with_objects([new[2]], {0: answer})
    assert out["object"] is None and out["notes"][-1].endswith(f"asked again around the place that is now, {why}")
    assert not any("ask again with --near" in note for note in out["notes"]) and "bearing_deg" in out["sequence"]
    (kept,) = with_objects([new[4]], {0: answer | {"object": None}})
    assert kept == new[4], "of what had no object nothing was lost"


def test_several_points_come_back_together(drive: list[Record]) -> None:
    drive[2]["objects"] = [{"point": [1, 2], "object": thing(10.2), "notes": []}, {"point": [3, 4], "object": None, "notes": []}]
    new = smooth(drive, SequenceOptions())
    assert [row["object"] for row in new[2]["objects"]] == [None, None]
    rows = [{"point": [1, 2], "object": None, "notes": []}, {"point": [3, 4], "object": thing(10.0), "notes": []}]
    (out,) = with_objects([new[2]], {0: {"places": [{"heading_deg": 0.0}], "object": None, "objects": rows}})
    assert out["objects"] == rows
