"""models/street.py and street_view.py: where directions lie in a photo, and photos rolled out over the ground."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgeo.models.street import StreetGeometry, directions_to_pixels, look_along, pixels_to_directions, pyramid, street_to_ground
from crossgeo.models.street_view import StreetObjectView, StreetView, canvas_directions, street_ahead_m


def world(directions: np.ndarray, height_m: float) -> np.ndarray:
    """Colours of a flat ground with a 4 m chequer, red in the north-east, under a blue sky."""
    east, north, up = np.moveaxis(directions, -1, 0)
    below = up < -1e-3
    scale = np.where(below, -height_m / np.where(below, up, 1.0), 0.0)
    x, y = east * scale, north * scale
    image = np.where((np.floor(x / 4.0) + np.floor(y / 4.0)) % 2 == 0, 200, 60)[..., None].repeat(3, axis=-1)
    image[(x > 0.0) & (y > 0.0)] //= (1, 2, 2)
    image[~below] = (100, 150, 250)
    return image.astype(np.uint8)


def shot(geometry: StreetGeometry) -> np.ndarray:
    """The photo that a camera takes of that ground."""
    x, y = np.meshgrid(np.arange(geometry.width_px) + 0.5, np.arange(geometry.height_px) + 0.5)
    return world(pixels_to_directions(geometry, x, y), geometry.height_m)


PANORAMA = StreetGeometry(2048, 1024, "panorama", 30.0, height_m=2.5)
PHOTO = StreetGeometry(1200, 900, "perspective", 45.0, 90.0, -4.0, 2.0, 2.5)


@given(
    st.sampled_from([PANORAMA, PHOTO]), st.floats(0.05, 0.95), st.floats(0.05, 0.95), st.floats(0.0, 360.0), st.floats(-30.0, 30.0),
    st.floats(-20.0, 20.0),
)  # fmt: skip
def test_a_pixel_looks_where_its_direction_is_seen(
    kind: StreetGeometry, right: float, down: float, heading: float, pitch: float, roll: float
) -> None:
    geometry = StreetGeometry(kind.width_px, kind.height_px, kind.projection, heading, kind.hfov_deg, pitch, roll)
    x, y = np.array(right * kind.width_px), np.array(down * kind.height_px)
    back_x, back_y, shown = directions_to_pixels(geometry, pixels_to_directions(geometry, x, y))
    assert shown
    assert math.hypot(float(back_x - x), float(back_y - y)) < 1e-6


def test_headings_and_signs_are_those_of_a_map() -> None:
    level = StreetGeometry(400, 300, "perspective", 90.0, 90.0)
    ahead, left, above = (directions_to_pixels(level, np.array(d, float)) for d in ((1, 0, 0), (1, 0.5, 0), (1, 0, 0.5)))
    assert ahead[:2] == pytest.approx((200.0, 150.0))  # facing east, the middle is east
    assert left[0] == pytest.approx(100.0) and above[1] == pytest.approx(50.0)  # north lies to the left, up is up
    raised = StreetGeometry(400, 300, "perspective", 90.0, 90.0, pitch_deg=10.0)
    assert directions_to_pixels(raised, np.array((1.0, 0.0, 0.0)))[1] > 150.0  # looking up, the horizon sinks
    rolled = StreetGeometry(400, 300, "perspective", 90.0, 90.0, roll_deg=10.0)
    assert directions_to_pixels(rolled, np.array((1.0, -0.5, 0.0)))[1] < 150.0  # rolled clockwise, the right of the horizon rises
    turn = StreetGeometry(360, 180, "panorama", 0.0)
    assert [float(directions_to_pixels(turn, np.array(d, float))[0]) for d in ((0, 1, 0), (1, 0, 0), (-1, 0, 0))] == [180.0, 270.0, 90.0]


def test_behind_a_camera_nothing_is_shown() -> None:
    assert not directions_to_pixels(PHOTO, np.array((-1.0, -1.0, 0.0)))[2]
    assert directions_to_pixels(PANORAMA, np.array((-1.0, -1.0, 0.0)))[2]


@pytest.mark.parametrize("geometry", [PANORAMA, PHOTO])
def test_a_photo_rolled_out_shows_the_ground_as_a_map_does(geometry: StreetGeometry) -> None:
    canvas, mask = StreetView().canvas(shot(geometry), geometry)
    steps = (np.arange(160) + 0.5) * 60.0 / 160.0 - 30.0
    east, north = np.meshgrid(steps, -steps)
    truth = world(np.stack([east, north, np.full_like(east, -2.5)], axis=-1), 2.5)
    away = np.hypot(east, north)
    inner = mask & (away < 12.0) & (np.abs((east + 2.0) % 4.0 - 2.0) > 0.5) & (np.abs((north + 2.0) % 4.0 - 2.0) > 0.5)
    assert inner.sum() > 200
    assert np.abs(canvas[inner].astype(int) - truth[inner]).max() < 30
    assert mask.mean() > (0.99 if geometry is PANORAMA else 0.2)
    assert not canvas[~mask].any()


def test_ground_under_a_pixel_is_where_its_ray_meets_it() -> None:
    east, north = street_to_ground(PHOTO, 700.0, 700.0)
    x, y, shown = directions_to_pixels(PHOTO, np.array((east, north, -2.5)))
    assert shown and (float(x), float(y)) == pytest.approx((700.0, 700.0))
    with pytest.raises(ValueError, match="sky"):
        street_to_ground(PHOTO, 600.0, 100.0)


def test_the_canvas_of_a_narrow_photo_is_centred_before_the_camera() -> None:
    assert street_ahead_m(PANORAMA) == (0.0, 0.0)
    east, north = street_ahead_m(PHOTO)
    assert east == pytest.approx(north) and math.hypot(east, north) == pytest.approx(12.0)
    directions = canvas_directions(160, 60.0, 2.5, (east, north))
    assert directions[79:81, 79:81].mean(axis=(0, 1)) == pytest.approx((east, north, -2.5))


def test_the_seam_of_a_panorama_is_no_edge() -> None:
    plain = np.full((512, 1024, 3), 90, np.uint8)
    plain[:, ::2] += 20
    turned, mask = look_along(pyramid(plain), StreetGeometry(1024, 512, "panorama", 180.0), canvas_directions(64, 20.0, 2.0))
    assert mask.all() and np.abs(turned.astype(int) - 100).max() <= 12


def test_a_view_comes_back_from_its_card() -> None:
    view = StreetView(size_px=96, extent_m=48.0)
    again = StreetView.from_dict({**view.to_dict(), "mean": list(view.mean)})
    assert again == view and again.digest == view.digest != StreetView().digest


def test_a_click_in_a_street_photo_looks_along_a_line_to_the_ground() -> None:
    view, photo = StreetObjectView(), shot(PHOTO)
    asked = view.query(photo, PHOTO, (600.0, 800.0))
    assert asked.canvas.shape == (160, 160, 3) and asked.mask.any()
    assert asked.sight_m == pytest.approx(street_to_ground(PHOTO, 600.0, 800.0))
    east, north = np.array(asked.sight_m) / math.hypot(*asked.sight_m)
    assert asked.centre_m == pytest.approx((30.0 * east, 30.0 * north))
    high = view.query(photo, PHOTO, (600.0, 100.0))  # above the horizon: as far as is looked
    assert math.hypot(*high.sight_m) == pytest.approx(view.reach_m) == 62.0
    assert view.to_dict()["kind"] == "street-object" and StreetObjectView.from_dict(view.to_dict()) == view


def test_the_line_of_sight_starts_at_the_camera_on_the_window() -> None:
    view = StreetObjectView(window_px=256, gsd_m=0.5, ahead_m=20.0)
    assert view.sight_px((0.0, 40.0), (0.0, 20.0)) == (128.0, 168.0, 128.0, 88.0)  # northwards, from 20 m south of the middle
    assert view.sight_px((10.0, 0.0), (21.0, -1.0)) == (86.0, 126.0, 106.0, 126.0)  # of a window that is not centred on the line


@pytest.mark.parametrize("photo_heading", [0.0, 130.0])
def test_a_crop_is_level_and_turned_towards_the_click(photo_heading: float) -> None:
    view = StreetObjectView()
    sphere = StreetGeometry(2048, 1024, "panorama", photo_heading)
    towards = np.array((math.sin(math.radians(75.0)), math.cos(math.radians(75.0)), math.tan(math.radians(12.0))))
    mark_x, mark_y, _ = directions_to_pixels(sphere, towards)
    photo = np.zeros((1024, 2048, 3), np.uint8)
    photo[512:] = (0, 90, 0)  # ground
    photo[round(float(mark_y)) - 12 : round(float(mark_y)) + 12, round(float(mark_x)) - 12 : round(float(mark_x)) + 12] = (255, 0, 0)
    asked = view.query(photo, sphere, (float(mark_x), float(mark_y)))
    rows, columns = np.nonzero(asked.canvas[..., 0] > 128)
    assert asked.mask.all() and asked.click_px == pytest.approx((columns.mean() + 0.5, rows.mean() + 0.5), abs=0.7)
    assert asked.click_px[1] == pytest.approx(80.0 - 80.0 * math.tan(math.radians(12.0)) / math.tan(math.radians(32.0)), abs=1e-3)
    green = asked.canvas[..., 1] > 45
    assert green[81:].all() and not green[:79].any()  # the horizon is the middle row


def test_columns_of_a_crop_run_clockwise_and_steep_clicks_lie_on_its_rim() -> None:
    view = StreetObjectView(photo_px=64)
    ahead = view.directions(np.array((0.0, 1.0, 0.0)))
    assert ahead.shape == (64, 64, 3) and ahead[0, 0, 2] > 0.0 > ahead[-1, 0, 2]
    assert ahead[0, -1, 0] > 0.0 > ahead[0, 0, 0]  # looking north, east lies right
    assert view.click_px(np.array((0.0, 0.2, -1.0))) == (32.0, 64.0)
    assert view.centre_m(np.array((0.0, 0.0, -1.0))) == (0.0, 30.0)  # straight down: no direction, so any
