"""Street photos: their geometry agrees with the plan and the orthophoto, and their owners are the true ones."""

from dataclasses import replace

import cv2
import numpy as np
import pytest
from shapely import Point

from crossgeo.errors import UsageError
from crossgeo.town.aerial import render_ortho
from crossgeo.town.layout import Town
from crossgeo.town.light import sunlit
from crossgeo.town.plan import Material
from crossgeo.town.scene import Scene
from crossgeo.town.street_camera import Panorama, StreetLens, StreetPose
from crossgeo.town.street_photo import render_panorama, render_perspective
from crossgeo.town.street_poses import draw_street_poses
from crossgeo.town.street_world import StreetWorld
from crossgeo.town.traffic import draw_cars
from crossgeo.town.triangles import Kind

CLEAR = Scene(haze=0.0, noise=0.0, traffic_seed=2)


@pytest.fixture(scope="module")
def world(town: Town) -> StreetWorld:
    return StreetWorld(town)


@pytest.fixture(scope="module")
def poses(town: Town) -> list[StreetPose]:
    return list(draw_street_poses(town, 40, np.random.default_rng(4)))


def _down(points_xy: np.ndarray, height_m: float = 60.0) -> tuple[np.ndarray, np.ndarray]:
    origins = np.c_[points_xy, np.full(len(points_xy), height_m)].astype(np.float32)
    return origins, np.tile(np.float32([0.0, 0.0, -1.0]), (len(points_xy), 1))


@pytest.mark.parametrize("camera", [Panorama(128, 512), Panorama(64, 512, 40.0, -40.0), StreetLens(80.0, 320, 240)])
@pytest.mark.parametrize(("heading_deg", "pitch_deg", "roll_deg"), [(0.0, 0.0, 0.0), (77.0, 8.0, -5.0), (310.0, -3.0, 12.0)])
def test_rays_project_back_onto_their_pixels(camera: Panorama | StreetLens, heading_deg: float, pitch_deg: float, roll_deg: float) -> None:
    pose = StreetPose(10.0, -4.0, 2.2, heading_deg, pitch_deg, roll_deg)
    ray = camera.directions(pose, 0.25, 0.75)
    assert ray.shape == (camera.height_px, camera.width_px, 3)
    np.testing.assert_allclose(np.linalg.norm(ray, axis=2), 1.0, rtol=1e-5)
    rows, columns = np.random.default_rng(1).integers(2, (camera.height_px - 2, camera.width_px - 2), (50, 2)).T
    back = camera.project(pose, pose.origin + 7.0 * ray[rows, columns])
    np.testing.assert_allclose(back, np.c_[columns + 0.25, rows + 0.75], atol=0.02)


def test_the_middle_of_a_panorama_looks_along_the_heading_and_its_right_half_clockwise() -> None:
    pose, camera = StreetPose(0.0, 0.0, 2.0, 90.0), Panorama(100, 400)
    px = camera.project(pose, [(5.0, 0.0, 2.0), (0.0, -5.0, 2.0), (5.0, 0.0, 7.0)])  # east, south, up to the east
    np.testing.assert_allclose(px, [(200.0, 50.0), (300.0, 50.0), (200.0, 25.0)], atol=1e-6)


def test_roll_turns_the_camera_clockwise() -> None:
    pose = StreetPose(0.0, 0.0, 2.0, 0.0, 0.0, 30.0)
    column, row = StreetLens(60.0, 400, 300).project(pose, [(2.0, 10.0, 2.0)])[0]  # level, to the right
    assert column > 200.0
    assert row < 150.0  # a camera turned clockwise sees its right horizon rise


def test_a_ray_straight_down_hits_the_ground_under_the_camera(world: StreetWorld, poses: list[StreetPose]) -> None:
    xy = np.array([(p.x, p.y) for p in poses])
    for pose, at in zip(poses, xy, strict=True):
        origins, rays = _down(at[None], pose.height_m)
        look = world.look(origins, rays, CLEAR)
        assert look.kind[0] == Kind.GROUND
        assert (look.x[0], look.y[0]) == pytest.approx(tuple(at), abs=1e-3)
        assert look.z[0] < 0.15  # a kerb at most


