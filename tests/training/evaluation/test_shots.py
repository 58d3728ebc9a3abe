"""Photos cut to a field of view: what is shown, where it looks, and where it lies on the canvas."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street import DEFAULT_STREET_FOV_DEG
from crossgeo.training.evaluation.shots import Shot, take_shot, through_lens


def on_panorama(shot: Shot, heading_deg: float, size_hw: tuple[int, int]) -> tuple[Any, Any]:
    """The paper's canvas of a shot."""
    return PanoramaView(ground_hw=size_hw).canvas(shot.pixels, shot.geometry(heading_deg))


def around(width_px: int = 720) -> np.ndarray:
    """A panorama whose red says how far clockwise of its middle a column lies, in steps of 2 degrees from -180."""
    columns = (np.arange(width_px) * 360 // width_px // 2).astype(np.uint8)
    return np.repeat(np.repeat(columns[None, :, None], 3, axis=2), 64, axis=0)


def degrees(values: np.ndarray) -> np.ndarray:
    return values[..., 0].astype(float) * 2.0 - 180.0


@pytest.mark.parametrize("towards", [0.0, 100.0, 179.0, 300.0])
def test_a_panorama_is_cut_around_a_direction(towards: float) -> None:
    shot = take_shot(around(), 360.0, 90.0, towards)
    assert shot.pixels.shape == (64, 180, 3)
    assert (shot.projection, shot.fov_deg, shot.turned_deg) == ("panorama", 90.0, towards)
    middle = degrees(shot.pixels)[0, 90]
    assert abs((middle - towards + 180.0) % 360.0 - 180.0) <= 2.0


def test_a_photo_is_cut_in_its_middle_by_its_lens_and_never_widened() -> None:
    photo = np.zeros((60, 100, 3), np.uint8)
    shot = take_shot(photo, 90.0, 53.13, 200.0)  # half the tangent
    assert (shot.pixels.shape[1], shot.projection, shot.turned_deg) == (50, "perspective", 0.0)
    assert take_shot(photo, 67.0, 180.0, 200.0).pixels is photo
    assert take_shot(photo, 67.0, 180.0, 200.0).fov_deg == 67.0


def test_a_photo_of_unknown_field_of_view_is_taken_for_what_a_question_takes_it_for() -> None:
    assert take_shot(np.zeros((60, 100, 3), np.uint8), None, 180.0, 0.0).fov_deg == DEFAULT_STREET_FOV_DEG


def test_a_panorama_keeps_its_horizon_when_it_is_cut() -> None:
    for fov_deg in (360.0, 90.0):
        assert take_shot(around(), 360.0, fov_deg, 0.0, 0.3).geometry(0.0).horizon == 0.3


def test_a_whole_panorama_facing_north_is_the_published_input() -> None:
    photo = np.random.default_rng(0).integers(0, 256, (224, 1232, 3), np.uint8)
    canvas, mask = on_panorama(take_shot(photo, 360.0, 360.0, 0.0), 0.0, (128, 512))
    assert (canvas == np.array(Image.fromarray(photo).resize((512, 128), Image.Resampling.BILINEAR))).all()
    assert mask.all()


@pytest.mark.parametrize(("heading", "column"), [(0.0, 256), (90.0, 384), (180.0, 0), (-90.0, 128)])
def test_a_shot_lies_where_it_looks_and_the_rest_is_masked(heading: float, column: int) -> None:
    canvas, mask = on_panorama(take_shot(around(), 360.0, 90.0, 0.0), heading, (32, 512))
    assert mask[0].sum() == 128
    assert mask[0, column] and not mask[0, (column + 256) % 512]
    assert abs(degrees(canvas)[0, column]) <= 3.0
    assert (canvas[~mask] == 0).all()


def test_a_lens_photo_lies_on_the_canvas_as_wide_as_it_sees() -> None:
    canvas, mask = on_panorama(take_shot(np.full((75, 100, 3), 200, np.uint8), 90.0, 90.0, 0.0), 90.0, (128, 512))
    shown = np.nonzero(mask[64])[0]
    assert (shown.min(), shown.max()) == (320, 447)  # 45 to 135 degrees
    assert (canvas[mask] == 200).all() and mask[:20].sum() == 0


@pytest.mark.parametrize("towards", [0.0, 90.0, 200.0])
def test_a_lens_looks_the_way_it_is_turned(towards: float) -> None:
    photo = through_lens(around(3600), 90.0, towards)
    assert photo.shape[1] == 900 and photo.shape[0] == 675
    seen = degrees(photo)[337, [0, 450, 899]]
    off = (seen - (towards + np.array([-45.0, 0.0, 45.0])) + 180.0) % 360.0 - 180.0
    assert np.abs(off).max() <= 2.5
