"""Orthophotos and drone photos agree with the town and with each other."""

from dataclasses import replace

import cv2
import numpy as np
import pytest

from crossgeo.errors import UsageError
from crossgeo.town.aerial import render_ortho
from crossgeo.town.camera import Camera, Pose, ground_at, project
from crossgeo.town.drone import render_photo, take_photo
from crossgeo.town.layout import Town
from crossgeo.town.plan import Material
from crossgeo.town.scene import Scene
from crossgeo.town.traffic import draw_cars

CAMERA = Camera(60.0, 320, 240)
CLEAR = Scene(noise=0.0, haze=0.0)


@pytest.fixture(scope="module")
def ortho(town: Town) -> np.ndarray:
    return render_ortho(town, CLEAR)


def test_an_ortho_covers_the_town_at_the_size_that_is_asked_for(town: Town, ortho: np.ndarray) -> None:
    assert ortho.shape == (800, 800, 3)
    assert ortho.dtype == np.uint8
    coarse = render_ortho(town, CLEAR, 0.4)
    assert coarse.shape == (400, 400, 3)
    fine = ortho.reshape(400, 2, 400, 2, 3).mean((1, 3))
    assert np.abs(fine - coarse).mean() < 1.5


def test_pixels_that_do_not_divide_the_town_are_refused(town: Town) -> None:
    with pytest.raises(UsageError, match="does not divide"):
        render_ortho(town, CLEAR, 0.33)


def test_two_scenes_of_a_town_are_aligned_but_lit_differently(town: Town, ortho: np.ndarray) -> None:
    other = render_ortho(town, Scene(sun_azimuth_deg=260.0, season="autumn", traffic_seed=9))
    assert np.abs(other.astype(int) - ortho).mean() > 8.0
    a, b = (cv2.cvtColor(p, cv2.COLOR_RGB2GRAY).astype(np.float32) for p in (ortho, other))
    shift, _ = cv2.phaseCorrelate(a, b)
    assert np.hypot(*shift) < 1.0


def test_traffic_moves_between_scenes_and_parks_only_on_its_seed(town: Town) -> None:
    here, there = draw_cars(town, 1), draw_cars(town, 2)
    assert draw_cars(town, 1) == here
    assert here != there


def test_a_roof_in_the_ortho_stands_over_its_footprint(town: Town) -> None:
    # True ortho: the building layer is the picture's own geometry, and a drone photo taken from far up converges to it.
    pose = Pose(80.0, 80.0, 2000.0, 0.0)
    camera = Camera(5.0, 640, 480)  # 175 m wide
    _, hits = take_photo(town, pose, camera, CLEAR)
    columns, rows = np.meshgrid(np.arange(640) + 0.5, np.arange(480) + 0.5)
    x, y = ground_at(pose, camera, np.stack([columns.ravel(), rows.ravel()], 1)).T
    c, r = (x / 0.2).astype(int), ((town.size_m - y) / 0.2).astype(int)
    inside = (c >= 0) & (r >= 0) & (c < 800) & (r < 800)
    layer = town.layers.building[r[inside], c[inside]] >= 0
    seen = hits.building.ravel()[inside] >= 0
    assert (layer & seen).sum() / (layer | seen).sum() > 0.9


@pytest.mark.parametrize(("heading_deg", "tilt_deg"), [(0.0, 0.0), (77.0, 0.0), (200.0, 20.0), (311.0, 35.0)])
def test_a_photo_warped_to_the_ground_lies_on_the_ortho(town: Town, ortho: np.ndarray, heading_deg: float, tilt_deg: float) -> None:
    centre = Pose(0.0, 0.0, 45.0, heading_deg, tilt_deg).centre
    pose = Pose(80.0 - centre[0], 80.0 - centre[1], 45.0, heading_deg, tilt_deg)
    photo, hits = take_photo(town, pose, CAMERA, CLEAR)
    c, r = (hits.x / 0.2).astype(int), ((town.size_m - hits.y) / 0.2).astype(int)
    flat = (hits.z < 0.1) & (c >= 0) & (r >= 0) & (c < 800) & (r < 800)
    flat[flat] &= town.layers.height[r[flat], c[flat]] < 0.05
    expected = cv2.blur(ortho, (3, 3))[r[flat], c[flat]].astype(float)
    got = cv2.blur(photo, (3, 3))[flat].astype(float)
    right = np.abs(got - expected).mean()
    wrong = np.abs(got - np.roll(expected, 2000, axis=0)).mean()
    assert flat.mean() > 0.15
    assert right < 14.0  # grain, the lens's falling light and shadow edges remain
    assert right < 0.6 * wrong


