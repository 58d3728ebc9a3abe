"""Street photos through the engine: rolled out over the ground they are found where the camera stood, whatever kind they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from crossgeo.engine.fine import Spot
from crossgeo.engine.notes import NO_GROUND, NOTHING_THERE, PANORAMA_GUESSED
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import FoundObject
from crossgeo.engine.pose import StreetPose
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.status import Thresholds
from crossgeo.errors import MismatchError, UsageError
from crossgeo.geodesy import distance_m, grid_convergence_deg, to_lat_lon
from crossgeo.indexer.index import GeoIndex
from crossgeo.models.street import StreetGeometry, pixels_to_directions
from crossgeo.models.street_view import StreetView

X, Y = 363_147.0, 3_057_452.0
HEIGHT_M = 2.1


def stand(ground: Any, x: float, y: float, geometry: StreetGeometry) -> Photo:
    """Take a street photo of flat imagery: ground below the horizon, sky above."""
    columns, rows = np.meshgrid(np.arange(geometry.width_px) + 0.5, np.arange(geometry.height_px) + 0.5)
    east, north, up = np.moveaxis(pixels_to_directions(geometry, columns, rows), -1, 0)
    below = up < -0.02
    scale = np.where(below, -geometry.height_m / np.where(below, up, -1.0), 0.0)
    u = np.clip((x + east * scale - 363_000.0) / 0.5, 0, ground.rgb.shape[1] - 1).astype(int)
    v = np.clip((3_057_600.0 - y - north * scale) / 0.5, 0, ground.rgb.shape[0] - 1).astype(int)
    return Photo.from_pixels(np.where(below[..., None], ground.rgb[v, u], np.uint8(200)))


def true_heading(search: GeoSearch, heading_deg: float) -> float:
    return heading_deg + grid_convergence_deg(search.index.segments[0].crs, X, Y)


@pytest.mark.parametrize(
    "geometry",
    [
        StreetGeometry(1024, 512, "panorama", 75.0, 360.0, height_m=HEIGHT_M),
        StreetGeometry(900, 600, "perspective", 310.0, 100.0, height_m=HEIGHT_M),
    ],
)
def test_a_street_photo_of_known_heading_is_found_where_its_camera_stood(
    street_search: GeoSearch, ground: Any, geometry: StreetGeometry
) -> None:
    heading = true_heading(street_search, geometry.heading_deg)
    answer = street_search.query(stand(ground, X, Y, geometry), heading_deg=heading, fov_deg=geometry.hfov_deg, kind="street")
    best = answer.places[0]
    assert distance_m(best.lat, best.lon, *to_lat_lon(street_search.index.segments[0].crs, X, Y)) < 2.0
    turned = abs((best.heading_deg - heading + 180.0) % 360.0 - 180.0)
    assert turned < 6.0
    assert best.camera == (best.lat, best.lon)


def test_a_panorama_of_unknown_heading_tells_it(street_search: GeoSearch, ground: Any) -> None:
    photo = stand(ground, X, Y, StreetGeometry(1024, 512, "panorama", 200.0, height_m=HEIGHT_M))
    best = street_search.query(photo).places[0]  # twice as wide as high: a panorama by itself
    assert distance_m(best.lat, best.lon, *to_lat_lon(street_search.index.segments[0].crs, X, Y)) < 2.5
    assert abs((best.heading_deg - true_heading(street_search, 200.0) + 180.0) % 360.0 - 180.0) < 8.0


def test_a_photo_that_does_not_tell_its_kind_is_tried_as_both(street_search: GeoSearch, ground: Any) -> None:
    above = ground.photo(X, Y, 30.0, 95.0)
    place = street_search.query(above).places[0]
    assert place.camera is None and distance_m(place.lat, place.lon, *to_lat_lon(street_search.index.segments[0].crs, X, Y)) < 3.0
    beside = stand(ground, X, Y, StreetGeometry(900, 600, "perspective", 120.0, 100.0, height_m=HEIGHT_M))
    place = street_search.query(beside, heading_deg=true_heading(street_search, 120.0), fov_deg=100.0).places[0]
    assert place.camera is not None and distance_m(place.lat, place.lon, *place.camera) == 0.0


def test_the_likelier_kind_is_tried_first(street_search: GeoSearch, ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []
    look = GeoSearch._look

    def noted(self: GeoSearch, photo: Photo, kind: Any, *rest: Any) -> Any:
        tried.append(kind)
        return look(self, photo, kind, *rest)

    monkeypatch.setattr(GeoSearch, "_look", noted)
    photo = ground.photo(X, Y, 30.0, 95.0)
    for street in (False, True):
        monkeypatch.setattr("crossgeo.engine.search.looks_like_street", lambda pixels, street=street: street)
        tried.clear()
        street_search.query(photo)
        assert tried[0] == ("street" if street else "drone")


def test_a_kind_without_weights_is_refused(street_search: GeoSearch, index_path: Any, ground: Any) -> None:
    drone = street_search.matchers["drone"].describer
    with GeoSearch(GeoIndex.open(index_path), drone) as search, pytest.raises(UsageError, match="no weights for those"):
        search.query(ground.photo(X, Y, 0.0, 65.0), kind="street")


def test_object_weights_of_the_other_kind_of_photo_are_refused_at_the_click(street_search: GeoSearch, index_path: Any, ground: Any) -> None:
    drone, street = (street_search.matchers[kind].describer for kind in ("drone", "street"))
    photo = stand(ground, X, Y, StreetGeometry(1024, 512, "panorama", 75.0, height_m=HEIGHT_M))
    with (
        GeoSearch(GeoIndex.open(index_path), drone, street=street, street_objects="attengeo-s-drone") as search,
        pytest.raises(MismatchError, match="attengeo-s-drone are not for street photos"),
    ):
        search.query(photo, point=(500.0, 400.0), heading_deg=true_heading(search, 75.0))


class Everywhere:
    """Stands in for object weights that find something wherever they look."""

    reach_m, least_confidence = 30.0, 0.0

    def find_many(self, photo: Photo, clicks_px: Sequence[tuple[float, float]], spots: Sequence[Spot]) -> list[FoundObject | None]:
        return [FoundObject(27.0, 85.0, (0.0, 0.0, 1.0, 1.0), {"type": "Polygon", "coordinates": []}, 1.0, 1.0, 0.5) for _ in clicks_px]


def test_no_object_is_looked_for_beyond_reach_and_the_notes_say_so(street_search: GeoSearch, index_path: Any, ground: Any) -> None:
    drone, street = (street_search.matchers[kind].describer for kind in ("drone", "street"))
    photo = stand(ground, X, Y, StreetGeometry(1024, 512, "panorama", 75.0, height_m=HEIGHT_M))
    with GeoSearch(GeoIndex.open(index_path), drone, street=street, street_objects=Everywhere()) as search:
        answers = [search.query(photo, point=(512.0, row), heading_deg=true_heading(search, 75.0), anyway=True) for row in (262.0, 300.0)]
    far, near = answers
    assert far.found is None and "objects farther than 30 m are not looked for" in far.notes[-1]
    assert near.found is not None and near.notes == far.notes[:-1]
    assert near.notes[0] == PANORAMA_GUESSED


def test_a_box_that_is_not_sure_is_none_and_the_notes_say_so(street_search: GeoSearch, index_path: Any, ground: Any) -> None:
    drone, street = (street_search.matchers[kind].describer for kind in ("drone", "street"))
    photo = stand(ground, X, Y, StreetGeometry(1024, 512, "panorama", 75.0, height_m=HEIGHT_M))
    asked: dict[str, Any] = {"point": (512.0, 300.0), "heading_deg": true_heading(street_search, 75.0), "anyway": True}
    unsure = Everywhere()
    unsure.least_confidence = 0.51
    with GeoSearch(GeoIndex.open(index_path), drone, street=street, street_objects=unsure) as search:
        answer = search.query(photo, **asked)
    assert answer.found is None and answer.notes[-1] == NOTHING_THERE and answer.places


def test_a_photo_that_shows_no_ground_gets_no_place_and_is_told_why(street_search: GeoSearch, ground: Any) -> None:
    photo = stand(ground, X, Y, StreetGeometry(900, 600, "perspective", 120.0, 40.0, 25.0, height_m=HEIGHT_M))
    answer = street_search.query(photo, fov_deg=40.0, tilt_deg=115.0, kind="street", point=(450.0, 300.0), anyway=True)
    assert (answer.status, answer.places, answer.found) == ("outside_coverage", (), None)
    assert NO_GROUND in answer.notes
    level = stand(ground, X, Y, StreetGeometry(900, 600, "perspective", 120.0, 40.0, height_m=HEIGHT_M))
    answer = street_search.query(level, fov_deg=40.0, tilt_deg=90.0, kind="street")
    assert answer.places and NO_GROUND not in answer.notes


@pytest.mark.parametrize(("fov_deg", "pitch_deg", "share"), [(90.0, 0.0, 0.4), (40.0, 25.0, 0.0), (360.0, 0.0, 1.0)])
def test_the_share_of_ground_is_what_the_canvas_shows(fov_deg: float, pitch_deg: float, share: float) -> None:
    photo = Photo.from_pixels(np.zeros((512, 1024, 3), np.uint8))
    pose = StreetPose(30.0, 2.0, "panorama" if fov_deg == 360.0 else "perspective", fov_deg, pitch_deg)
    geometry = pose.geometry(photo)
    mask = StreetView().canvas(photo.pixels, geometry, pose.offset_m(photo))[1]
    assert pose.ground_share(photo) == pytest.approx(mask.mean(), abs=0.02)
    assert pose.ground_share(photo) == pytest.approx(share, abs=0.12)


def test_every_kind_of_weights_is_named_for_the_journal(street_search: GeoSearch) -> None:
    assert set(street_search.models) == {"drone", "street"}


def test_the_outline_of_a_street_photo_is_what_it_looks_at() -> None:
    photo = Photo.from_pixels(np.zeros((60, 90, 3), np.uint8))
    east = StreetPose(90.0, 2.0, "perspective", 90.0).outline_m(photo)
    assert east[0] == (0.0, 0.0) and all(x >= 0.0 for x, _ in east) and max(math.hypot(*at) for at in east) == pytest.approx(30.0)
    assert len(StreetPose(0.0).outline_m(photo)) == 33


def test_a_narrow_photo_is_located_by_the_score_of_narrow_ones(
    street_search: GeoSearch, ground: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    matcher = street_search.matchers["street"]
    photo = stand(ground, X, Y, StreetGeometry(600, 900, "perspective", 310.0, 55.0, height_m=HEIGHT_M))
    asked = {"heading_deg": true_heading(street_search, 310.0), "kind": "street"}
    for narrow_score, wide, narrow in ((-1.0, "located", "located"), (2.0, "located", "low_confidence")):
        monkeypatch.setattr(matcher, "thresholds", Thresholds(score=-1.0, margin=-1.0, narrow_score=narrow_score))
        assert street_search.query(photo, fov_deg=71.0, **asked).status == wide
        assert street_search.query(photo, fov_deg=55.0, **asked).status == narrow


@pytest.mark.parametrize(("off_deg", "status"), [(0.0, "located"), (30.0, "located"), (180.0, "ambiguous")])
def test_a_place_that_looks_against_the_photos_compass_is_not_located(
    street_search: GeoSearch, ground: Any, monkeypatch: pytest.MonkeyPatch, off_deg: float, status: str
) -> None:
    monkeypatch.setattr(street_search.matchers["street"], "thresholds", Thresholds(score=0.75, margin=-1.0))
    photo = stand(ground, X, Y, StreetGeometry(900, 600, "perspective", 120.0, 100.0, height_m=HEIGHT_M))
    says = replace(photo.exif, heading_deg=true_heading(street_search, 120.0) + off_deg, heading_is_magnetic=False)
    answer = street_search.query(replace(photo, exif=says), fov_deg=100.0, kind="street")
    best = answer.places[0]
    assert distance_m(best.lat, best.lon, *to_lat_lon(street_search.index.segments[0].crs, X, Y)) < 5.0
    assert answer.status == status
    told = [note for note in answer.notes if note.startswith("its compass says")]
    assert len(told) == (status == "ambiguous") and all("not to be relied on" in note for note in told)
