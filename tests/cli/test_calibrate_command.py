"""`geo calibrate` on the small city, from answers that are given, and what follows for queries; wrong input, each with its line."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pyarrow import Table
from pyarrow.parquet import write_table

Refused = Callable[..., str]
STEP = 0.00001  # degrees, about a metre


def centre_of(geo: Any, index: Path) -> tuple[float, float]:
    found = json.loads(geo("index", "info", index, "--json").stdout)["segments"][0]["bounds_lat_lon"]
    return (found[0] + found[2]) / 2, (found[1] + found[3]) / 2


def made_up(folder: Path, centre: tuple[float, float], count: int, model: str = "untrained-egotr") -> tuple[Path, Path]:
    """Write a list of photos all over the city, and answers that are right where they score high."""
    rng = np.random.default_rng(0)
    Image.new("RGB", (32, 24)).save(folder / "p.jpg")
    rows, answers = [], []
    for number in range(count):
        shutil.copy(folder / "p.jpg", folder / f"{number:03d}.jpg")
        lat, lon = centre[0] + rng.uniform(-50, 50) * STEP, centre[1] + rng.uniform(-50, 50) * STEP
        score = round(float(rng.uniform(0.2, 0.9)), 4)
        away = 1.0 if rng.random() < score else 60.0
        evidence = {
            "kind": "drone", "score": score, "cosine": score, "fit": None, "margin": 0.1, "rivals": 0, "overlap": 1.0, "seen_m": 40.0,
            "spread_m": 5.0, "poses": 24,
        }  # fmt: skip
        rows.append({"photo": f"{number:03d}.jpg", "lat": lat, "lon": lon})
        place = {"lat": lat + away * STEP, "lon": lon}
        answers.append({"photo": f"{number:03d}.jpg", "places": [place], "evidence": evidence, "index": {"generation": 1, "model": model}})
    with (folder / "pairs.csv").open("w", newline="") as file:
        table = csv.DictWriter(file, ["photo", "lat", "lon"])
        table.writeheader()
        table.writerows(rows)
    (folder / "answers.jsonl").write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    return folder / "pairs.csv", folder / "answers.jsonl"


def test_an_index_is_calibrated_used_shown_and_set_back(city: Any, geo: Any, tmp_path: Path) -> None:
    index = tmp_path / "own.geo"
    shutil.copytree(city.index, index)
    before = json.loads(geo("index", "info", index, "--json").stdout)
    pairs, answers = made_up(tmp_path, centre_of(geo, index), 120)
    asked = ("calibrate", index, pairs, "--answers", answers, "--out", tmp_path / "report", *city.place_weights)
    tried = geo(*asked, "--dry-run", "--json")
    assert tried.exit_code == 0, tried.output
    assert json.loads(tried.stdout)["generation"] is None
    assert json.loads(geo("index", "info", index, "--json").stdout) == before

    done = geo(*asked)
    assert done.exit_code == 0, done.output
    assert "radius of 90 % holds" in done.stdout
    with Image.open(tmp_path / "report" / "reliability-drone.png") as picture:
        assert picture.width > 800
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["generation"] == 2
    assert report["kinds"]["drone"]["pairs"] == 120
    assert 0.75 < report["kinds"]["drone"]["figures"]["coverage"]["value"] <= 1.0
    info = json.loads(geo("index", "info", index, "--json").stdout)
    assert info["manifest_sha256"] == before["manifest_sha256"]
    assert info["generation"] == 2
    assert info["calibration"][0].startswith("drone photos: 120 pairs")
    assert geo("index", "verify", index).exit_code == 0

    query = ("query", city.photo, "--index", index, "--heading", "0", "--height-m", "60", "--kind", "drone", "--json", *city.weights)
    place = json.loads(geo(*query).stdout)["places"][0]
    told = [place["probability"][limit] for limit in ("5", "10", "25", "50")]
    assert told == sorted(told)
    assert place["radius_m"] > 0.0
    undone = geo("calibrate", index, "--undo")
    assert undone.exit_code == 0, undone.output
    assert json.loads(geo("index", "info", index, "--json").stdout)["calibration"] == []
    assert json.loads(geo(*query).stdout)["places"][0]["probability"] is None
    assert geo("index", "rollback", index).exit_code == 0
    assert json.loads(geo("index", "info", index, "--json").stdout)["calibration"] == info["calibration"]


def test_wrong_pairs_are_refused_with_what_to_do(city: Any, geo: Any, refused: Refused, tmp_path: Path) -> None:
    pairs, answers = made_up(tmp_path, centre_of(geo, city.index), 31)
    end = ("--answers", answers, "--out", tmp_path / "report", *city.place_weights)
    few = tmp_path / "few.csv"
    few.write_text("\n".join(pairs.read_text().splitlines()[:11]))
    assert "10 photos on" in refused(3, "calibrate", city.index, few, *end)
    missing = tmp_path / "missing.csv"
    missing.write_text("photo,lat,lon\ngone.jpg,1,2\n")
    assert "row 1" in refused(3, "calibrate", city.index, missing, *end)
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text("photo,lat,lon\n000.jpg,1,2\n001.jpg,1,2\n")
    line = refused(3, "calibrate", city.index, elsewhere, *end)
    assert "2 taken outside of the index" in line
    assert "photos of its own ground" in line
    nameless = tmp_path / "nameless.csv"
    nameless.write_text("file,lat,lon\na.jpg,1,2\n")
    assert "has no photo" in refused(3, "calibrate", city.index, nameless, *end)
    twice = tmp_path / "twice.csv"
    twice.write_text("photo,lat,lon\n000.jpg,1,2\n000.jpg,1,2\n")
    assert "000.jpg twice" in refused(3, "calibrate", city.index, twice, *end)
    assert "PAIRS is missing" in refused(2, "calibrate", city.index)
    assert "needs no photos" in refused(2, "calibrate", city.index, pairs, "--undo")
    assert "nothing to take away" in refused(3, "calibrate", city.index, "--undo")
    assert "5, 10, 25 or 50 m" in refused(2, "calibrate", city.index, pairs, "--within-m", "7", *end)


def test_answers_of_other_weights_or_without_evidence_are_refused(city: Any, geo: Any, refused: Refused, tmp_path: Path) -> None:
    pairs, answers = made_up(tmp_path, centre_of(geo, city.index), 40, model="others")
    end = ("--answers", answers, "--out", tmp_path / "report", *city.place_weights)
    assert "was answered by others" in refused(3, "calibrate", city.index, pairs, *end)
    records = [json.loads(line) for line in answers.read_text().splitlines()]
    for record in records:
        del record["evidence"]
    answers.write_text("".join(json.dumps(record) + "\n" for record in records))
    assert "holds no evidence" in refused(3, "calibrate", city.index, pairs, *end)


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet", ".geojson"])
def test_pairs_are_read_alike_from_every_kind_of_list(suffix: str, tmp_path: Path) -> None:
    from crossgeo.training.calibration.known_photos import read_known

    Image.new("RGB", (8, 8)).save(tmp_path / "a.jpg")
    row = {"photo": "a.jpg", "lat": 1.5, "lon": 2.5, "heading_deg": 30.0, "kind": "drone"}
    path = tmp_path / f"list{suffix}"
    if suffix == ".jsonl":
        path.write_text(json.dumps(row) + "\n")
    elif suffix == ".parquet":
        write_table(Table.from_pylist([row]), path)
    else:
        facts = {"file": "a.jpg", "lat": 1.5, "lon": 2.5, "heading_deg": 30.0}
        path.write_text(json.dumps({"type": "FeatureCollection", "features": [{"type": "Feature", "geometry": None, "properties": facts}]}))
    (known,) = read_known(path)
    assert (known.item.name, known.lat, known.lon) == ("a.jpg", 1.5, 2.5)
    assert known.item.heading_deg == (None if suffix == ".geojson" else 30.0)
