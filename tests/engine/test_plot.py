"""The picture of an answer: it is drawn for every status, and what it shows stands where it lies."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from crossgeo.engine.aerial_map import NO_IMAGERY, AerialMap
from crossgeo.engine.pen import Pen
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer, FoundObject, Place
from crossgeo.engine.plot import draw_answer, framed, save_plot
from crossgeo.engine.pose import DronePose
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import LimitError, UsageError
from crossgeo.geodesy import geojson_polygon, to_lat_lon
from crossgeo.indexer.index import GeoIndex

X, Y = 363_147.0, 3_057_452.0


@pytest.fixture
def index(index_path: Path) -> Iterator[GeoIndex]:
    with GeoIndex.open(index_path) as opened:
        yield opened


def place_at(index: GeoIndex, x: float, y: float, score: float, heading: float = 40.0) -> Place:
    tile = int(np.argmin(np.hypot(*(index.centres - (x, y)).T)))
    return Place(*to_lat_lon(index.segments[0].crs, x, y), 3.0, heading, score, tile, DronePose(heading, 65.0))


def answer_at(index: GeoIndex, *places: Place, status: Any = "located") -> Answer:
    return Answer("made.png", status, places, None, 1, "colours", {"total": 1234.5})


def test_a_real_answer_is_drawn_and_saved_as_its_suffix_says(search: GeoSearch, ground: Any, tmp_path: Path) -> None:
    photo = ground.photo(X, Y, 40.0, 95.0)
    answer = search.query(photo)
    for name, kind in (("a.png", "PNG"), ("a.jpg", "JPEG")):
        save_plot(tmp_path / name, photo, answer, search.index, point=(30.0, 40.0))
        with Image.open(tmp_path / name) as saved:
            assert (saved.format, saved.size) == (kind, (1600, 1120))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.jpg", "a.png"]


@pytest.mark.parametrize(("status", "count"), [("located", 1), ("ambiguous", 7), ("low_confidence", 2), ("outside_coverage", 0)])
def test_every_status_with_any_number_of_places_is_drawn(index: GeoIndex, ground: Any, status: str, count: int) -> None:
    places = [place_at(index, X - 90 + 30 * k, Y, 0.9 - 0.1 * k) for k in range(count)]
    picture = draw_answer(ground.photo(X, Y, 0.0, 65.0), answer_at(index, *places, status=status), index)
    assert picture.size == (1600, 1120)


def test_the_click_is_marked_where_it_was_made(index: GeoIndex) -> None:
    photo = Photo("p", np.full((150, 200, 3), 90, np.uint8), 800, 600, Photo.from_pixels(np.zeros((1, 1, 3), np.uint8)).exif)
    plain = np.asarray(draw_answer(photo, answer_at(index), index))
    marked = np.asarray(draw_answer(photo, answer_at(index), index, point=(200.0, 450.0)))
    rows, columns = np.nonzero(np.abs(marked.astype(int) - plain).max(axis=2)[128:768, 36:889] > 60)
    assert columns.mean() == pytest.approx(853 * 0.25, abs=3)
    assert rows.mean() == pytest.approx(640 * 0.75, abs=3)


def test_a_point_outside_the_photo_is_refused(index: GeoIndex, ground: Any) -> None:
    with pytest.raises(UsageError, match="200 x 150"):
        draw_answer(ground.photo(X, Y, 0.0, 65.0), answer_at(index), index, point=(200.0, 3.0))


def test_the_box_stands_where_the_object_lies(index: GeoIndex, ground: Any) -> None:
    crs = index.segments[0].crs
    west, south = X + 10.0, Y + 12.0  # up and to the right of the place
    polygon = geojson_polygon(crs, [(west, south), (west + 12, south), (west + 12, south + 8), (west, south + 8)])
    lat, lon = to_lat_lon(crs, west + 6, south + 4)
    plain = answer_at(index, place_at(index, X, Y, 0.9))
    answer = replace(plain, found=FoundObject(lat, lon, (0, 0, 1, 1), polygon, 12.0, 8.0, 0.8))
    photo = ground.photo(X, Y, 0.0, 65.0)
    before, after = (np.asarray(draw_answer(photo, each, index)).astype(int)[128:768, 924:1564] for each in (plain, answer))
    px_per_m = 640 / (1.3 * 65.0)
    drawn = np.abs(after - before).max(axis=2) > 60
    rows, columns = np.nonzero(drawn[: 320 - round(11 * px_per_m)])  # the label stands below
    assert columns.min() == pytest.approx(320 + 10 * px_per_m, abs=3)
    assert columns.max() == pytest.approx(320 + 22 * px_per_m, abs=3)
    assert rows.min() == pytest.approx(320 - 20 * px_per_m, abs=3)


def test_the_map_shows_place_and_object_however_far_apart() -> None:
    assert framed((10.0, 20.0), 60.0, []) == (10.0, 20.0, 60.0)
    assert framed((10.0, 20.0), 60.0, [(30.0, 20.0), (36.0, 26.0)]) == (10.0, 20.0, 60.0)
    x, y, side = framed((10.0, 20.0), 60.0, [(70.0, 20.0), (76.0, 26.0)])
    for east, north in ((10.0, 20.0), (76.0, 26.0)):
        assert max(abs(east - x), abs(north - y)) < 0.49 * side
    assert 60.0 < side < 100.0


def test_places_on_another_continent_are_listed_not_mapped(index: GeoIndex, ground: Any) -> None:
    near_by, far = place_at(index, X, Y, 0.9), replace(place_at(index, X + 40, Y, 0.8), lat=46.8, lon=-92.0)
    draw_answer(ground.photo(X, Y, 0.0, 65.0), answer_at(index, near_by, far), index)


def test_an_oblique_photo_without_a_whole_outline_is_drawn(index: GeoIndex, ground: Any) -> None:
    oblique = replace(place_at(index, X, Y, 0.9), pose=DronePose(30.0, 65.0, 60.0, 90.0))
    draw_answer(ground.photo(X, Y, 0.0, 65.0), answer_at(index, oblique), index, point=(100.0, 1.0))


def test_the_map_puts_metres_on_pixels_and_knows_where_nothing_is(index: GeoIndex) -> None:
    view = AerialMap(index, index.segments[0], X, Y, 2000.0, 400, 200)
    assert view.at(X, Y) == (200.0, 100.0)
    assert view.at(X + 100.0, Y + 50.0) == (220.0, 90.0)
    picture = np.asarray(view.pen.finish())
    assert tuple(picture[5, 5]) == NO_IMAGERY
    assert tuple(picture[100, 200]) != NO_IMAGERY


def test_the_map_shows_the_ground_that_is_there(index: GeoIndex, ground: Any) -> None:
    view = AerialMap(index, index.segments[0], 363_150.0, 3_057_450.0, 100.0, 200, 200)
    shown = np.asarray(view.pen.finish()).astype(int)
    assert np.abs(shown - ground.rgb[200:400, 200:400]).mean() < 6.0


def test_a_long_name_is_shortened_to_its_room() -> None:
    pen = Pen(400, 50, "#FFFFFF")
    assert pen.fitted("short.jpg", 20, 300) == "short.jpg"
    cut = pen.fitted("x" * 200, 20, 300)
    assert cut.endswith("...")
    assert pen.text_width(cut, 20) <= 300


def test_a_folder_that_does_not_exist_is_an_error_without_litter(index: GeoIndex, ground: Any, tmp_path: Path) -> None:
    with pytest.raises(LimitError, match="cannot be written"):
        save_plot(tmp_path / "none" / "a.png", ground.photo(X, Y, 0.0, 65.0), answer_at(index), index)
    assert list(tmp_path.iterdir()) == []
