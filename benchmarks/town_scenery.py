"""Simulated towns as sceneries to train street photos in: an orthophoto in two scenes, places to stand, and rays into the town."""

from __future__ import annotations

from dataclasses import dataclass, replace

import ground_truth
import numpy as np
import shapely
from numpy.typing import NDArray

from crossgeo.town.layout import Town, make_town
from crossgeo.town.scene import Scene, draw_scene
from crossgeo.town.street_poses import draw_street_poses
from crossgeo.town.street_world import StreetWorld
from crossgeo.town.traffic import draw_cars
from crossgeo.town.triangles import Kind
from crossgeo.training.grounds import Ground
from crossgeo.training.street import Thing

SCENES = 5  # days on which photos of one town are taken; each keeps its cars ready
PLACES = 4000
CAR_M = 4.0


@dataclass(frozen=True)
class TownScenery:
    """A town to stand in (`training.street.Scenery`)."""

    ground: Ground
    places_m: NDArray[np.float64]
    world: StreetWorld
    days: tuple[Scene, ...]
    things: tuple[Thing, ...]
    numbers: dict[tuple[int, int], int]  # of (kind, owner) as rays name them, among the things
    cars: dict[int, NDArray[np.float64]]  # middles (C, 2) of those of each day, by traffic seed

    @classmethod
    def make(cls, seed: int, size_m: float) -> TownScenery:
        """Raise the town of a seed."""
        town: Town = make_town(seed, size_m)
        rng = np.random.default_rng([seed, 31])
        places = np.array([(pose.x, pose.y) for pose in draw_street_poses(town, PLACES, rng)])
        days = tuple(draw_scene(rng) for _ in range(SCENES))
        things, numbers = _things(town)
        cars = {day.traffic_seed: np.array([(car.x, car.y) for car in draw_cars(town, day.traffic_seed)]) for day in days}
        return cls(ground_truth.ground_of_town(town), places, StreetWorld(town), days, things, numbers, cars)

    def hit(self, origin_m: NDArray[np.float64], directions: NDArray[np.float64]) -> NDArray[np.int32]:
        """Return which building or tree is met first within 60 m, -1 for anything else."""
        rays = (directions / np.linalg.norm(directions, axis=1, keepdims=True)).astype(np.float32)
        origins = np.broadcast_to(origin_m.astype(np.float32), rays.shape).copy()
        found, _, _ = self.world.caster.first(origins, rays, np.full(len(rays), 60.0, np.float32))
        triangles = self.world.triangles
        owners = zip(triangles.kind[found].tolist(), triangles.owner[found].tolist(), found.tolist(), strict=True)
        return np.array([self.numbers.get((kind, owner), -1) if at >= 0 else -1 for kind, owner, at in owners], np.int32)

    def _stands_in_car(self, origin_m: NDArray[np.float64], day: Scene) -> bool:
        """Whether a car of that day is where the camera stands: the world leaves it away, but not the dark ground beneath."""
        middles = self.cars[day.traffic_seed]
        return bool(len(middles) and np.hypot(*(middles - origin_m[:2]).T).min() < CAR_M)

    def look(self, origin_m: NDArray[np.float64], directions: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return what rays of a panorama about 1,500 px round see, on one of the days in another light."""
        free = [day for day in self.days if not self._stands_in_car(origin_m, day)] or self.days
        day, other = free[int(rng.integers(len(free)))], draw_scene(rng)
        scene = replace(other, traffic_seed=day.traffic_seed)
        rays = directions / np.linalg.norm(directions, axis=1, keepdims=True)
        origins = np.broadcast_to(origin_m.astype(np.float32), rays.shape)
        seen = self.world.look(origins, rays.astype(np.float32), scene, 0.004)
        return np.clip(seen.rgb, 0.0, 255.0).astype(np.uint8)


def _things(town: Town) -> tuple[tuple[Thing, ...], dict[tuple[int, int], int]]:
    """Return the buildings and larger trees of a town as things, and their numbers by what rays call them."""
    gsd_m, rows = town.layers.gsd_m, town.layers.height.shape[0]
    things: list[Thing] = []
    numbers: dict[tuple[int, int], int] = {}
    shapes = [("building", Kind.BUILDING, k, building.outline) for k, building in enumerate(town.buildings)]
    crowns = ((k, tree) for k, tree in enumerate(town.trees) if tree.radius_m > 1.2)
    shapes += [("tree", Kind.TREE, k, shapely.Point(tree.x, tree.y).buffer(tree.radius_m * 0.95, quad_segs=4)) for k, tree in crowns]
    for name, kind, owner, shape in shapes:
        corners = np.asarray(shape.exterior.coords)[:-1, :2]
        outline = np.stack([corners[:, 0] / gsd_m, rows - corners[:, 1] / gsd_m], axis=1).astype(np.float32)
        numbers[int(kind), owner] = len(things)
        things.append(Thing(name, outline))
    return tuple(things), numbers
