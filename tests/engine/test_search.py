"""A photo against a small index: the truth is found, and what is not sure is said to be."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.feature_cache import FeatureCache
from crossgeo.engine.fine import Spot
from crossgeo.engine.notes import NOT_BELIEVED
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import FoundObject
from crossgeo.engine.pose import DronePose, Pose
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.trace import Trace
from crossgeo.errors import InputError, MismatchError, UsageError
from crossgeo.geodesy import distance_m, from_lat_lon, grid_convergence_deg, to_lat_lon
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity

UTM = CRS.from_epsg(32645)
X, Y = 363_147.0, 3_057_452.0  # in the middle of the patchwork, on no grid
HERE = to_lat_lon(UTM, X, Y)


def turned(a: float, b: float) -> float:
    return abs((a - b + 180.0) % 360.0 - 180.0)


@pytest.mark.parametrize(
    ("heading", "width", "x", "y"), [(0.0, 95.0, X, Y), (217.0, 120.0, X + 41.0, Y - 38.0), (98.0, 110.0, X - 37.0, Y + 29.0)]
)
def test_a_photo_of_unknown_heading_and_scale_is_found_to_two_metres(
    search: GeoSearch, ground: Any, heading: float, width: float, x: float, y: float
) -> None:
    answer = search.query(ground.photo(x, y, heading, width))
    best = answer.places[0]
    assert answer.status == "located"
    assert distance_m(best.lat, best.lon, *to_lat_lon(UTM, x, y)) < 2.0
    assert turned(best.heading_deg, heading + grid_convergence_deg(UTM, x, y)) < 3.0
    assert best.pose.scale_m == pytest.approx(width, rel=0.06)
    assert 2.5 <= best.radius_m < 6.0


def test_places_stand_apart_best_first_and_no_more_than_asked(search: GeoSearch, ground: Any) -> None:
    answer = search.query(ground.photo(X, Y, 30.0, 95.0), top=4)
    assert len(answer.places) == 4
    scores = [place.score for place in answer.places]
    assert scores == sorted(scores, reverse=True)
    places = [(place.lat, place.lon) for place in answer.places]
    assert min(distance_m(*a, *b) for k, a in enumerate(places) for b in places[:k]) >= 24.9
    assert len(search.query(ground.photo(X, Y, 30.0, 95.0), top=1).places) == 1


def test_asking_for_one_place_does_not_hide_that_there_is_a_rival(search: GeoSearch, ground: Any) -> None:
    photo = ground.photo(X, Y, 30.0, 95.0)
    assert search.query(photo, top=1).status == search.query(photo, top=5).status


def test_a_known_heading_in_true_north_is_enough(search: GeoSearch, ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    true_heading = 140.0 + grid_convergence_deg(UTM, X, Y)
    described: list[int] = []
    describer = search.matchers["drone"].describer
    plain = describer.photo

    def counted(photo: Photo, poses: Sequence[Pose]) -> NDArray[np.float32]:
        described.append(len(poses))
        return plain(photo, poses)

    monkeypatch.setattr(describer, "photo", counted)
    height = 95.0 / 2 / math.tan(math.radians(35))
    answer = search.query(ground.photo(X, Y, 140.0, 95.0), heading_deg=true_heading, fov_deg=70.0, height_m=height)
    assert distance_m(answer.places[0].lat, answer.places[0].lon, *HERE) < 2.0
    poses = search.settings.poses
    assert described[0] == len(poses.known_heading_deg) * len(poses.known_scale)  # far fewer than with nothing known


def test_a_wrong_heading_is_not_repaired_silently(search: GeoSearch, ground: Any) -> None:
    answer = search.query(ground.photo(X, Y, 140.0, 95.0), heading_deg=320.0)
    assert answer.status in ("low_confidence", "ambiguous")


def test_a_known_tilt_places_the_ground_at_the_centre_and_the_camera_behind_it(search: GeoSearch, ground: Any) -> None:
    height = 95.0 / 2 / math.tan(math.radians(35)) * math.cos(math.radians(30))
    answer = search.query(ground.photo(X, Y, 90.0, 95.0, tilt_deg=30.0), tilt_deg=30.0, fov_deg=70.0, height_m=height)
    best = answer.places[0]
    assert distance_m(best.lat, best.lon, *HERE) < 2.5
    assert best.camera is not None
    x, y = from_lat_lon(UTM, *best.camera)
    assert math.hypot(x - (X - height * math.tan(math.radians(30))), y - Y) < 4.0


def test_without_tilt_or_height_no_camera_position_is_claimed(search: GeoSearch, ground: Any) -> None:
    assert search.query(ground.photo(X, Y, 90.0, 95.0)).places[0].camera is None


def test_another_ground_is_not_located(search: GeoSearch) -> None:
    noise = np.random.default_rng(9).integers(0, 255, (10, 14, 3), np.uint8).repeat(15, axis=0).repeat(15, axis=1)
    answer = search.query(Photo.from_pixels(noise))
    assert answer.status in ("low_confidence", "ambiguous")
    assert answer.places  # still shown, and marked


def test_near_keeps_the_search_to_its_circle(search: GeoSearch, ground: Any) -> None:
    photo = ground.photo(X, Y, 30.0, 95.0)
    away = to_lat_lon(UTM, X + 90.0, Y)
    answer = search.query(photo, near=away, radius_m=40.0)
    assert answer.places and all(distance_m(place.lat, place.lon, *away) <= 40.0 for place in answer.places)
    assert answer.status == "low_confidence"
    assert search.query(photo, near=HERE, radius_m=60.0).status == "located"


def test_a_prior_where_there_is_no_imagery_is_outside_the_coverage(search: GeoSearch, ground: Any) -> None:
    answer = search.query(ground.photo(X, Y, 30.0, 95.0), point=(5.0, 5.0), near=(-6.0, 39.0), radius_m=500.0)
    assert (answer.status, answer.places, answer.found) == ("outside_coverage", (), None)


def test_the_position_in_exif_is_used_only_when_asked_for(search: GeoSearch, ground: Any) -> None:
    plain = ground.photo(X, Y, 30.0, 95.0)
    elsewhere = Photo.from_pixels(plain.pixels, exif=PhotoExif(lat=-6.0, lon=39.0))
    assert search.query(elsewhere).status == "located"
    assert search.query(elsewhere, use_exif_position=True).status == "outside_coverage"
    with pytest.raises(InputError, match="no position"):
        search.query(plain, use_exif_position=True)


@pytest.mark.parametrize(
    "wrong",
    [
        {"top": 0}, {"near": (91.0, 0.0)}, {"near": (0.0, 181.0)}, {"radius_m": 10.0}, {"near": (27.0, 85.0), "radius_m": 0.0},
        {"near": (27.0, 85.0), "radius_m": float("nan")}, {"point": (200.0, 10.0)}, {"heading_deg": 999.0}, {"fov_deg": 0.0},
    ],
)  # fmt: skip
def test_arguments_out_of_range_are_refused(search: GeoSearch, ground: Any, wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        search.query(ground.photo(X, Y, 30.0, 95.0), **wrong)


def test_an_index_of_another_model_is_refused(index_path: Path, make_describer: Callable[[], Any]) -> None:
    stranger = make_describer()
    stranger.identity = ModelIdentity("colours", "1" * 64, "view")
    with GeoIndex.open(index_path) as index, pytest.raises(MismatchError, match="weights"):
        GeoSearch(index, stranger)


def test_the_same_question_gets_the_same_answer(search: GeoSearch, ground: Any) -> None:
    photo = ground.photo(X, Y, 30.0, 95.0)
    first, again = search.query(photo).to_json(), search.query(photo).to_json()  # the second from the cache of cells
    del first["timings_ms"], again["timings_ms"]
    assert first == again


def test_a_second_question_describes_no_cell_twice(index_path: Path, make_describer: Any, ground: Any) -> None:
    photo, describer = ground.photo(X, Y, 30.0, 95.0), make_describer()
    with GeoSearch(GeoIndex.open(index_path), describer) as search:
        search.query(photo)
        before = describer.tiles_described
        search.query(photo)
    assert describer.tiles_described == before


class Pointer:
    """Stands in for the object model: says which click it got, and where the photo lies."""

    reach_m, least_confidence = math.inf, 0.5

    def __init__(self) -> None:
        self.asked: list[tuple[tuple[float, float], Spot]] = []

    def find_many(self, photo: Photo, clicks_px: Sequence[tuple[float, float]], spots: Sequence[Spot]) -> list[FoundObject | None]:
        if any(y < 5.0 for _, y in clicks_px):
            raise UsageError("the point shows sky")
        self.asked += zip(clicks_px, spots, strict=True)
        return [FoundObject(27.0, 85.0, (*click, *click), {"type": "Polygon", "coordinates": []}, 1.0, 1.0, 0.5) for click in clicks_px]


def test_a_point_asks_for_its_object_in_decoded_pixels_at_the_best_place(search: GeoSearch, ground: Any, index_path: Path) -> None:
    small = ground.photo(X, Y, 30.0, 95.0)
    photo = Photo("big.jpg", small.pixels, 800, 600, small.exif)
    pointer = Pointer()
    with GeoSearch(GeoIndex.open(index_path), search.matchers["drone"].describer, pointer) as with_objects:
        answer = with_objects.query(photo, point=(400.0, 150.0))
    click, spot = pointer.asked[0]
    assert click == (100.0, 37.5)
    assert math.hypot(spot.x - X, spot.y - Y) < 2.0
    assert answer.to_json()["object"]["confidence"] == 0.5


def test_several_points_have_an_object_or_an_error_each(search: GeoSearch, ground: Any, index_path: Path) -> None:
    photo, inside = ground.photo(X, Y, 30.0, 95.0), [(100.0, 20.0), (30.0, 140.0)]
    with GeoSearch(GeoIndex.open(index_path), search.matchers["drone"].describer, Pointer()) as with_objects:
        alone = [with_objects.query(photo, point=point) for point in inside]
        answer = with_objects.query(photo, points=[inside[0], (50.0, 1.0), (300.0, 20.0), inside[1]])
        with pytest.raises(UsageError, match="not both"):
            with_objects.query(photo, point=inside[0], points=inside)
    first, sky, outside, last = answer.objects
    assert [first.found, last.found] == [one.found for one in alone]
    assert answer.found == first.found
    assert (sky.found, outside.found) == (None, None)
    written = answer.to_json()
    assert list(written) == ["photo", "status", "places", "object", "objects", "notes", "evidence", "index", "timings_ms"]
    assert written["objects"][0] == {"point": [100.0, 20.0], "object": written["object"], "notes": []}
    assert [one["error"]["message"] for one in written["objects"][1:3]] == [str(sky.error), str(outside.error)]
    assert "sky" in str(sky.error) and "300,20 is outside the photo" in str(outside.error)


def test_no_object_is_claimed_where_the_place_is_not_believed(search: GeoSearch, index_path: Path) -> None:
    noise = np.random.default_rng(9).integers(0, 255, (10, 14, 3), np.uint8).repeat(15, axis=0).repeat(15, axis=1)
    pointer = Pointer()
    with GeoSearch(GeoIndex.open(index_path), search.matchers["drone"].describer, pointer) as with_objects:
        answer = with_objects.query(Photo.from_pixels(noise), point=(10.0, 10.0))
    assert (answer.status, answer.found, pointer.asked) == ("low_confidence", None, [])


def test_the_object_is_looked_for_anyway_where_that_is_asked_and_the_status_stays(search: GeoSearch, index_path: Path) -> None:
    noise = np.random.default_rng(9).integers(0, 255, (10, 14, 3), np.uint8).repeat(15, axis=0).repeat(15, axis=1)
    pointer = Pointer()
    with GeoSearch(GeoIndex.open(index_path), search.matchers["drone"].describer, pointer) as with_objects:
        answer = with_objects.query(Photo.from_pixels(noise), point=(10.0, 10.0), heading_deg=0.0, anyway=True)
        nowhere = with_objects.query(Photo.from_pixels(noise), point=(10.0, 10.0), near=(-6.0, 39.0), anyway=True)
    assert answer.status == "low_confidence" and answer.found is not None
    assert answer.notes == (NOT_BELIEVED,)
    (_, spot), place = pointer.asked[0], answer.places[0]
    assert len(pointer.asked) == 1 and distance_m(place.lat, place.lon, *to_lat_lon(spot.segment.crs, spot.x, spot.y)) < 3.0
    assert (nowhere.status, nowhere.found, nowhere.notes) == ("outside_coverage", None, ())


def test_metrics_tell_how_often_a_window_was_known(search: GeoSearch, ground: Any, index_path: Path, tmp_path: Path) -> None:
    photo, describer = ground.photo(X, Y, 30.0, 95.0), search.matchers["drone"].describer
    cache = FeatureCache(folder=tmp_path)
    with GeoSearch(GeoIndex.open(index_path), describer, "attengeo-s-drone", features=cache) as with_objects:
        assert with_objects.metrics()["object_features"]["hit_rate"] == 0.0
        answers = [with_objects.query(photo, point=(100.0, 75.0), anyway=True).found for _ in range(3)]
        metrics = with_objects.metrics()["object_features"]
    assert answers[0] == answers[1] == answers[2]
    assert (metrics["misses"], metrics["hits"], metrics["hit_rate"]) == (1, 2, pytest.approx(2 / 3))
    assert metrics["memory_bytes"] > 8 * 128 * 16 * 16 * 2 and metrics["disk_bytes"] > metrics["memory_bytes"]
    assert metrics["trouble"] is None


def test_a_point_without_object_weights_says_so(search: GeoSearch, ground: Any) -> None:
    with pytest.raises(UsageError, match="object"):
        search.query(ground.photo(X, Y, 30.0, 95.0), point=(100.0, 75.0))


def test_a_pose_turns_into_the_geometry_of_the_decoded_photo() -> None:
    photo = Photo("big.jpg", np.zeros((150, 200, 3), np.uint8), 800, 600, PhotoExif())
    geometry = DronePose(10.0, 95.0).geometry(photo)
    assert (geometry.width_px, geometry.height_px, geometry.ground_width_m) == (200, 150, 95.0)


def with_exif(photo: Photo, **exif: Any) -> Photo:
    return Photo.from_pixels(photo.pixels, exif=PhotoExif(**exif))


def test_a_wrong_heading_in_exif_does_not_hide_the_place(search: GeoSearch, ground: Any) -> None:
    answer = search.query(with_exif(ground.photo(X, Y, 140.0, 95.0), heading_deg=320.0))
    assert answer.status == "located"
    assert distance_m(answer.places[0].lat, answer.places[0].lon, *HERE) < 2.0


def test_a_wrong_height_in_exif_does_not_hide_the_place_nor_move_the_camera(search: GeoSearch, ground: Any) -> None:
    answer = search.query(with_exif(ground.photo(X, Y, 140.0, 95.0), height_m=400.0, fov_deg=70.0, tilt_deg=0.0))
    assert answer.status == "located"
    assert distance_m(answer.places[0].lat, answer.places[0].lon, *HERE) < 2.0
    assert answer.places[0].camera is None  # its height was not believed


def test_a_place_names_the_imagery_that_answered(search: GeoSearch, ground: Any) -> None:
    best = search.query(ground.photo(X, Y, 30.0, 95.0)).places[0]
    assert (best.source, best.vintage) == ("ortho.tif", None)
    assert best.to_json()["source"] == "ortho.tif"


def test_a_trace_tells_what_was_tried_and_changes_no_answer(search: GeoSearch, ground: Any) -> None:
    height_m = 95.0 / 2 / math.tan(math.radians(35))
    exif = PhotoExif(heading_deg=200.0, height_m=height_m, fov_deg=70.0)  # which leads nowhere: all headings and heights are tried then
    photo = Photo.from_pixels(ground.photo(X, Y, 30.0, 95.0).pixels, "made.png", exif)
    trace = Trace()
    plain, traced = search.query(photo), search.query(photo, trace=trace)
    assert plain.places == traced.places and plain.status == traced.status == "located"
    assert trace.best is not None and trace.best.status == "located"
    known, free = trace.looks
    settings = search.settings.poses
    assert len(known.poses) == len(settings.known_heading_deg) * len(settings.known_scale)
    assert len(free.poses) == settings.headings * len(settings.ground_widths_m) == len(set(free.poses))
    assert (known.status, free.camera.heading_deg, trace.best.poses) == ("low_confidence", None, free.poses)
    assert trace.there is None
    segment = trace.best.spots[0].segment
    assert to_lat_lon(segment.crs, trace.best.spots[0].x, trace.best.spots[0].y) == (traced.places[0].lat, traced.places[0].lon)
