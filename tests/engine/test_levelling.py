"""Pitch and roll of a camera from what stands upright in its photo."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.engine.camera import camera_of
from crossgeo.engine.levelling import level_of
from crossgeo.engine.photo import Photo
from crossgeo.engine.poses import StreetPoseSettings, street_poses_to_try
from crossgeo.models.street import StreetGeometry, directions_to_pixels

WIDTH, HEIGHT, FOV_DEG = 800, 600, 80.0


def street_of_poles(pitch_deg: float, roll_deg: float, slanted: int = 0) -> NDArray[np.uint8]:
    """A photo of poles 3 to 8 m high that stand around a camera, and of edges that lean at random."""
    rng = np.random.default_rng(5)
    picture = np.full((HEIGHT, WIDTH, 3), 190, np.uint8)
    geometry = StreetGeometry(WIDTH, HEIGHT, "perspective", 0.0, FOV_DEG, pitch_deg, roll_deg)
    for number in range(24 + slanted):
        east, north = float(rng.uniform(-9.0, 9.0)), float(rng.uniform(9.0, 14.0))
        lean = rng.uniform(-3.0, 3.0, 2) if number >= 24 else np.zeros(2)
        ends = np.array([[east, north, -2.0], [east + lean[0], north + lean[1], float(rng.uniform(3.0, 8.0))]])
        x, y, _ = directions_to_pixels(geometry, ends)
        (x0, x1), (y0, y1) = (np.round(values).astype(int).tolist() for values in (x, y))
        cv2.line(picture, (x0, y0), (x1, y1), (60, 60, 60), 3, cv2.LINE_AA)
    return picture


@pytest.mark.parametrize(("pitch", "roll"), [(0.0, 0.0), (6.0, 0.0), (-4.0, 2.0), (12.0, -3.0)])
def test_upright_poles_tell_how_the_camera_was_held(pitch: float, roll: float) -> None:
    level = level_of(street_of_poles(pitch, roll), FOV_DEG)
    assert level is not None
    assert (level.pitch_deg, level.roll_deg) == pytest.approx((pitch, roll), abs=0.75)


def test_edges_that_lean_do_not_mislead_it() -> None:
    level = level_of(street_of_poles(6.0, 1.0, slanted=24), FOV_DEG)
    assert level is not None
    assert (level.pitch_deg, level.roll_deg) == pytest.approx((6.0, 1.0), abs=1.0)


def test_a_photo_without_upright_edges_tells_nothing() -> None:
    blank = np.full((HEIGHT, WIDTH, 3), 128, np.uint8)
    across = blank.copy()
    for row in range(40, HEIGHT, 50):
        cv2.line(across, (0, row), (WIDTH, row + 15), (20, 20, 20), 3, cv2.LINE_AA)
    assert level_of(blank, FOV_DEG) is None
    assert level_of(across, FOV_DEG) is None


def test_a_photo_that_tells_is_tried_at_its_own_pitch() -> None:
    photo = Photo.from_pixels(street_of_poles(6.0, 0.0))
    camera = camera_of(photo, 10.0, FOV_DEG, None, None, "street").levelled(photo)
    assert {round(pose.pitch_deg) for pose in street_poses_to_try(camera, StreetPoseSettings(), 0.0)} == {6}


def test_a_photo_that_tells_nothing_is_tried_at_several_pitches() -> None:
    photo, settings = Photo.from_pixels(np.full((HEIGHT, WIDTH, 3), 128, np.uint8)), StreetPoseSettings()
    camera = camera_of(photo, 10.0, FOV_DEG, None, None, "street").levelled(photo)
    assert {pose.pitch_deg for pose in street_poses_to_try(camera, settings, 0.0)} == set(settings.pitches_deg)


def test_the_callers_tilt_is_a_street_photos_pitch() -> None:
    photo = Photo.from_pixels(street_of_poles(6.0, 0.0))
    camera = camera_of(photo, 10.0, FOV_DEG, None, 95.0, "street").levelled(photo)
    assert {pose.pitch_deg for pose in street_poses_to_try(camera, StreetPoseSettings(), 0.0)} == {5.0}


def test_a_panorama_is_level_unless_it_says_otherwise() -> None:
    photo = Photo.from_pixels(np.zeros((200, 400, 3), np.uint8))
    camera = camera_of(photo, 10.0, 360.0, None, None, "street").levelled(photo)
    assert {(pose.pitch_deg, pose.roll_deg) for pose in street_poses_to_try(camera, StreetPoseSettings(), 0.0)} == {(0.0, 0.0)}
