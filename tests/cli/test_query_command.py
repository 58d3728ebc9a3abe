"""`geo query` and `geo batch`: what they print and write."""

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Callable
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

Refused = Callable[..., str]
# Of the photo, which saves trying every pose at every tile.
KNOWN = ("--heading", "0", "--fov", "70", "--height-m", "57", "--near", "27.635,85.612", "--radius-m", "35")


def test_json_is_the_one_object_of_the_format(city: Any, geo: Any) -> None:
    done = geo("query", city.photo, "--index", city.index, "--point", "160,120", "--top", "3", "--json", *city.weights)
    assert done.exit_code == 0, done.output
    answer = json.loads(done.stdout)
    assert set(answer) == {"photo", "status", "places", "object", "notes", "evidence", "index", "timings_ms"}
    assert answer["photo"] == "photo.jpg"
    assert 1 <= len(answer["places"]) <= 3
    assert {"lat", "lon", "radius_m", "heading_deg", "score", "tile"} <= set(answer["places"][0])
    assert answer["index"]["generation"] == 1


def test_features_of_a_click_are_kept_in_a_folder_or_it_is_said_why_not(city: Any, geo: Any, tmp_path: Path) -> None:
    asked = ("query", city.photo, "--index", city.index, "--point", "160,120", "--anyway", "--json", *KNOWN, *city.weights)
    answers = []
    for folder, said in ((tmp_path / "kept", False), (tmp_path / "kept", False), (city.photo / "kept", True)):
        done = geo(*asked, "--feature-cache", folder, "--feature-cache-mb", "8")
        assert done.exit_code == 0, done.output
        assert (f"--feature-cache {folder}: " in done.stderr) == said
        answers.append(json.loads(done.stdout)["object"])
    assert answers[0] is not None and answers[0] == answers[1] == answers[2]
    kept = [path.name for path in sorted((tmp_path / "kept").iterdir())]
    ends = ("-000001.lmdb", "-000001.lmdb-lock", ".lock")
    assert kept == [name + end for name in ("cell-descriptors", "object-features") for end in ends]


def test_filters_keep_answers_inside_and_say_what_is_wrong_with_them(city: Any, geo: Any, tmp_path: Path) -> None:
    ring = [[85.6, 27.62], [85.62, 27.62], [85.62, 27.65], [85.6, 27.65], [85.6, 27.62]]
    (tmp_path / "here.geojson").write_text(json.dumps({"type": "Polygon", "coordinates": [ring]}))
    asked = ("query", city.photo, "--index", city.index, "--json", *KNOWN, *city.weights)
    plain = json.loads(geo(*asked).stdout)
    done = geo(*asked, "--bounds", "85.6", "27.62", "85.62", "27.65", "--polygon", tmp_path / "here.geojson")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["places"] == plain["places"] != []
    for outside in (("--bounds", "-100", "-10", "-99", "-9"), ("--vintage", "2019")):
        answer = json.loads(geo(*asked, *outside).stdout)
        assert (answer["status"], answer["places"]) == ("outside_coverage", [])
    (tmp_path / "point.geojson").write_text(json.dumps({"type": "Point", "coordinates": [85.6, 27.62]}))
    (tmp_path / "text.geojson").write_text("here")
    wrong: list[tuple[int, str, tuple[Any, ...]]] = [
        (2, "hold nothing", ("--bounds", "85", "28", "86", "27")), (2, "no date", ("--vintage", "May")),
        (2, "Point", ("--polygon", tmp_path / "point.geojson")), (3, "not JSON", ("--polygon", tmp_path / "text.geojson")),
        (3, "No such file", ("--polygon", tmp_path / "missing.geojson")),
    ]  # fmt: skip
    for code, says, given in wrong:
        done = geo(*asked, *given)
        assert done.exit_code == code and says in done.stderr, (given, done.stderr)


def test_people_get_rows_with_the_place_first(city: Any, geo: Any) -> None:
    done = geo("query", city.photo, "--index", city.index, *KNOWN, *city.weights)
    assert done.exit_code == 0, done.output
    names = [line.split()[0] for line in done.stdout.splitlines()]
    assert names[:3] == ["photo", "status", "place"]
    assert "object" not in names


