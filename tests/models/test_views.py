"""models/views.py: golden values in float64, computed from the camera's geometry written out here, not from the module's matrices."""

import dataclasses
import json
import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo.models.views import (
    DroneView,
    ObjectView,
    PhotoGeometry,
    canvas_to_ground,
    ground_to_photo,
    normalise,
    photo_to_ground,
    place_on_canvas,
    resized,
    warp,
)

Array = NDArray[np.float64]
Image = NDArray[np.uint8]

GEOMETRIES = [
    PhotoGeometry(97, 63, 48.0, 0.0),
    PhotoGeometry(97, 63, 48.0, 37.0),
    PhotoGeometry(61, 83, 30.0, 251.5),
    PhotoGeometry(97, 63, 48.0, 0.0, tilt_deg=30.0),
    PhotoGeometry(83, 61, 52.0, 118.0, tilt_deg=35.0, hfov_deg=84.0),
]


def project(geometry: PhotoGeometry, east: float, north: float) -> tuple[float, float, float]:
    """Project a ground point by vectors in (east, north, up) of the camera; returns x and y in px and the depth in m."""
    heading, tilt = math.radians(geometry.heading_deg), math.radians(geometry.tilt_deg)
    forward = np.array([math.sin(heading), math.cos(heading), 0.0])
    right = np.array([math.cos(heading), -math.sin(heading), 0.0])
    axis = forward * math.sin(tilt) - np.array([0.0, 0.0, math.cos(tilt)])
    up = forward * math.cos(tilt) + np.array([0.0, 0.0, math.sin(tilt)])
    half_view = math.radians(geometry.hfov_deg) / 2
    distance = geometry.ground_width_m / 2 / math.tan(half_view)
    focal = geometry.width_px / 2 / math.tan(half_view)
    ray = np.array([east, north, 0.0]) + axis * distance  # the camera stands at -axis * distance
    depth = float(ray @ axis)
    x = geometry.width_px / 2 + focal * float(ray @ right) / depth
    return x, geometry.height_px / 2 - focal * float(ray @ up) / depth, depth


def smooth(height: int, width: int) -> Image:
    """Make an image whose neighbours differ little, so that fixed-point interpolation stays within a grey level or two."""
    y, x = np.mgrid[0:height, 0:width]
    bands = [np.sin(x / 9.0 + 0.3), np.cos(y / 11.0), np.sin((x + y) / 13.0)]
    return np.stack([127 + 120 * band for band in bands], axis=-1).round().astype(np.uint8)


def sample(image: Image, x: float, y: float) -> Array:
    """Sample bilinearly at a point in pixel-edge coordinates (pixel centres at halves), the rim repeated."""
    height, width = image.shape[:2]
    u, v = min(max(x - 0.5, 0.0), width - 1.0), min(max(y - 0.5, 0.0), height - 1.0)
    left, top = min(int(u), width - 2), min(int(v), height - 2)
    a, b = u - left, v - top
    block = image[top : top + 2, left : left + 2].astype(np.float64)
    return np.asarray((1 - b) * ((1 - a) * block[0, 0] + a * block[0, 1]) + b * ((1 - a) * block[1, 0] + a * block[1, 1]))


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_the_homography_is_the_pinhole_camera(geometry: PhotoGeometry) -> None:
    for east, north in [(0.0, 0.0), (3.5, -2.0), (-11.0, 7.25)]:
        x, y, w = ground_to_photo(geometry) @ np.array([east, north, 1.0])
        expected_x, expected_y, depth = project(geometry, east, north)
        assert (x / w, y / w, w) == pytest.approx((expected_x, expected_y, depth), abs=1e-9)


