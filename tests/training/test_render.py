"""training/render.py: what is rendered shows the ground that its geometry says."""

import cv2
import numpy as np
import pytest

from crossgeo.models.views import DroneView, ObjectView, PhotoGeometry, canvas_to_ground, place_on_canvas
from crossgeo.training.grounds import Ground
from crossgeo.training.render import (
    Cameras,
    World,
    assumed_geometry,
    outline_box,
    point_inside,
    random_geometry,
    random_world,
    render_canvas,
    render_object,
    render_tile,
    render_view,
)

MIDDLE = (480.0, 480.0)


def similar(a: np.ndarray, b: np.ndarray, mask: np.ndarray) -> float:
    """Correlate two pictures where a mask says so."""
    return float(np.corrcoef(a[mask].ravel().astype(float), b[mask].ravel().astype(float))[0, 1])


@pytest.mark.parametrize("turn", [0.0, 37.0, 180.0])
@pytest.mark.parametrize("mirror", [False, True])
def test_a_photo_of_known_geometry_falls_on_the_tile_of_its_place(ground: Ground, turn: float, mirror: bool) -> None:
    world = World(ground, 0, 0, turn, mirror)
    geometry = PhotoGeometry.from_height(480, 360, 60.0, 123.0, 25.0, 70.0)
    canvas, mask = render_canvas(world, MIDDLE, geometry, geometry, canvas_to_ground(160, 60.0), 160)
    assert 0.3 < mask.mean() <= 1.0
    assert similar(canvas, render_tile(world, MIDDLE, 60.0, 160), mask) > 0.99


def test_a_wrong_heading_turns_the_canvas_against_the_tile(ground: Ground) -> None:
    world = World(ground, 0, 0, 0.0, False)
    true, wrong = (PhotoGeometry(480, 480, 90.0, heading) for heading in (0.0, 90.0))
    canvas, mask = render_canvas(world, MIDDLE, true, wrong, canvas_to_ground(160, 60.0), 160)
    tile = render_tile(world, MIDDLE, 60.0, 160)
    assert similar(canvas, tile, mask) < 0.5
    assert similar(np.rot90(canvas), tile, mask) > 0.98  # east of the canvas is what stood north


def test_one_warp_equals_a_photo_that_is_then_placed(ground: Ground) -> None:
    world, rng = World(ground, 0, 0, 0.0, False), np.random.default_rng(2)
    true = PhotoGeometry.from_height(480, 360, 50.0, 40.0, 20.0, 65.0)
    assumed = assumed_geometry(true, rng, Cameras())
    photo, _ = render_canvas(world, MIDDLE, true, true, np.linalg.inv(_photo_to_ground(true)), 480)
    placed, seen = place_on_canvas(photo[:360], assumed, 160, 60.0)
    canvas, mask = render_canvas(world, MIDDLE, true, assumed, canvas_to_ground(160, 60.0), 160)
    assert (seen == mask).mean() > 0.99
    assert similar(placed, canvas, mask & seen) > 0.97


def _photo_to_ground(geometry: PhotoGeometry) -> np.ndarray:
    from crossgeo.models.views import ground_to_photo

    return ground_to_photo(geometry)


def test_moving_a_tile_moves_the_ground_the_other_way(ground: Ground) -> None:
    world = World(ground, 0, 0, 30.0, True)
    shift = world.offset_px(12.0, 0.0)
    here = render_tile(world, MIDDLE, 60.0, 100)
    east = render_tile(world, (MIDDLE[0] + shift[0], MIDDLE[1] + shift[1]), 60.0, 100)
    np.testing.assert_allclose(east[:, :80].astype(int), here[:, 20:].astype(int), atol=3)


def test_views_repeat_by_seed_and_are_black_where_masked(ground: Ground) -> None:
    view, cameras = DroneView(), Cameras()
    first, again = (render_view(World(ground, 0, 0, 0.0, False), MIDDLE, view, cameras, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(first[0], again[0])
    assert first[0].shape == (160, 160, 3)
    assert not first[0][~first[1]].any()


def test_cameras_stay_within_their_ranges() -> None:
    rng, cameras = np.random.default_rng(0), Cameras()
    drawn = [random_geometry(rng, cameras) for _ in range(200)]
    assert all(0.0 <= g.tilt_deg <= cameras.tilt_deg for g in drawn)
    heights = [g.distance_m * np.cos(np.radians(g.tilt_deg)) for g in drawn]
    assert min(heights) >= cameras.height_m[0] - 1e-6
    assert max(heights) <= cameras.height_m[1] + 1e-6


def test_the_box_of_a_click_holds_the_building_in_the_window(ground: Ground) -> None:
    view, rng = ObjectView(), np.random.default_rng(1)
    for _ in range(12):
        world = random_world(ground, rng)
        sample = render_object(world, ground.outlines[0], view, Cameras(), rng, place_error_m=0.5)
        x0, y0, x1, y1 = sample.box
        turned = 10.0 * np.sqrt(2.0) / view.gsd_m  # 10 m square, at most its diagonal
        assert 10.0 / view.gsd_m - 1 <= x1 - x0 <= turned + 1
        middle = view.window_px / 2.0
        assert x0 - 8 <= middle <= x1 + 8 and y0 - 8 <= middle <= y1 + 8  # the click is inside the building
        assert sample.photo.shape == (view.photo_px, view.photo_px, 3)
        assert 0 <= sample.click_px[0] <= view.photo_px and 0 <= sample.click_px[1] <= view.photo_px


def test_the_box_follows_the_window(ground: Ground) -> None:
    world, view = World(ground, 0, 0, 0.0, False), ObjectView(gsd_m=0.25)
    box = outline_box(world, MIDDLE, view, ground.outlines[0])
    np.testing.assert_allclose(box, [108.0, 118.0, 148.0, 158.0], atol=0.01)  # 128 + (460 - 480), 128 + (470 - 480)


def test_a_stretched_world_has_stretched_buildings_where_the_photo_and_the_tile_agree(ground: Ground) -> None:
    world, view = World(ground, 0, 0, 0.0, False, (2.0, 0.5)), ObjectView(gsd_m=0.25)
    box = outline_box(world, (480.0, 490.0), view, ground.outlines[0])
    np.testing.assert_allclose(box, [88.0, 118.0, 168.0, 138.0], atol=0.01)  # 10 m square -> 20 m by 5 m
    assert world.offset_px(20.0, 5.0) == pytest.approx((40.0, -40.0))
    widths = [random_world(ground, np.random.default_rng(seed), 0.2).stretch for seed in range(40)]
    assert np.std(np.log(widths), axis=0).min() > 0.1
    assert random_world(ground, np.random.default_rng(0)).stretch == (1.0, 1.0)


def test_points_lie_inside_even_bent_outlines() -> None:
    bent = np.array([[0, 0], [40, 0], [40, 10], [10, 10], [10, 40], [0, 40]], np.float32)
    rng = np.random.default_rng(6)
    for _ in range(50):
        assert cv2.pointPolygonTest(bent.reshape(-1, 1, 2), point_inside(bent, rng), False) > 0
