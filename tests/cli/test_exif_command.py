"""`geo exif`: the answers of a batch go into its photos and out again; what cannot be written is told."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crossgeo.engine.photo import Photo

Refused = Callable[..., str]


def answer(name: str, status: str = "located") -> dict[str, Any]:
    place = {"lat": 27.6, "lon": 85.5, "radius_m": 2.5, "heading_deg": 12.0, "camera": None, "score": 0.7}
    return {"photo": name, "status": status, "places": [place], "object": None, "notes": [], "index": {"generation": 1, "model": "m"}}


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    (folder / "a").mkdir(parents=True)
    for name in ("a/one.jpg", "two.jpg"):
        Image.new("RGB", (32, 24)).save(folder / name)
    return folder


@pytest.mark.parametrize("suffix", [".jsonl", ".geojson"])
def test_answers_go_into_photos_and_out_again(geo: Any, photos: Path, tmp_path: Path, suffix: str) -> None:
    rows = [answer("a/one.jpg"), answer("two.jpg", "ambiguous")]
    lines = "\n".join(map(json.dumps, rows))
    collection = json.dumps({"features": [{"properties": row} for row in rows]})
    results = tmp_path / f"out{suffix}"
    results.write_text(lines if suffix == ".jsonl" else collection)
    old = (photos / "a/one.jpg").read_bytes()
    done = geo("exif", "write", results, photos, "--write-exif", "inplace")
    assert done.exit_code == 0, done.output
    assert "1 written, 1 not to be believed" in done.stderr
    assert Photo.read(photos / "a/one.jpg").exif.lat == pytest.approx(27.6)
    assert geo("exif", "write", results, photos).exit_code == 0
    assert (photos / "a/one.jpg.xmp").exists()
    undone = geo("exif", "undo", photos)
    assert "1 of 2 photos restored" in undone.stderr
    assert (photos / "a/one.jpg").read_bytes() == old
    assert not (photos / "a/one.jpg.xmp").exists()


def test_a_photo_that_fails_stops_no_other(geo: Any, photos: Path, tmp_path: Path) -> None:
    results = tmp_path / "out.jsonl"
    results.write_text("\n".join(json.dumps(answer(name)) for name in ("a/one.jpg", "gone.jpg", "two.jpg")))
    (photos / "a/one.jpg").write_bytes(b"\xff\xd8\xff")
    done = geo("exif", "write", results, photos, "--write-exif", "inplace")
    assert done.exit_code == 5
    assert "one.jpg: it is cut short; it was left as it is" in done.stderr
    assert "gone.jpg: no such file" in done.stderr
    assert Photo.read(photos / "two.jpg").exif.lat is not None


def test_wrong_input_is_told(refused: Refused, photos: Path, tmp_path: Path) -> None:
    results = tmp_path / "out.csv"
    results.write_text("photo,status\n")
    assert "no file of answers" in refused(3, "exif", "write", results, photos)
    results = tmp_path / "out.jsonl"
    results.write_text(json.dumps(answer("../secret.jpg")))
    assert "outside of" in refused(3, "exif", "write", results, photos)
    assert "no such file" in refused(3, "exif", "undo", photos / "none.jpg")
    assert "--write-exif" in refused(2, "query", "-", "--index", "x.geo", "--exif-unsure")
    assert "stdin" in refused(2, "query", "-", "--index", "x.geo", "--write-exif", "sidecar")


def test_a_question_writes_beside_its_photo(geo: Any, city: Any, tmp_path: Path) -> None:
    photo = tmp_path / "p.jpg"
    photo.write_bytes(city.photo.read_bytes())
    known = ("--heading", "0", "--fov", "70", "--height-m", "57", "--near", "27.635,85.612", "--radius-m", "35")
    done = geo("query", photo, "--index", city.index, *known, "--write-exif", "sidecar", *city.place_weights)
    assert done.exit_code == 0, done.output
    assert "p.jpg.xmp: position, heading and radius written" in done.stderr
    assert b"exif:GPSLatitude" in (tmp_path / "p.jpg.xmp").read_bytes()