@pytest.mark.parametrize("geometry", GEOMETRIES)
def test_a_pixel_goes_to_the_ground_and_back(geometry: PhotoGeometry) -> None:
    for pixel in [(0.0, 0.0), (geometry.width_px / 2, geometry.height_px / 2), (geometry.width_px - 1.5, 4.0)]:
        east, north = photo_to_ground(geometry, *pixel)
        assert project(geometry, east, north)[:2] == pytest.approx(pixel, abs=1e-9)
    assert photo_to_ground(geometry, geometry.width_px / 2, geometry.height_px / 2) == pytest.approx((0.0, 0.0), abs=1e-9)


def test_a_pixel_at_or_above_the_horizon_has_no_ground() -> None:
    geometry = PhotoGeometry(100, 100, 50.0, 20.0, tilt_deg=60.0, hfov_deg=90.0)  # horizon at y = 50 - 50 / tan(60)
    horizon = 50 - 50 / math.tan(math.radians(60.0))
    assert photo_to_ground(geometry, 50.0, horizon + 1)[1] > 0
    for y in (horizon - 1, 0.0):
        with pytest.raises(ValueError, match="sky"):
            photo_to_ground(geometry, 50.0, y)


def test_the_ground_width_of_a_height_is_that_of_the_row_through_the_centre() -> None:
    geometry = PhotoGeometry.from_height(400, 300, height_m=80.0, heading_deg=0.0, tilt_deg=25.0, hfov_deg=70.0)
    assert geometry.distance_m == pytest.approx(80.0 / math.cos(math.radians(25.0)))
    west, east = (photo_to_ground(geometry, x, 150.0) for x in (0.0, 400.0))
    assert east[0] - west[0] == pytest.approx(geometry.ground_width_m)


def test_canvas_pixels_are_north_up_at_the_stated_scale() -> None:
    matrix = canvas_to_ground(160, 60.0, (10.0, -4.0))
    assert matrix @ np.array([80.0, 80.0, 1.0]) == pytest.approx([10.0, -4.0, 1.0])  # the middle
    assert matrix @ np.array([0.0, 0.0, 1.0]) == pytest.approx([-20.0, 26.0, 1.0])  # upper left is north-west
    assert matrix @ np.array([161.0, 80.0, 1.0]) - matrix @ np.array([160.0, 80.0, 1.0]) == pytest.approx([0.375, 0.0, 0.0])


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("centre_m", [(0.0, 0.0), (6.5, -3.25)])
def test_a_canvas_shows_what_the_camera_saw(geometry: PhotoGeometry, centre_m: tuple[float, float]) -> None:
    size_px, extent_m = 65, 40.0
    photo = smooth(geometry.height_px, geometry.width_px)
    canvas, mask = place_on_canvas(photo, geometry, size_px, extent_m, centre_m)
    assert canvas.shape == (size_px, size_px, 3) and canvas.dtype == np.uint8
    expected, seen, rim = np.zeros(canvas.shape), np.zeros(mask.shape, bool), np.zeros(mask.shape, bool)
    for row in range(size_px):
        for column in range(size_px):
            east = centre_m[0] + ((column + 0.5) / size_px - 0.5) * extent_m
            north = centre_m[1] - ((row + 0.5) / size_px - 0.5) * extent_m
            x, y, depth = project(geometry, east, north)
            seen[row, column] = depth > 0 and 0 <= x <= geometry.width_px and 0 <= y <= geometry.height_px
            rim[row, column] = min(abs(x), abs(y), abs(x - geometry.width_px), abs(y - geometry.height_px)) < 1e-9
            if seen[row, column]:
                expected[row, column] = sample(photo, x, y)
    assert seen.mean() > 0.2 and ((mask == seen) | rim).all()
    difference = np.abs(canvas - expected)[mask & seen]
    assert difference.max() <= 2.0 and difference.mean() < 0.5
    assert not canvas[~mask].any()