def test_what_stands_under_a_point_is_what_the_layers_say(world: StreetWorld, town: Town) -> None:
    rng = np.random.default_rng(0)
    xy = rng.uniform(1.0, town.size_m - 1.0, (6000, 2))
    look = world.look(*_down(xy), replace(CLEAR, traffic_seed=9))
    columns, rows = (xy[:, 0] / 0.2).astype(int), ((town.size_m - xy[:, 1]) / 0.2).astype(int)
    seen = np.where(look.kind == Kind.BUILDING, look.owner, -1)
    layer = town.layers.building[rows, columns]
    roof = town.layers.material[rows, columns] == Material.ROOF
    assert (seen[roof] == layer[roof]).mean() > 0.97
    bare = town.layers.height[rows, columns] < 0.05
    assert (look.z[bare & (look.kind != Kind.CAR)] < 0.3).mean() > 0.97
    pitched = roof & (seen == layer)
    assert np.median(np.abs(look.z[pitched] - town.layers.height[rows, columns][pitched])) < 0.15
    crown = np.isin(town.layers.material[rows, columns], (Material.BROADLEAF, Material.EVERGREEN)) & (
        town.layers.height[rows, columns] > 3.0
    )
    assert np.isin(look.kind[crown], (Kind.TREE, Kind.BARRIER)).mean() > 0.6  # rays pass between leaves


def test_a_building_is_seen_where_its_corner_projects(world: StreetWorld, town: Town, poses: list[StreetPose]) -> None:
    camera, checked = Panorama(256, 1024, 60.0, -60.0), 0
    for pose in poses[:6]:
        _, hits = render_panorama(world, pose, CLEAR, 256, 1024, 1, 60.0, -60.0)
        for index in np.unique(hits.owner[hits.kind == Kind.BUILDING]):
            mask = (hits.kind == Kind.BUILDING) & (hits.owner == index)
            if mask.sum() < 200:
                continue
            outline = town.buildings[int(index)].outline
            ring = np.asarray(outline.exterior.coords)[:, :2]
            px = np.concatenate(
                [camera.project(pose, np.c_[ring, np.full(len(ring), z)]) for z in (0.0, town.buildings[int(index)].height_m + 2.0)]
            )
            if np.ptp(px[:, 0]) > 512.0:
                continue  # across the seam
            columns = np.nonzero(mask.any(0))[0]
            assert columns.min() >= px[:, 0].min() - 2.0
            assert columns.max() + 1 <= px[:, 0].max() + 2.0
            assert (
                outline.buffer(0.4).contains(Point(hits.x[mask].mean(), hits.y[mask].mean())) or len(town.buildings[int(index)].wings) > 1
            )
            checked += 1
    assert checked > 5


def test_cars_of_the_traffic_are_met_where_they_stand(world: StreetWorld, town: Town) -> None:
    cars = [c for c in draw_cars(town, CLEAR.traffic_seed) if 5.0 < c.x < 155.0 and 5.0 < c.y < 155.0]
    assert len(cars) > 3
    look = world.look(*_down(np.array([(c.x, c.y) for c in cars]), 3.5), CLEAR)
    assert (look.kind == Kind.CAR).mean() > 0.85  # a crown may hang over one
    numbers = draw_cars(town, CLEAR.traffic_seed)
    for k in np.flatnonzero(look.kind == Kind.CAR):
        car = numbers[look.owner[k]]
        assert np.hypot(car.x - look.x[k], car.y - look.y[k]) < 3.0


def test_cars_left_standing_are_met_on_every_day_and_shown_by_the_orthophoto(world: StreetWorld, town: Town) -> None:
    left = [item for item in town.objects if item.kind == "car"]
    assert left and len(left) < 0.2 * len(town.car_slots)
    bare = render_ortho(town, replace(Scene(), traffic_seed=3), 0.2).astype(int)
    without = render_ortho(replace(town, left_cars=()), replace(Scene(), traffic_seed=3), 0.2).astype(int)
    for item in left:
        x, y = item.footprint.centroid.coords[0]
        for day in (1, 2):  # the first ray starts elsewhere: a camera's own car is left away
            seen = world.look(*_down(np.array([(x + 20.0, y), (x, y)]), 30.0), replace(Scene(), traffic_seed=day))
            assert seen.kind[1] == Kind.CAR and int(seen.owner[1]) == item.number
        row, column = int((town.size_m - y) / 0.2), int(x / 0.2)
        window = slice(row - 8, row + 9), slice(column - 8, column + 9)
        slot = town.left_cars[item.number][0]
        if slot not in _taken(town, 3):  # else another car stands in its place
            assert np.abs(bare[window] - without[window]).max() > 20


def _taken(town: Town, traffic_seed: int) -> set[int]:
    """The slots in which a car would stand, if none were left there."""
    cars = draw_cars(replace(town, left_cars=()), traffic_seed)
    return {k for k, (x, y, *_) in enumerate(town.car_slots) if any(np.hypot(car.x - x, car.y - y) < 1.0 for car in cars)}


