"""Which poses are tried, given what is known of the camera."""

from __future__ import annotations

import math

import numpy as np
import pytest

from crossgeo.engine.camera import Camera, camera_of
from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.photo import Photo
from crossgeo.engine.poses import PoseSettings, poses_to_try
from crossgeo.errors import UsageError

SETTINGS = PoseSettings()


def photo(**exif: float) -> Photo:
    return Photo.from_pixels(np.zeros((30, 40, 3), np.uint8), exif=PhotoExif(**exif))  # type: ignore[arg-type]


def test_nothing_known_tries_every_heading_at_every_scale() -> None:
    poses = poses_to_try(Camera(None, False, None, None, None), SETTINGS, 0.0)
    assert len(poses) == SETTINGS.headings * len(SETTINGS.ground_widths_m)
    assert sorted({p.heading_deg for p in poses}) == [360.0 / SETTINGS.headings * k for k in range(SETTINGS.headings)]
    assert {p.width_m for p in poses} == set(SETTINGS.ground_widths_m)


def test_height_and_field_of_view_give_the_scale() -> None:
    poses = poses_to_try(Camera(None, False, 90.0, 50.0, None), SETTINGS, 0.0)
    assert sorted({round(p.width_m, 6) for p in poses}) == [85.0, 100.0, 118.0]


def test_a_tilted_camera_is_farther_from_the_ground_it_looks_at() -> None:
    poses = poses_to_try(Camera(None, False, 90.0, 50.0, 30.0), SETTINGS, 0.0)
    assert sorted({p.width_m for p in poses})[1] == pytest.approx(100.0 / math.cos(math.radians(30.0)))
    assert {p.tilt_deg for p in poses} == {30.0}


def test_a_known_heading_is_turned_from_true_to_grid_north() -> None:
    poses = poses_to_try(Camera(90.0, False, None, None, None), SETTINGS, 2.0)
    assert sorted({p.heading_deg for p in poses}) == [76.0, 88.0, 100.0]


def test_a_magnetic_heading_is_tried_more_widely() -> None:
    headings = {p.heading_deg for p in poses_to_try(Camera(0.0, True, None, None, None), SETTINGS, 0.0)}
    assert headings == {330.0, 345.0, 0.0, 15.0, 30.0}


def test_a_view_to_the_horizon_does_not_claim_a_scale() -> None:
    poses = poses_to_try(Camera(None, False, 90.0, 50.0, 85.0), SETTINGS, 0.0)
    assert {p.width_m for p in poses} == set(SETTINGS.ground_widths_m)
    assert {p.tilt_deg for p in poses} == {0.0}


def test_what_the_caller_says_wins_over_exif() -> None:
    camera = camera_of(photo(heading_deg=10.0, height_m=40.0, fov_deg=80.0), 20.0, None, 60.0, None)
    assert (camera.heading_deg, camera.height_m, camera.fov_deg) == (20.0, 60.0, 80.0)


@pytest.mark.parametrize("wrong", [(400.0, None, None, None), (None, 0.0, None, None), (None, None, -3.0, None), (None, None, None, 91.0)])
def test_values_out_of_range_are_refused(wrong: tuple[float | None, ...]) -> None:
    with pytest.raises(UsageError, match="must be"):
        camera_of(photo(), *wrong)


def test_nan_is_out_of_range() -> None:
    with pytest.raises(UsageError):
        camera_of(photo(), float("nan"), None, None, None)
