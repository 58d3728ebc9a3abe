"""What `geo batch` does for photos of one drive: what fits together, what it says, and the layer of objects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from crossgeo.commands.sequence_options import Driven, smoothed
from crossgeo.engine.sequences import SequenceOptions
from crossgeo.errors import UsageError


def record(name: str, lat: float, **more: Any) -> dict[str, Any]:
    at = {"lat": lat, "lon": 20.0}
    ring = [[19.9999, lat], [20.0001, lat], [20.0001, lat + 1e-4], [19.9999, lat + 1e-4], [19.9999, lat]]
    thing = {"polygon": {"type": "Polygon", "coordinates": [ring]}, "confidence": 0.5, "bearing_deg": None}
    place = {**at, "camera": at, "radius_m": 2.5, "heading_deg": 0.0, "score": 0.6}
    return {"photo": name, "status": "located", "places": [place], "object": thing, "notes": [], **more}


def test_what_does_not_fit_together_is_refused(tmp_path: Path) -> None:
    assert Driven().options(stdout=True, overwrite=False) is None
    assert Driven(sequence=True, max_speed=7.0).options(stdout=False, overwrite=False) == SequenceOptions(7.0)
    with pytest.raises(UsageError, match="answers at once; give a file"):
        Driven(sequence=True).options(stdout=True, overwrite=False)
    with pytest.raises(UsageError, match=r"no format is called '\.shp'"):
        Driven(objects=tmp_path / "a.shp").options(stdout=False, overwrite=False)
    there = tmp_path / "a.geojson"
    there.write_text("")
    with pytest.raises(UsageError, match="exists already"):
        Driven(objects=there).options(stdout=False, overwrite=False)
    assert Driven(objects=there).options(stdout=False, overwrite=True) is None


def test_folders_are_drives_and_it_is_said_what_they_changed(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [record(f"{folder}/{k}.jpg", 10.0 + k * 1e-4) for folder in ("a", "b") for k in range(3)]
    out = smoothed(rows, SequenceOptions(), lambda places: {})
    assert {row["sequence"]["group"] for row in out} == {"a", "b"}
    assert "2 drives: 6 of 6 photos lie on the way, 0 answers changed by it" in capsys.readouterr().err


def test_the_layer_of_objects_is_geojson(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "objects.geojson"
    Driven(objects=path).write([record("a.jpg", 10.0), record("b.jpg", 10.0), record("c.jpg", 11.0)])
    layer = json.loads(path.read_text())
    assert [feature["properties"]["photos"] for feature in layer["features"]] == [["a.jpg", "b.jpg"], ["c.jpg"]]
    assert all(feature["geometry"]["type"] == "Polygon" for feature in layer["features"])
    assert "2 objects, 1 of them from several photos" in capsys.readouterr().err
    Driven().write([record("a.jpg", 10.0)])
