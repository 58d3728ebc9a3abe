"""Notes: what an answer guessed of a street camera, and what may lie beyond the reach of a click."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossgeo.engine.camera import camera_of
from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.notes import FOV_GUESSED, PANORAMA_GUESSED, camera_notes, out_of_reach
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import DronePose, StreetPose


def photo(width_px: int = 1200, height_px: int = 800, **exif: Any) -> Photo:
    return Photo.from_pixels(np.zeros((height_px, width_px, 3), np.uint8), exif=PhotoExif(**exif))


def notes(picture: Photo, fov_deg: float | None = None, height_m: float | None = None) -> list[str]:
    camera = camera_of(picture, fov_deg=fov_deg, height_m=height_m, kind="street")
    return camera_notes(picture, camera, "street", fov_deg, height_m)


def test_a_field_of_view_is_noted_where_it_was_guessed_for_the_street() -> None:
    assert notes(photo()) == [FOV_GUESSED]
    assert notes(photo(), fov_deg=80.0) == notes(photo(fov_deg=70.0)) == []
    assert camera_notes(photo(), camera_of(photo()), "drone", None, None) == []


def test_a_panorama_is_noted_where_its_shape_alone_says_so() -> None:
    assert notes(photo(1000, 500)) == [PANORAMA_GUESSED]
    assert notes(photo(1000, 500), fov_deg=360.0) == notes(photo(1000, 500, panorama_deg=360.0)) == []


def test_a_height_in_exif_is_noted_where_no_street_camera_has_it() -> None:
    (note,) = notes(photo(fov_deg=70.0, height_m=87.5))
    assert "87.5 m" in note
    assert notes(photo(fov_deg=70.0, height_m=2.5)) == notes(photo(fov_deg=70.0, height_m=87.5), height_m=2.0) == []


@pytest.mark.parametrize(("down_deg", "away_m"), [(1.0, 115), (3.0, 38)])
def test_a_click_on_far_ground_says_how_far_that_would_be(down_deg: float, away_m: int) -> None:
    note = out_of_reach(photo(1440, 720), (720.0, 360.0 + 4.0 * down_deg), StreetPose(0.0, height_m=2.0), 30.0)
    assert note is not None and f"ground {away_m} m away" in note and "30 m" in note


@pytest.mark.parametrize("down_deg", [-20.0, 0.1, 4.0, 60.0])
def test_a_click_within_reach_or_above_the_ground_says_nothing(down_deg: float) -> None:
    assert out_of_reach(photo(1440, 720), (720.0, 360.0 + 4.0 * down_deg), StreetPose(0.0, height_m=2.0), 30.0) is None


def test_windows_ahead_of_the_camera_reach_farther() -> None:
    assert out_of_reach(photo(1440, 720), (720.0, 372.0), StreetPose(0.0, height_m=2.0), 54.0) is None


def test_a_drone_sees_no_ground_out_of_reach() -> None:
    assert out_of_reach(photo(), (5.0, 5.0), DronePose(0.0, 400.0), 30.0) is None
