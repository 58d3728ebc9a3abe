"""A simulated town from a seed: objects with exact outlines, raster layers, and the place on earth that it pretends to be."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely import LineString, Polygon

from crossgeo import geodesy
from crossgeo.errors import LimitError, UsageError
from crossgeo.town.canvas import Canvas, Layers, paint_ground
from crossgeo.town.cars import draw_left_cars
from crossgeo.town.crowns import raise_tree
from crossgeo.town.geometry import rectangle
from crossgeo.town.lamps import draw_lamps, raise_lamp
from crossgeo.town.landuse import build_block, line_street
from crossgeo.town.memory import check_memory
from crossgeo.town.plan import Barrier, Building, Car, Fitting, Lamp, Patch, Plan, Tree
from crossgeo.town.roofs import raise_building
from crossgeo.town.streets import draw_districts, draw_streets, pave
from crossgeo.town.style import draw_style

_MAX_SIDE_PX = 32_000  # OpenCV warps pictures of at most 32,767
ObjectKind = Literal["building", "tree", "car", "pond"]


@dataclass(frozen=True)
class TownObject:
    """Something that can be clicked: its outline seen from straight above, in local metres, and its height."""

    kind: ObjectKind
    footprint: Polygon
    height_m: float
    number: int = -1  # in the town's buildings, trees or cars left standing; -1 of what is in none

    @property
    def corners(self) -> NDArray[np.float64]:
        """The outline as (N, 2) x, y, not closed."""
        return np.asarray(self.footprint.exterior.coords)[:-1, :2]


@dataclass(frozen=True)
class Town:
    """A town on flat ground; local x runs east and y north in metres from the south-west corner, along the grid of `crs`."""

    seed: int
    size_m: float
    style: str
    crs: CRS
    origin_xy: tuple[float, float]  # easting, northing of local (0, 0)
    layers: Layers
    objects: tuple[TownObject, ...]  # all that lies wholly inside and stands still
    buildings: tuple[Building, ...]  # what Layers.building points to
    car_slots: NDArray[np.float64]  # (N, 4) x, y, angle, probability that a car stands there
    lanes: tuple[tuple[LineString, float], ...]  # centre line and width of the streets that cars drive on
    trees: tuple[Tree, ...]
    barriers: tuple[Barrier, ...]
    lamps: tuple[Lamp, ...]
    fittings: tuple[Fitting, ...]  # what stands on roofs
    kerbs: tuple[LineString, ...]  # edges of carriageways with a pavement beside them
    patches: tuple[Patch, ...]  # the ground, in the order of painting; like all that is built it goes on past the town's edge
    lit: bool = False  # whether the layers are an orthophoto, with the light and the shadows of its own day
    valid: NDArray[np.bool_] | None = None  # (H, W) where the layers show the land itself; None: everywhere
    left_cars: tuple[tuple[int, Car], ...] = ()  # slot and car of those that stand there on every day

    def to_crs(self, x: float, y: float) -> tuple[float, float]:
        """Return easting and northing of a local point."""
        return self.origin_xy[0] + x, self.origin_xy[1] + y

    def to_lat_lon(self, x: float, y: float) -> tuple[float, float]:
        """Return (lat, lon) of a local point."""
        return geodesy.to_lat_lon(self.crs, *self.to_crs(x, y))

    def true_heading_deg(self, x: float, y: float, heading_deg: float) -> float:
        """Return a heading at a local point, against the grid, as one against true north."""
        return (heading_deg + geodesy.grid_convergence_deg(self.crs, *self.to_crs(x, y))) % 360.0


def make_town(seed: int, size_m: float = 600.0, gsd_m: float = 0.2) -> Town:
    """Lay out and raise the town of a seed; the same seed, size and GSD give the same town, byte for byte.

    Raises UsageError for a size below 100 m or above 5 km or a GSD outside 0.05 to 1 m, LimitError past memory or what OpenCV draws.
    """
    if seed < 0:
        raise UsageError(f"a town's seed is a whole number from 0, not {seed}")
    if not 100.0 <= size_m <= 5000.0:
        raise UsageError(f"a town of {size_m} m cannot be made; give a size from 100 to 5000 m")
    if not 0.05 <= gsd_m <= 1.0:
        raise UsageError(f"a town cannot be drawn at {gsd_m} m a pixel; give 0.05 to 1.0")
    if size_m / gsd_m > _MAX_SIDE_PX:
        most_m = _MAX_SIDE_PX * gsd_m
        raise LimitError(f"a town of {size_m:g} m at {gsd_m:g} m a pixel is too large to draw; make it at most {most_m:g} m wide")
    check_memory(size_m, gsd_m)
    rng = np.random.default_rng([seed, 7341])
    plan = _draw_plan(rng, size_m)
    canvas = Canvas(size_m, gsd_m, plan.style.grass_rgb)
    paint_ground(canvas, plan, rng)
    for index, building in enumerate(plan.buildings):
        raise_building(canvas, building, index)
    for barrier in plan.barriers:
        canvas.raise_barrier(barrier, rng)
    lamps = draw_lamps(plan, canvas, np.random.default_rng([seed, 811]))
    trees = _trees_off_roofs(plan)
    for tree in trees:
        raise_tree(canvas, tree)
    for lamp in lamps:
        raise_lamp(canvas, lamp)
    crs, origin_xy = _place(rng)
    layers = canvas.layers()
    for array in (layers.albedo, layers.material, layers.height, layers.building, layers.ground_albedo, layers.ground_material):
        array.flags.writeable = False
    slots = np.asarray(plan.car_slots, np.float64).reshape(-1, 4)
    left = draw_left_cars(seed, slots)
    objects = _objects(plan, trees, left, layers, size_m)
    return Town(
        seed, size_m, plan.style.name, crs, origin_xy, layers, objects, tuple(plan.buildings), slots, tuple(plan.lanes), tuple(trees),
        tuple(plan.barriers), tuple(lamps), tuple(canvas.fittings), tuple(plan.kerbs), (*plan.patches, *plan.overlays),
        left_cars=left,
    )  # fmt: skip


def _draw_plan(rng: np.random.Generator, size_m: float) -> Plan:
    plan = Plan(rng, draw_style(rng), size_m)
    districts = draw_districts(plan)
    streets = draw_streets(plan, districts)
    for block in pave(plan, streets, districts):
        build_block(plan, block)
        line_street(plan, block, streets)
    return plan


def _trees_off_roofs(plan: Plan) -> list[Tree]:
    """Drop trees that would stand in a house; crowns may hang over roofs."""
    step, margin = 0.5, 80.0
    side = int((plan.size_m + 2.0 * margin) / step)
    free = np.full((side, side), 255, np.uint8)
    for building in plan.buildings:
        ring = (np.asarray(building.outline.exterior.coords)[:, :2] + margin) / step
        cv2.fillPoly(free, [np.round(ring).astype(np.int32)], 0)
    away = np.asarray(cv2.distanceTransform(free, cv2.DIST_L2, 3), np.float32) * step
    kept = []
    for tree in plan.trees:
        column, row = int((tree.x + margin) / step), int((tree.y + margin) / step)
        if 0 <= column < side and 0 <= row < side and away[row, column] > 0.6 * tree.radius_m:
            kept.append(tree)
    return kept


def _objects(plan: Plan, trees: list[Tree], left: Sequence[tuple[int, Car]], layers: Layers, size_m: float) -> tuple[TownObject, ...]:
    """List what lies wholly inside the town."""
    objects = [TownObject("building", b.outline, b.height_m, k) for k, b in enumerate(plan.buildings)]
    objects += [TownObject("pond", pond, 0.0) for pond in plan.ponds]
    objects += [
        TownObject("tree", shapely.Point(t.x, t.y).buffer(t.radius_m * 0.95, quad_segs=4), t.height_m, k)
        for k, t in enumerate(trees)
        if t.radius_m > 1.2
    ]
    for k, (_, car) in enumerate(left):
        outline = rectangle(car.x, car.y, car.length_m / 2.0, car.width_m / 2.0, car.angle)
        if _is_open(outline, layers, size_m, car.height_m):
            objects.append(TownObject("car", outline, car.height_m, k))
    inside = []
    for item in objects:
        x0, y0, x1, y1 = item.footprint.bounds
        if x0 >= 0.0 and y0 >= 0.0 and x1 <= size_m and y1 <= size_m:
            inside.append(item)
    return tuple(inside)


def _is_open(outline: Polygon, layers: Layers, size_m: float, height_m: float) -> bool:
    """Whether corners and middle of something lie under nothing higher: what a crown or a roof hides is not to be seen from above."""
    points = [*outline.exterior.coords[:-1], outline.centroid.coords[0]]
    rows, columns = ([int((size_m - y) / layers.gsd_m) for _, y in points], [int(x / layers.gsd_m) for x, _ in points])
    side = layers.height.shape
    inside = all(0 <= row < side[0] and 0 <= column < side[1] for row, column in zip(rows, columns, strict=True))
    return inside and bool((layers.height[rows, columns] < height_m).all())


def _place(rng: np.random.Generator) -> tuple[CRS, tuple[float, float]]:
    """Draw a place between 55 S and 65 N, and its UTM zone."""
    lat, lon = float(rng.uniform(-55.0, 65.0)), float(rng.uniform(-179.0, 179.0))
    crs = geodesy.metric_crs_at(lat, lon)
    x, y = geodesy.from_lat_lon(crs, lat, lon)
    return crs, (float(round(x)), float(round(y)))