@pytest.mark.parametrize(("heading_deg", "side"), [(0.0, "north"), (90.0, "east"), (180.0, "south"), (270.0, "west")])
def test_the_upper_edge_of_a_photo_lies_where_it_is_headed(heading_deg: float, side: str) -> None:
    photo = np.zeros((80, 80, 3), np.uint8)
    photo[:20] = 255
    canvas, mask = place_on_canvas(photo, PhotoGeometry(80, 80, 40.0, heading_deg), 64, 40.0)
    edges = {"north": canvas[:8], "south": canvas[-8:], "west": canvas[:, :8], "east": canvas[:, -8:]}
    means = {name: float(edge.mean()) for name, edge in edges.items()}
    assert mask.all()
    assert max(means, key=means.__getitem__) == side and means[side] > 250


def test_a_photo_narrower_than_the_canvas_leaves_the_rest_masked() -> None:
    photo = np.full((40, 80, 3), 200, np.uint8)
    canvas, mask = place_on_canvas(photo, PhotoGeometry(80, 40, 28.0, 0.0), 60, 60.0)  # 28 m x 14 m of 60 m x 60 m
    expected = np.zeros((60, 60), bool)
    expected[23:37, 16:44] = True
    assert np.array_equal(mask, expected)
    assert (canvas[mask] == 200).all() and not canvas[~mask].any()


def test_a_much_finer_photo_is_averaged_before_it_is_sampled() -> None:
    checks = np.indices((480, 480)).sum(0) % 2 * 255  # one-pixel checks would alias into bands
    photo = np.repeat(checks[..., None], 3, axis=2).astype(np.uint8)
    canvas, mask = place_on_canvas(photo, PhotoGeometry(480, 480, 60.0, 17.0), 80, 40.0)
    assert mask.all()
    assert np.abs(canvas.astype(float) - 127.5).max() <= 2.0


def test_averaging_keeps_things_in_their_place() -> None:
    photo = np.zeros((600, 600, 3), np.uint8)
    photo[90:150, 400:460] = 255  # centred at (430, 120) px
    geometry = PhotoGeometry(600, 600, 60.0, 0.0)
    canvas, _ = place_on_canvas(photo, geometry, 150, 60.0)
    weight = canvas[..., 0].astype(float)
    rows, columns = np.mgrid[0:150, 0:150] + 0.5
    assert (columns * weight).sum() / weight.sum() == pytest.approx(430 / 4, abs=0.02)
    assert (rows * weight).sum() / weight.sum() == pytest.approx(120 / 4, abs=0.02)


def test_an_identity_warp_gives_the_image_back() -> None:
    image = smooth(31, 47)
    out, mask = warp(image, np.eye(3), (47, 31))
    assert np.array_equal(out, image) and mask.all()


def test_a_tile_of_the_right_size_is_taken_as_it_is() -> None:
    tile = smooth(160, 160)
    assert np.array_equal(DroneView(size_px=160).tile_input(tile), tile)


def test_a_picture_is_averaged_to_another_width_and_height_and_a_new_array_even_at_its_own() -> None:
    picture = np.random.default_rng(4).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    cells = picture.reshape(30, 2, 20, 4, 3).mean(axis=(1, 3))  # two rows and four columns each
    assert np.abs(resized(picture, (20, 30)) - cells).max() <= 0.5
    same = resized(picture, (80, 60))
    assert np.array_equal(same, picture) and not np.shares_memory(same, picture)


@pytest.mark.parametrize(("side", "size_px"), [(96, 48), (90, 60), (77, 33)])
def test_a_larger_tile_is_averaged_by_area(side: int, size_px: int) -> None:
    tile = np.random.default_rng(side).integers(0, 256, (side, side, 3), dtype=np.uint8)
    edges = np.arange(size_px + 1) * side / size_px
    pixels = np.arange(side)
    overlap = np.clip(np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels), 0, None)  # (size, side)
    overlap /= side / size_px
    expected = np.einsum("ri,cj,ijk->rck", overlap, overlap, tile.astype(np.float64), optimize=True)
    given = DroneView(size_px=size_px).tile_input(tile)
    assert given.shape == (size_px, size_px, 3)
    assert np.abs(given - expected).max() <= 1.0


