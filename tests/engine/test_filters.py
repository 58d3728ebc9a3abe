"""A filter says where the centre of a place may lie: no answer lies outside, and what lies inside is found as if only that were asked."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely
from pyproj import CRS
from shapely.geometry import shape

from crossgeo.engine.batch import BatchOptions, photos_in, run_batch
from crossgeo.engine.notes import NOTHING_INSIDE
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import UsageError
from crossgeo.geodesy import distance_m, geojson_polygon, grid_convergence_deg, to_lat_lon
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex

UTM = CRS.from_epsg(32645)
X, Y = 363_147.0, 3_057_452.0
HERE = to_lat_lon(UTM, X, Y)
HEADING_DEG = 30.0 + grid_convergence_deg(UTM, X, Y)
KNOWN: dict[str, Any] = {"heading_deg": HEADING_DEG, "fov_deg": 70.0, "height_m": 95.0 / 2.0 / math.tan(math.radians(35.0))}


def square(x: float, y: float, side_m: float) -> dict[str, Any]:
    """GeoJSON of a square of ground."""
    half = side_m / 2.0
    return geojson_polygon(UTM, [(x - half, y - half), (x + half, y - half), (x + half, y + half), (x - half, y + half)])


def box(x: float, y: float, side_m: float) -> tuple[float, float, float, float]:
    """Bounds inside such a square."""
    corners = np.array(square(x, y, side_m)["coordinates"][0][:4])
    west, south, east, north = np.sort(corners[:, 0])[1], np.sort(corners[:, 1])[1], np.sort(corners[:, 0])[2], np.sort(corners[:, 1])[2]
    return float(west), float(south), float(east), float(north)


def off_m(answer: Answer) -> float:
    return distance_m(answer.places[0].lat, answer.places[0].lon, *HERE)


def lie_in(answer: Answer, area: dict[str, Any]) -> bool:
    return all(shape(area).buffer(1e-9).covers(shapely.Point(place.lon, place.lat)) for place in answer.places)


@pytest.fixture(params=["search", "dense_search"])
def any_search(request: pytest.FixtureRequest) -> GeoSearch:
    found: GeoSearch = request.getfixturevalue(request.param)
    return found


@pytest.fixture
def photo(ground: Any) -> Photo:
    taken: Photo = ground.photo(X, Y, 30.0, 95.0)
    return taken


@pytest.mark.parametrize("side_m", [120.0, 10.0, 3.0])
def test_a_place_inside_is_found_however_small_the_area_is(any_search: GeoSearch, photo: Photo, side_m: float) -> None:
    """Also where no tile is centred in it."""
    ways: list[dict[str, Any]] = [
        {"polygon": square(X, Y, side_m)},
        {"near": HERE, "radius_m": side_m},
        {"bounds": box(X, Y, side_m + 4.0)},
    ]
    for filters in ways:
        answer = any_search.query(photo, **KNOWN, top=1, **filters)
        assert answer.places and off_m(answer) < 2.0
        assert answer.status != "outside_coverage"


def test_no_answer_lies_outside_even_where_the_true_place_is_just_beyond(any_search: GeoSearch, photo: Photo) -> None:
    for away_m in (8.0, 40.0):
        area = square(X + 40.0 + away_m, Y, 80.0)
        answer = any_search.query(photo, **KNOWN, top=20, polygon=area)
        assert lie_in(answer, area)
        assert answer.status != "located" or away_m < 10.0
        assert not answer.places or off_m(answer) > away_m - 1.0


def test_a_hole_takes_the_place_out(any_search: GeoSearch, photo: Photo) -> None:
    ring, hole = square(X, Y, 160.0)["coordinates"][0], square(X, Y, 60.0)["coordinates"][0]
    area = {"type": "Polygon", "coordinates": [ring, hole]}
    answer = any_search.query(photo, **KNOWN, top=20, polygon=area)
    assert answer.places and lie_in(answer, area)
    assert answer.status == "low_confidence" and off_m(answer) > 28.0


def test_all_filters_hold_together(any_search: GeoSearch, photo: Photo) -> None:
    west, east = square(X - 30.0, Y, 100.0), square(X + 30.0, Y, 100.0)
    both = any_search.query(photo, **KNOWN, bounds=box(X, Y, 200.0), near=HERE, radius_m=100.0, polygon=west)
    assert off_m(both) < 2.0 and lie_in(both, west)
    split = any_search.query(photo, **KNOWN, near=to_lat_lon(UTM, X + 60.0, Y), radius_m=40.0, polygon=west)
    assert lie_in(split, west) and (not split.places or off_m(split) > 15.0)
    assert any_search.query(photo, **KNOWN, near=to_lat_lon(UTM, X - 60.0, Y), radius_m=20.0, polygon=east).status == "outside_coverage"


def test_where_nothing_inside_fits_that_is_said(dense_search: GeoSearch, photo: Photo) -> None:
    answer = dense_search.query(photo, **KNOWN, near=to_lat_lon(UTM, X + 9.0, Y), radius_m=1.0)
    assert (answer.status, answer.places, answer.notes) == ("outside_coverage", (), (NOTHING_INSIDE,))


def test_filters_off_the_index_are_outside_its_coverage(any_search: GeoSearch, photo: Photo) -> None:
    for filters in (
        {"bounds": (39.0, -6.5, 39.5, -6.0)},
        {"polygon": square(X + 5000.0, Y, 300.0)},
        {"bounds": (170.0, -80.0, -170.0, 80.0)},
    ):
        answer = any_search.query(photo, **KNOWN, point=(5.0, 5.0), **filters)
        assert (answer.status, answer.places, answer.found, answer.notes) == ("outside_coverage", (), None, ())


def test_a_filter_that_holds_all_changes_no_answer(any_search: GeoSearch, photo: Photo) -> None:
    plain, filtered = (
        any_search.query(photo, **KNOWN).to_json(),
        any_search.query(photo, **KNOWN, bounds=(-180.0, -90.0, 180.0, 90.0)).to_json(),
    )
    del plain["timings_ms"], filtered["timings_ms"]
    assert plain == filtered


def test_street_photos_keep_to_the_area_of_their_camera(street_search: GeoSearch, ground: Any) -> None:
    """What a photo through a lens shows lies up to 12 m ahead of it, on tiles outside a small area."""
    from_above = ground.photo(X, Y, 30.0, 95.0)
    for area in (square(X, Y, 4.0), square(X + 50.0, Y + 20.0, 60.0)):
        answer = street_search.query(from_above, kind="street", fov_deg=80.0, heading_deg=30.0, top=20, polygon=area)
        assert lie_in(answer, area)


def test_a_known_heading_is_filtered_zone_by_zone(any_search: GeoSearch, photo: Photo) -> None:
    area = square(X, Y, 20.0)
    answer = any_search.query(photo, heading_deg=HEADING_DEG, polygon=area)
    assert off_m(answer) < 2.0 and lie_in(answer, area)


@pytest.fixture(scope="module")
def two_vintages(index_path: Path, make_describer: Any, ground: Any, write_ortho: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The ground in 2021, and over its western 160 m the same, a little darker, in June 2023."""
    folder, describer = tmp_path_factory.mktemp("vintages"), make_describer()
    write_ortho(folder / "old.tif", ground.rgb)
    write_ortho(folder / "new.tif", (ground.rgb[:, :320] * 0.9).astype(np.uint8))
    how = BuildOptions(gsd_m=0.5, tile_px=96, vintage="2021")
    build_index([folder / "old.tif"], folder / "index.geo", describer.tiles, describer.identity, how)
    newer = AddOptions(vintage="2023-06", over=True)
    add_to_index([folder / "new.tif"], folder / "index.geo", describer.tiles, describer.identity, newer)
    return folder / "index.geo"


