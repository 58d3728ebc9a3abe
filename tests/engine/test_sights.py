"""Where cameras stood and along which bearing a click lies, held against the cameras' own geometry."""

import math

import numpy as np
import pytest
from pyproj import CRS

from crossgeo.engine.camera import Camera
from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import DronePose, Pose, StreetPose
from crossgeo.engine.sights import bearing_deg, camera_lat_lon
from crossgeo.geodesy import from_lat_lon, grid_convergence_deg
from crossgeo.indexer.index import Segment
from crossgeo.models.street import directions_to_pixels
from crossgeo.models.views import PhotoGeometry, ground_to_photo

CRS_ = CRS.from_epsg(32645)
X, Y = 363_000.0, 3_057_600.0
TURN_DEG = grid_convergence_deg(CRS_, X, Y)
NOTHING = Camera(None, False, None, None, None)


@pytest.fixture
def photo() -> Photo:
    return Photo.from_pixels(np.zeros((300, 400, 3), np.uint8))


def spot(pose: Pose) -> Spot:
    return Spot(Segment(0, "s", CRS_, (0.0, 0.0, 1.0, 1.0), (0.0, 0.0, 1.0, 1.0), 0, 1), X, Y, pose, 0.9, 2.5, 0)


@pytest.mark.parametrize("pose", [
    StreetPose(70.0), StreetPose(310.0, projection="perspective", fov_deg=80.0, pitch_deg=12.0, roll_deg=-7.0),
    StreetPose(5.0, pitch_deg=4.0, roll_deg=3.0),
])  # fmt: skip
def test_a_click_in_a_street_photo_is_seen_along_the_bearing_of_what_it_shows(photo: Photo, pose: StreetPose) -> None:
    toward_deg = pose.heading_deg + 21.0
    there = np.array([math.sin(math.radians(toward_deg)) * 18.0, math.cos(math.radians(toward_deg)) * 18.0, 3.5])
    x, y, shown = directions_to_pixels(pose.geometry(photo), there)
    assert shown
    seen_deg = bearing_deg(photo, (float(x), float(y)), spot(pose), NOTHING)
    assert seen_deg == pytest.approx((toward_deg + TURN_DEG) % 360.0, abs=1e-6)


def test_a_street_camera_stands_at_its_place(photo: Photo) -> None:
    lat_lon = camera_lat_lon(spot(StreetPose(70.0)), NOTHING)
    assert lat_lon is not None
    assert from_lat_lon(CRS_, *lat_lon) == pytest.approx((X, Y), abs=1e-3)


@pytest.mark.parametrize("heading_deg", [0.0, 123.0, 290.0])
def test_a_click_in_a_tilted_drone_photo_is_seen_from_where_the_drone_hovered(photo: Photo, heading_deg: float) -> None:
    camera = Camera(heading_deg, False, 75.0, 50.0, 30.0)
    width_m = PhotoGeometry.from_height(400, 300, 50.0, heading_deg, 30.0, 75.0).ground_width_m
    placed = spot(DronePose(heading_deg, width_m, 30.0, 75.0))
    back_m, turn = 50.0 * math.tan(math.radians(30.0)), math.radians(heading_deg)
    lat_lon = camera_lat_lon(placed, camera)
    assert lat_lon is not None
    stood = X - back_m * math.sin(turn), Y - back_m * math.cos(turn)
    assert from_lat_lon(CRS_, *lat_lon) == pytest.approx(stood, abs=1e-3)
    east, north = 9.0, -4.0  # of the ground at the photo's centre
    column, row, scale = ground_to_photo(placed.pose.geometry(photo)) @ np.array([east, north, 1.0])
    wanted_deg = math.degrees(math.atan2(X + east - stood[0], Y + north - stood[1]))
    seen_deg = bearing_deg(photo, (column / scale, row / scale), placed, camera)
    assert seen_deg == pytest.approx((wanted_deg + TURN_DEG) % 360.0, abs=1e-6)


def test_what_cannot_be_known_of_a_drone_is_not_told(photo: Photo) -> None:
    flat = spot(DronePose(10.0, 60.0))
    assert camera_lat_lon(flat, NOTHING) is None
    assert bearing_deg(photo, (100.0, 100.0), flat, NOTHING) is None
    below = Camera(10.0, False, 70.0, 60.0, 0.0)
    assert camera_lat_lon(flat, below) is not None
    assert bearing_deg(photo, (200.5, 150.5), flat, below) is None, "straight below there is no bearing"
    assert bearing_deg(photo, (390.0, 150.0), flat, below) == pytest.approx((100.0 + TURN_DEG) % 360.0, abs=0.5)


def test_straight_up_is_no_bearing(photo: Photo) -> None:
    assert bearing_deg(photo, (100.0, 52.0), spot(StreetPose(70.0)), NOTHING) is None
