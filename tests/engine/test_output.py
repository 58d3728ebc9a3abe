"""Answers on disk: three formats, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from crossgeo.engine.output import CSV_COLUMNS, write_records
from crossgeo.engine.place import Answer, FoundObject, Place, error_json
from crossgeo.engine.pose import DronePose
from crossgeo.errors import InputError, UsageError

SQUARE = {"type": "Polygon", "coordinates": [[[85.0, 27.0], [85.1, 27.0], [85.1, 27.1], [85.0, 27.1], [85.0, 27.0]]]}
PLACE = Place(27.61234567891, 85.5, 2.54, 359.98, 0.81234567, 17, DronePose(359.98, 65.0), (27.61, 85.51))
OBJECT = FoundObject(27.05, 85.05, (10.04, 20.0, 30.0, 44.0), SQUARE, 12.345, 9.0, 0.876543)


def answers() -> list[dict[str, Any]]:
    with_object = Answer("a.jpg", "located", (PLACE, PLACE), OBJECT, 3, "egotr", {"total": 12.34})
    without = Answer("ä,b.jpg", "low_confidence", (PLACE,), None, 3, "egotr", notes=("one was guessed", "another, too"))
    nowhere = Answer("c.jpg", "outside_coverage", (), None, 3, "egotr")
    return [with_object.to_json(), without.to_json(), nowhere.to_json(), error_json("d.jpg", InputError("d.jpg: cut short"))]


def test_the_json_of_an_answer_is_the_documented_one() -> None:
    assert answers()[0] == {
        "photo": "a.jpg",
        "status": "located",
        "places": [{"lat": 27.6123457, "lon": 85.5, "radius_m": 2.5, "heading_deg": 0.0,
        "camera": {"lat": 27.61, "lon": 85.51}, "score": 0.8123, "tile": 17, "source": None, "vintage": None}] * 2,
        "object": {
            "lat": 27.05, "lon": 85.05, "box_px": [10.0, 20.0, 30.0, 44.0], "polygon": SQUARE, "width_m": 12.35, "height_m": 9.0,
            "confidence": 0.8765, "bearing_deg": None,
        },
        "notes": [],
        "index": {"generation": 3, "model": "egotr"},
        "timings_ms": {"total": 12.3},
    }  # fmt: skip
    assert list(answers()[0]) == ["photo", "status", "places", "object", "notes", "index", "timings_ms"]
    assert (answers()[1]["object"], answers()[1]["notes"]) == (None, ["one was guessed", "another, too"])
    assert answers()[3] == {"photo": "d.jpg", "error": {"type": "InputError", "message": "d.jpg: cut short"}}


def test_geojson_shows_the_object_else_the_place_else_nothing(tmp_path: Path) -> None:
    write_records(tmp_path / "out.geojson", answers())
    document = json.loads((tmp_path / "out.geojson").read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    assert [f["geometry"] and f["geometry"]["type"] for f in document["features"]] == ["Polygon", "Point", None, None]
    assert document["features"][1]["geometry"]["coordinates"] == [85.5, 27.6123457]
    assert [f["properties"] for f in document["features"]] == answers()


def test_json_lines_hold_an_answer_a_line(tmp_path: Path) -> None:
    write_records(tmp_path / "out.jsonl", answers())
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()] == answers()


def test_csv_has_a_row_an_answer_with_its_place_object_and_error(tmp_path: Path) -> None:
    write_records(tmp_path / "out.csv", answers())
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert (rows[0]["lat"], rows[0]["object_lat"], rows[0]["object_confidence"]) == ("27.6123457", "27.05", "0.8765")
    assert (rows[1]["photo"], rows[1]["object_lat"], rows[1]["notes"]) == ("ä,b.jpg", "", "one was guessed; another, too")
    assert (rows[0]["notes"], rows[3]["notes"]) == ("", "")
    assert (rows[3]["status"], rows[3]["error_type"], rows[3]["error_message"]) == ("error", "InputError", "d.jpg: cut short")


def test_a_suffix_without_a_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.geojson"):
        write_records(tmp_path / "out.xlsx", answers())
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_breaks_leaves_the_old_file_and_no_litter(tmp_path: Path) -> None:
    (tmp_path / "out.jsonl").write_text("old")

    def breaking() -> Iterator[dict[str, Any]]:
        yield answers()[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(tmp_path / "out.jsonl", breaking())
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old"