@pytest.mark.parametrize(("x", "vintage"), [(X - 40.0, "2023-06"), (X + 60.0, "2021")])
def test_only_imagery_of_the_vintage_answers(two_vintages: Path, make_describer: Any, ground: Any, x: float, vintage: str) -> None:
    other = {"2021": "2023", "2023-06": "2021"}[vintage]
    with GeoSearch(GeoIndex.open(two_vintages), make_describer()) as search:
        photo = ground.photo(x, Y, 30.0, 70.0)
        known = {**KNOWN, "height_m": 70.0 / 2.0 / math.tan(math.radians(35.0))}
        for asked in (vintage, vintage[:4], "2021/2023"):
            best = search.query(photo, vintage=asked, **known).places[0]
            assert distance_m(best.lat, best.lon, *to_lat_lon(UTM, x, Y)) < 2.0
            assert best.vintage == vintage
        away = search.query(photo, top=20, vintage=other, **known)
        assert away.places and {place.vintage for place in away.places} == {{"2021": "2023-06", "2023-06": "2021"}[vintage]}
        assert search.query(photo, vintage="2019", **known).status == "outside_coverage"
        near = search.query(photo, top=20, vintage=vintage, near=to_lat_lon(UTM, x, Y), radius_m=30.0, **known)
        assert [place.vintage for place in near.places] == [vintage]


def test_cells_of_ground_that_has_changed_are_made_again(two_vintages: Path, index_path: Path) -> None:
    """What is kept of cells is found by the name of what is in a segment."""
    with GeoIndex.open(two_vintages) as changed, GeoIndex.open(index_path) as plain:
        assert changed.segments[0].crs == plain.segments[0].crs
        assert changed.segments[0].name not in {record.name for record in changed.manifest.segments}
        assert plain.segments[0].name == plain.manifest.segments[0].name


def test_a_batch_asks_every_photo_with_its_filters(search: GeoSearch, photo: Photo, tmp_path: Path) -> None:
    from PIL import Image

    (tmp_path / "photos").mkdir()
    Image.fromarray(photo.pixels).save(tmp_path / "photos" / "one.png")
    options = BatchOptions(polygon=square(X, Y, 30.0), bounds=box(X, Y, 100.0))
    run_batch(search, photos_in(tmp_path / "photos"), tmp_path / "out.jsonl", options)
    (row,) = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert row["places"] and all(abs(row["places"][0][key] - here) < 2e-5 for key, here in zip(("lat", "lon"), HERE, strict=True))
    with pytest.raises(UsageError, match="hold nothing"):
        run_batch(search, photos_in(tmp_path / "photos"), tmp_path / "other.jsonl", BatchOptions(bounds=(5.0, 5.0, 5.0, 6.0)))


def test_a_place_off_the_imagery_may_be_asked_for(dense_search: GeoSearch, make_ground: Any, ground: Any) -> None:
    """The area lies wholly beyond the rim, and so does the centre of the photo; part of what it shows does not."""
    wide = np.pad(ground.rgb, ((0, 0), (120, 0), (0, 0)), mode="symmetric")
    x = 363_000.0 - 6.0
    taken = make_ground(wide).photo(x + 60.0, Y, 0.0, 75.0)
    answer = dense_search.query(taken, heading_deg=grid_convergence_deg(UTM, x, Y), fov_deg=70.0, polygon=square(x - 2.0, Y, 14.0))
    assert answer.places and distance_m(answer.places[0].lat, answer.places[0].lon, *to_lat_lon(UTM, x, Y)) < 5.0
