"""Answers on disk: text formats, whole or not at all."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from crossgeo.engine.output import SUFFIXES, check_output, write_records
from crossgeo.engine.output.rows import COLUMNS
from crossgeo.errors import LimitError, UsageError

Record = dict[str, Any]
Room = Callable[[int], AbstractContextManager[None]]


def test_the_json_of_an_answer_is_the_documented_one(answers: list[Record]) -> None:
    assert answers[0] == {
        "photo": "a.jpg",
        "status": "located",
        "places": [{"lat": 27.6123457, "lon": 85.5, "radius_m": 2.5, "heading_deg": 0.0,
        "camera": {"lat": 27.61, "lon": 85.51}, "score": 0.8123, "probability": None, "tile": 17, "source": None, "vintage": None}] * 2,
        "object": {
            "lat": 27.05, "lon": 85.05, "box_px": [10.0, 20.0, 30.0, 44.0],
            "polygon": {"type": "Polygon", "coordinates": [[[85.0, 27.0], [85.1, 27.0], [85.1, 27.1], [85.0, 27.1], [85.0, 27.0]]]},
            "width_m": 12.35, "height_m": 9.0, "confidence": 0.8765, "bearing_deg": None,
        },
        "notes": [],
        "evidence": None,
        "index": {"generation": 3, "model": "egotr"},
        "timings_ms": {"total": 12.3},
    }  # fmt: skip
    assert list(answers[0]) == ["photo", "status", "places", "object", "notes", "evidence", "index", "timings_ms"]
    assert (answers[1]["object"], answers[1]["notes"]) == (None, ["one was guessed", "another, too"])
    assert answers[3] == {"photo": "d.jpg", "error": {"type": "InputError", "message": "d.jpg: cut short"}}


def test_geojson_shows_the_object_else_the_place_else_nothing(tmp_path: Path, answers: list[Record]) -> None:
    write_records(tmp_path / "out.geojson", answers)
    document = json.loads((tmp_path / "out.geojson").read_text(encoding="utf-8"))
    assert document["type"] == "FeatureCollection"
    assert [f["geometry"] and f["geometry"]["type"] for f in document["features"]] == ["Polygon", "Point", None, None]
    assert document["features"][1]["geometry"]["coordinates"] == [85.5, 27.6123457]
    assert [f["properties"] for f in document["features"]] == answers


def test_json_lines_hold_an_answer_a_line(tmp_path: Path, answers: list[Record]) -> None:
    write_records(tmp_path / "out.jsonl", answers)
    assert [json.loads(line) for line in (tmp_path / "out.jsonl").read_text(encoding="utf-8").splitlines()] == answers


def test_csv_has_a_row_an_answer_with_its_place_object_and_error(tmp_path: Path, answers: list[Record]) -> None:
    write_records(tmp_path / "out.csv", answers)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == tuple(COLUMNS)
    assert (rows[0]["lat"], rows[0]["object_lat"], rows[0]["object_confidence"]) == ("27.6123457", "27.05", "0.8765")
    assert (rows[0]["camera_lat"], rows[0]["camera_lon"], rows[0]["source"]) == ("27.61", "85.51", "")
    assert (rows[1]["photo"], rows[1]["object_lat"], rows[1]["notes"]) == ("ä,b.jpg", "", "one was guessed; another, too")
    assert (rows[0]["notes"], rows[3]["notes"]) == ("", "")
    assert (rows[3]["status"], rows[3]["error_type"], rows[3]["error_message"]) == ("error", "InputError", "d.jpg: cut short")


def test_probabilities_of_a_calibrated_index_are_columns(tmp_path: Path, answers: list[Record]) -> None:
    answers[0]["places"][0]["probability"] = {"5": 0.5, "10": 0.75, "25": 0.9, "50": 0.95}
    write_records(tmp_path / "out.csv", answers)
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [rows[0][f"within_{metres}_m"] for metres in (5, 10, 25, 50)] == ["0.5", "0.75", "0.9", "0.95"]
    assert rows[1]["within_5_m"] == ""


def test_several_points_are_a_row_and_a_feature_each(tmp_path: Path, several: Record) -> None:
    write_records(tmp_path / "out.csv", [several])
    with (tmp_path / "out.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert [(row["id"], row["group"], row["point_x"], row["object_lat"], row["error_message"]) for row in rows] == [
        ("7", "drive", "1.0", "27.05", ""), ("7", "drive", "3.0", "", ""), ("7", "drive", "999.0", "", "outside"),
    ]  # fmt: skip
    assert rows[1]["notes"] == "a guess; nothing there"
    write_records(tmp_path / "out.geojson", [several])
    features = json.loads((tmp_path / "out.geojson").read_text(encoding="utf-8"))["features"]
    assert [(one["id"], one["geometry"]["type"]) for one in features] == [("7", "Polygon"), ("7", "Point"), ("7", "Point")]
    assert [one["properties"]["point"] for one in features] == [[1.0, 2.5], [3.0, 4.0], [999.0, 4.0]]
    write_records(tmp_path / "out.jsonl", [several])
    assert json.loads((tmp_path / "out.jsonl").read_text(encoding="utf-8")) == several


def test_a_suffix_without_a_format_is_refused_before_anything_is_written(tmp_path: Path, answers: list[Record]) -> None:
    with pytest.raises(UsageError, match=r"\.geojson"):
        write_records(tmp_path / "out.xlsx", answers)
    assert list(tmp_path.iterdir()) == []


def test_a_stream_that_breaks_leaves_the_old_file_and_no_litter(tmp_path: Path, answers: list[Record]) -> None:
    (tmp_path / "out.jsonl").write_text("old")

    def breaking() -> Iterator[dict[str, Any]]:
        yield answers[0]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_records(tmp_path / "out.jsonl", breaking())
    assert [path.name for path in tmp_path.iterdir()] == ["out.jsonl"]
    assert (tmp_path / "out.jsonl").read_text() == "old"


def test_a_format_whose_library_is_missing_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgeo.engine.output.find_spec", lambda name: None)
    for suffix in SUFFIXES:
        if suffix in (".parquet", ".geoparquet", ".gpkg"):
            with pytest.raises(UsageError, match=r"pip install 'crossgeo\[vectors\]'"):
                check_output(tmp_path / f"out{suffix}")
        else:
            check_output(tmp_path / f"out{suffix}")


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet", ".gpkg", ".kml"])
def test_a_full_disk_is_said_and_leaves_the_old_file(suffix: str, tmp_path: Path, room_for: Room, everything: list[Record]) -> None:
    out = tmp_path / f"out{suffix}"
    out.write_text("old")
    check_output(out)
    with room_for(2_000), pytest.raises(LimitError, match="out"):
        write_records(out, everything * 40)
    assert [path.name for path in tmp_path.iterdir()] == [out.name]
    assert out.read_text() == "old"