def test_what_a_pixel_shows_projects_back_onto_that_pixel(town: Town) -> None:
    pose = Pose(70.0, 50.0, 45.0, 30.0, 25.0)
    _, hits = take_photo(town, pose, CAMERA, CLEAR)
    columns, rows = np.meshgrid(np.arange(320) + 0.5, np.arange(240) + 0.5)
    back = project(pose, CAMERA, np.stack([hits.x.ravel(), hits.y.ravel(), hits.z.ravel()], 1))
    np.testing.assert_allclose(back, np.stack([columns.ravel(), rows.ravel()], 1), atol=0.05)


def test_a_clicked_roof_pixel_lies_over_its_building(town: Town) -> None:
    pose = Pose(80.0, 80.0, 60.0, 120.0)
    _, hits = take_photo(town, pose, CAMERA, CLEAR)
    on_roof = (hits.building >= 0) & (hits.z > 2.0)
    assert on_roof.mean() > 0.01
    for index in np.unique(hits.building[on_roof]):
        where = (hits.building == index) & on_roof
        outline = town.buildings[int(index)].outline.buffer(0.6)
        x0, y0, x1, y1 = outline.bounds
        assert (hits.x[where] > x0).all() and (hits.x[where] < x1).all()
        assert (hits.y[where] > y0).all() and (hits.y[where] < y1).all()


def test_walls_show_only_when_looked_at_from_the_side(town: Town) -> None:
    eaves = np.array([min(wing.eave_m for wing in b.wings) for b in town.buildings])

    def wall_share(pose: Pose) -> float:
        _, hits = take_photo(town, pose, Camera(5.0, 400, 300), CLEAR)
        seen = hits.building >= 0
        return float((hits.z[seen] < eaves[hits.building[seen]] - 1.0).mean())

    tilted = Pose(80.0, 80.0 - 1500.0 * np.tan(np.radians(35.0)), 1500.0, 0.0, 35.0)
    assert wall_share(Pose(80.0, 80.0, 1500.0, 0.0)) < 0.1
    assert wall_share(tilted) > 0.2


def test_the_same_pose_and_scene_give_the_same_photo_and_another_traffic_seed_other_grain(town: Town) -> None:
    pose, scene = Pose(80.0, 80.0, 50.0, 10.0, 12.0), Scene()
    assert np.array_equal(render_photo(town, pose, CAMERA, scene), render_photo(town, pose, CAMERA, scene))
    assert not np.array_equal(render_photo(town, pose, CAMERA, scene), render_photo(town, pose, CAMERA, replace(scene, traffic_seed=5)))


def test_a_photo_at_the_edge_of_the_town_is_whole(town: Town) -> None:
    photo = render_photo(town, Pose(2.0, 2.0, 60.0, 225.0, 30.0), CAMERA, CLEAR)
    assert photo.shape == (240, 320, 3)
    assert (photo.reshape(-1, 3).std(0) > 5.0).all()


def test_haze_and_exposure_change_the_whole_picture(town: Town) -> None:
    pose = Pose(80.0, 80.0, 50.0, 0.0)
    clear = render_photo(town, pose, CAMERA, CLEAR).astype(float)
    assert render_photo(town, pose, CAMERA, replace(CLEAR, exposure=0.7)).mean() < clear.mean() - 10.0
    assert render_photo(town, pose, CAMERA, replace(CLEAR, haze=0.9)).std() < 0.8 * clear.std()


def test_cars_are_painted_over_roads_in_the_ortho(town: Town, ortho: np.ndarray) -> None:
    other = render_ortho(town, replace(CLEAR, traffic_seed=8))
    changed = np.abs(other.astype(int) - ortho).max(2) > 40
    materials = town.layers.material[changed]
    assert changed.any()
    assert np.isin(materials, (Material.ROOF, Material.WATER)).mean() < 0.05