def test_a_car_that_the_camera_is_in_is_left_away(world: StreetWorld, town: Town) -> None:
    car = next(c for c in draw_cars(town, CLEAR.traffic_seed) if 20.0 < c.x < 140.0 and 20.0 < c.y < 140.0)
    pose = StreetPose(car.x, car.y, 1.3, 40.0)
    _, hits = render_panorama(world, pose, CLEAR, 32, 128, 1)
    near = np.hypot(hits.x - car.x, hits.y - car.y) < 1.0
    assert not ((hits.kind == Kind.CAR) & near & (hits.z > 0.3)).any()


def test_the_ground_has_the_orthophotos_colour(world: StreetWorld, town: Town) -> None:
    scene = replace(CLEAR, overcast=1.0)
    ortho = cv2.blur(render_ortho(town, scene), (5, 5))
    xy = np.random.default_rng(3).uniform(1.0, town.size_m - 1.0, (4000, 2))
    look = world.look(*_down(xy, 30.0), scene, spread=0.02)
    columns, rows = (xy[:, 0] / 0.2).astype(int), ((town.size_m - xy[:, 1]) / 0.2).astype(int)
    open_ground = cv2.dilate(town.layers.height, np.ones((9, 9)))[rows, columns] < 0.05
    flat = (look.kind == Kind.GROUND) & (look.z < 0.01) & open_ground & (town.layers.material[rows, columns] != Material.WATER)
    assert flat.sum() > 400
    difference = np.abs(look.rgb[flat] - ortho[rows, columns][flat]).mean()
    wrong = np.abs(look.rgb[flat] - np.roll(ortho[rows, columns][flat], 50, 0)).mean()
    assert difference < 14.0
    assert difference < 0.6 * wrong


def test_photos_show_sky_above_and_ground_below(world: StreetWorld, poses: list[StreetPose]) -> None:
    photo, hits = render_panorama(world, replace(poses[0], pitch_deg=0.0, roll_deg=0.0), CLEAR, 64, 256, 1)
    assert photo.shape == (64, 256, 3)
    assert photo.dtype == np.uint8
    assert (hits.kind[-8:] == Kind.GROUND).mean() > 0.95
    assert (hits.kind[:6] == Kind.SKY).mean() > 0.5
    assert photo[hits.kind == Kind.SKY][:, 2].mean() > photo[hits.kind == Kind.GROUND][:, 2].mean()


def test_the_sun_casts_the_same_shadows_as_in_the_orthophoto(world: StreetWorld, town: Town) -> None:
    lit = sunlit(town.layers.height, town.layers.gsd_m, CLEAR)
    xy = np.random.default_rng(5).uniform(20.0, town.size_m - 20.0, (8000, 2))
    columns, rows = (xy[:, 0] / 0.2).astype(int), ((town.size_m - xy[:, 1]) / 0.2).astype(int)
    paved = np.isin(town.layers.material, (Material.ROAD, Material.PAVING))[rows, columns] & (town.layers.height[rows, columns] < 0.05)
    lit = cv2.blur(lit, (7, 7))[rows, columns]
    look = world.look(*_down(xy, 2.5), replace(CLEAR, traffic_seed=9))
    floor = paved & (look.kind == Kind.GROUND) & (look.z < 0.01)
    bright, dark = look.rgb[floor & (lit > 0.98)].mean(), look.rgb[floor & (lit < 0.05)].mean()
    assert (floor & (lit < 0.05)).sum() > 100
    assert bright > 1.4 * dark


def test_the_same_pose_and_scene_give_the_same_photo(world: StreetWorld, poses: list[StreetPose]) -> None:
    first, again = (render_perspective(world, poses[1], Scene(), 70.0, 64, 48, 2)[0] for _ in range(2))
    assert np.array_equal(first, again)


def test_poses_stand_on_streets_and_paths_clear_of_walls(town: Town, poses: list[StreetPose]) -> None:
    for pose in poses:
        column, row = int(pose.x / 0.2), int((town.size_m - pose.y) / 0.2)
        assert town.layers.ground_material[row, column] in (Material.ROAD, Material.PAVING, Material.MARKING)
        assert 1.5 <= pose.height_m <= 3.0
        at = Point(pose.x, pose.y)
        assert all(b.outline.distance(at) > 0.7 for b in town.buildings)
        assert all(np.hypot(t.x - pose.x, t.y - pose.y) > 0.7 for t in town.trees)


def test_a_camera_in_the_ground_is_refused() -> None:
    with pytest.raises(UsageError, match="stands above the ground"):
        StreetPose(0.0, 0.0, 0.0)