def test_a_photo_may_come_from_stdin(city: Any) -> None:
    code = "from crossgeo.cli import main; main()"
    arguments = [sys.executable, "-c", code, "query", "-", "--index", str(city.index), "--json", *KNOWN, *city.weights]
    done = subprocess.run(arguments, input=city.photo.read_bytes(), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["photo"] == "stdin"


def test_a_plot_is_a_picture_and_an_explanation_a_page_that_says_how_to_ask_again(city: Any, geo: Any, tmp_path: Path) -> None:
    wanted = ("--point", "160,120", "--save-plot", tmp_path / "answer.png", "--explain", tmp_path / "answer.html", "--anyway")
    done = geo("query", city.photo, "--index", city.index, *wanted, *KNOWN, *city.weights)
    assert done.exit_code == 0, done.output
    with Image.open(tmp_path / "answer.png") as picture:
        assert picture.width >= 800
    page = (tmp_path / "answer.html").read_text()
    again = unescape(re.findall(r"<pre><code>(.*?)</code></pre>", page)[0])
    said = shlex.split(again)
    assert (
        said[:2] == ["geo", "query"]
        and said[-1] == str(city.photo)
        and {"--anyway", "--index", "160,120", "57.0", "27.635,85.612"} < set(said)
    )
    assert "CVCAM" in page and "untrained-attengeo" in page


def test_a_place_far_from_the_index_is_outside_its_coverage(city: Any, geo: Any, refused: Refused) -> None:
    arguments = ("query", city.photo, "--index", city.index, "--near", "-6.1,39.2", "--radius-m", "100", *city.weights)
    done = geo(*arguments, "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout) | {"timings_ms": None} == {
        "photo": "photo.jpg", "status": "outside_coverage", "places": [], "object": None, "notes": [],
        "evidence": None, "index": {"generation": 1, "model": "untrained-egotr"}, "timings_ms": None,
    }  # fmt: skip
    missed = geo(*arguments, "--json", "--fail-on-miss")
    assert missed.exit_code == 10
    assert json.loads(missed.stdout)["status"] == "outside_coverage", "the answer is printed all the same"
    assert "outside coverage" in missed.stderr


@pytest.fixture
def folder(city: Any, tmp_path: Path) -> Path:
    """Two good photos and a bad one."""
    made = tmp_path / "photos"
    (made / "more").mkdir(parents=True)
    shutil.copy(city.photo, made / "a.jpg")
    (made / "b.jpg").write_bytes(city.photo.read_bytes()[:2000])
    shutil.copy(city.photo, made / "more" / "c.jpg")
    return made


def test_one_bad_photo_never_stops_a_batch_and_every_output_has_it(city: Any, geo: Any, folder: Path, tmp_path: Path) -> None:
    (folder / "list.csv").write_text('photo,points,id,colour\na.jpg,"160,120 900,3",7,red\nb.jpg,,,\nmore/c.jpg,,,\n')
    page, outs = tmp_path / "report.html", [tmp_path / f"answers.{suffix}" for suffix in ("geojson", "csv", "jsonl")]
    to = [word for out in (*outs, "-") for word in ("-o", out)]
    done = geo("batch", folder / "list.csv", "--index", city.index, *to, "--report", page, *KNOWN, *city.weights)
    assert done.exit_code == 5, done.output
    assert "1 of 3 photos failed" in done.stderr
    assert "left out: colour" in done.stderr
    assert page.read_text().count('<tr role="row" data-photo') == 3 and "InputError" in page.read_text()
    collection, table, lines = (out.read_text() for out in outs)
    assert lines.splitlines() == [json.dumps(json.loads(line), ensure_ascii=False) for line in done.stdout.splitlines()]
    records = [json.loads(line) for line in lines.splitlines()]
    assert [(record["photo"], record.get("id")) for record in records] == [("a.jpg", "7"), ("b.jpg", None), ("more/c.jpg", None)]
    assert records[1]["error"]["type"] == "InputError"
    assert [entry["point"] for entry in records[0]["objects"]] == [[160.0, 120.0], [900.0, 3.0]]
    assert "outside the photo" in records[0]["objects"][1]["error"]["message"]
    features = json.loads(collection)["features"]
    assert [one["properties"]["photo"] for one in features] == ["a.jpg", "a.jpg", "b.jpg", "more/c.jpg"]
    assert len(table.splitlines()) == 5


def test_a_batch_of_good_photos_ends_with_0_and_keeps_an_older_file(
    city: Any, geo: Any, refused: Refused, folder: Path, tmp_path: Path
) -> None:
    (folder / "b.jpg").unlink()
    arguments = ("batch", folder, "--index", city.index, "-o", tmp_path / "answers.jsonl", "--keep-journal", *KNOWN, *city.weights)
    assert geo(*arguments).exit_code == 0
    before = (tmp_path / "answers.jsonl").read_text()
    assert "answers.jsonl" in refused(2, *arguments)
    assert (tmp_path / "answers.jsonl").read_text() == before
    again = geo(*arguments, "--overwrite")
    assert again.exit_code == 0
    assert "2 of them by an earlier run" in again.stderr


def test_a_batch_refuses_what_it_cannot_do(city: Any, refused: Refused, folder: Path, tmp_path: Path) -> None:
    assert "answers.xlsx" in refused(2, "batch", folder, "--index", city.index, "-o", tmp_path / "answers.xlsx", *city.weights)
    assert "nowhere" in refused(3, "batch", tmp_path / "nowhere", "--index", city.index, "-o", tmp_path / "a.csv", *city.weights)
