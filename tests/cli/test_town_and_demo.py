"""`geo town make` and `geo demo`: a town written and asked about from the command line."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossgeo.engine.photo import Photo


def test_a_town_is_made_whole_and_never_over_another(geo: Any, refused: Callable[..., str], tmp_path: Path) -> None:
    out = tmp_path / "town"
    counts = ("--photos", "2", "--panoramas", "1", "--street", "1")
    arguments = ("town", "make", "--seed", "9002", "--size-m", "150", *counts, "--out", out)
    done = geo(*arguments)
    assert done.exit_code == 0, done.output
    assert {path.name for path in out.iterdir()} >= {"ortho.tif", "photos", "truth.geojson", "objects.geojson", "town.json"}
    photos = sorted((out / "photos").iterdir())
    assert len(photos) == 2
    assert Photo.read(photos[0]).exif.heading_deg is not None
    assert "exists" in refused(3, *arguments)


def test_a_plain_town_keeps_its_places_out_of_the_photos(geo: Any, tmp_path: Path) -> None:
    out = tmp_path / "town"
    counts = ("--photos", "1", "--panoramas", "0", "--street", "0")
    assert geo("town", "make", "--seed", "9002", "--size-m", "150", *counts, "--plain", "--out", out).exit_code == 0
    (photo,) = (out / "photos").iterdir()
    exif = Photo.read(photo).exif
    assert (exif.lat, exif.lon, exif.heading_deg) == (None, None, None)


def test_street_photos_are_taken_where_they_are_asked_for(geo: Any, tmp_path: Path) -> None:
    out = tmp_path / "town"
    counts = ("--photos", "0", "--panoramas", "1", "--street", "1")
    assert geo("town", "make", "--seed", "9002", "--size-m", "150", *counts, "--out", out).exit_code == 0
    assert Photo.read(out / "panoramas" / "pano_0000.jpg").exif.panorama_deg == 360.0
    assert Photo.read(out / "street" / "street_0000.jpg").exif.fov_deg is not None
    assert len(json.loads((out / "street.geojson").read_text())["features"]) == 2


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--ortho", "a.tif"), "need --ortho and --footprints"),
        (("--ortho", "a.tif", "--footprints", "b.geojson", "--photos", "3"), "no drone photos"),
        (("--ortho", "a.tif", "--footprints", "b.geojson", "--dense", "3"), "leave --dense out"),
        (("--ortho", "a.tif", "--footprints", "b.geojson", "--bounds", "1,2,3"), "is not four numbers"),
        (("--ortho", "a.tif", "--footprints", "b.geojson", "--bounds", "3,2,1,4"), "no area on the earth"),
    ],
)
def test_real_ground_is_asked_for_whole(refused: Callable[..., str], tmp_path: Path, arguments: tuple[str, ...], says: str) -> None:
    assert says in refused(2, "town", "make", *arguments, "--out", tmp_path / "town")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_demo_compares_a_town_with_its_truth(city: Any, geo: Any, tmp_path: Path) -> None:
    arguments = ("demo", "--town-only", "--out", tmp_path / "out", "--seed", "9002", "--size-m", "200", "--photos", "1", *city.weights)
    done = geo(*arguments, "--json")
    assert done.exit_code == 0, done.output
    (trial,) = json.loads(done.stdout)["trials"]
    assert trial["simulated"] is True
    assert trial["photos"] == 1
    assert all(outcome["error_m"] is not None and outcome["heading_error_deg"] is not None for outcome in trial["outcomes"])
    assert trial["clicked"] == 1


def test_a_demo_on_data_that_is_not_there_says_how_to_do_without(refused: Callable[..., str], tmp_path: Path) -> None:
    assert "--town-only" in refused(3, "demo", "--data", tmp_path / "none", "--out", tmp_path / "out")