def test_a_smaller_tile_is_interpolated_between_pixel_centres() -> None:
    tile = smooth(20, 20)
    given = DroneView(size_px=45).tile_input(tile)
    expected = np.array([[sample(tile, (c + 0.5) * 20 / 45, (r + 0.5) * 20 / 45) for c in range(45)] for r in range(45)])
    assert np.abs(given - expected).max() <= 1.0


def test_a_canvas_and_a_tile_of_one_place_agree() -> None:
    ground = smooth(240, 240)  # 60 m at 0.25 m, seen by a camera straight above, headed north
    view = DroneView(size_px=160, extent_m=60.0)
    canvas, mask = view.canvas(ground, PhotoGeometry(240, 240, 60.0, 0.0))
    assert mask.all()
    difference = np.abs(canvas.astype(float) - view.tile_input(ground).astype(float))
    assert difference.max() <= 3.0 and difference.mean() < 1.0


def test_normalising_is_the_formula_and_masked_pixels_are_zero() -> None:
    rng = np.random.default_rng(2)
    images, masks = rng.integers(0, 256, (2, 5, 7, 3), dtype=np.uint8), rng.random((2, 5, 7)) < 0.5
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    given = normalise(images, masks, mean, std)
    expected = ((images / 255.0 - np.array(mean)) / np.array(std) * masks[..., None]).transpose(0, 3, 1, 2)
    assert given.dtype == torch.float32 and given.shape == (2, 3, 5, 7)
    assert np.abs(given.double().numpy() - expected).max() < 1e-6
    assert given.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(normalise(images, None, mean, std), normalise(images, np.ones_like(masks), mean, std))


@pytest.mark.parametrize("view", [DroneView(), ObjectView()])
def test_both_views_normalise_with_their_own_mean_and_deviation(view: DroneView | ObjectView) -> None:
    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    expected = (torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255 - 0.498) / 0.502
    assert (view.normalise(images).double() - expected).abs().max() < 1e-6


@pytest.mark.parametrize("view", [DroneView(144, 55.0, (0.1, 0.2, 0.3), (0.4, 0.5, 0.6)), ObjectView(128, 192, 0.3)])
def test_a_view_survives_its_card(view: DroneView | ObjectView) -> None:
    assert type(view).from_dict(json.loads(json.dumps(view.to_dict()))) == view


def test_every_field_of_a_view_changes_its_digest() -> None:
    view = DroneView()
    others = [
        dataclasses.replace(view, size_px=144),
        dataclasses.replace(view, extent_m=61.0),
        dataclasses.replace(view, mean=(0.5, 0.5, 0.5)),
        dataclasses.replace(view, std=(0.5, 0.5, 0.5)),
    ]
    digests = {one.digest for one in [view, *others]}
    assert len(digests) == 5 and view.digest == DroneView().digest and len(view.digest) == 16


def test_the_object_view_puts_the_click_in_the_middle_of_its_canvas() -> None:
    photo = smooth(300, 400)
    photo[100:104, 290:294] = (255, 0, 0)
    geometry = PhotoGeometry(400, 300, 80.0, 64.0, tilt_deg=20.0)
    view = ObjectView(photo_px=128, window_px=192, gsd_m=0.2)
    asked = view.query(photo, geometry, (292.0, 102.0))
    canvas = asked.canvas
    assert asked.click_px == (64.0, 64.0) and canvas.shape == (128, 128, 3) and asked.mask[64, 64] and asked.sight_m is None
    assert project(geometry, *asked.centre_m)[:2] == pytest.approx((292.0, 102.0), abs=1e-9)
    assert (canvas[63:65, 63:65, 0] > 200).all() and (canvas[63:65, 63:65, 1] < 60).all()
    assert (view.photo_extent_m, view.window_extent_m) == pytest.approx((25.6, 38.4))
