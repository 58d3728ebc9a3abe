"""The buildings of a town: house types that repeat along a street, terraces, apartment slabs, halls; and a lot that keeps them apart."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import shapely
from shapely import Polygon
from shapely.prepared import prep

from crossgeo.town.geometry import FloatArray, rectangle
from crossgeo.town.plan import Building, Plan, RoofCover, RoofForm, Wing
from crossgeo.town.style import Rgb


@dataclass(frozen=True)
class HouseType:
    """A design that a builder repeats: sizes, roof and colours."""

    front_m: float
    depth_m: float
    eave_m: float
    form: RoofForm
    pitch: float
    cover: RoofCover
    roof_rgb: Rgb
    wall_rgb: Rgb
    wing: float  # 0 none, else the share of the front that a rear wing takes
    gable_front: bool  # ridge at right angles to the street


def draw_house_type(plan: Plan, scale: float = 1.0, floors: tuple[int, int] = (1, 2)) -> HouseType:
    """Draw a detached house or, with more floors, a town house of the style."""
    rng, style = plan.rng, plan.style
    front = float(rng.uniform(*style.house_m)) * scale
    depth = front * float(rng.uniform(0.65, 1.05))
    flat = rng.uniform() < style.flat_share
    cover: RoofCover = "concrete" if flat else "metal" if rng.uniform() < style.metal_share else "tile"
    palette = {"concrete": style.flat_rgb, "metal": style.metal_rgb, "tile": style.pitched_rgb}[cover]
    form: RoofForm = "flat" if flat else str(rng.choice(("gable", "hip", "shed"), p=(0.58, 0.36, 0.06)))  # type: ignore[assignment]
    pitch = 0.0 if flat else float(rng.uniform(0.25, 0.5) if cover == "metal" else rng.uniform(0.4, 0.95))
    if form == "shed":
        pitch = min(pitch, 0.3)
    count = int(rng.integers(floors[0], floors[1] + 1))
    return HouseType(
        front, depth, 0.4 + count * float(rng.uniform(2.6, 3.2)), form, pitch, cover, plan.pick(palette), plan.pick(style.wall_rgb),
        float(rng.uniform(0.35, 0.6)) if rng.uniform() < 0.35 else 0.0, bool(rng.uniform() < 0.3),
    )  # fmt: skip


def roof_rise_m(wing: Wing) -> float:
    """Return how far the ridge stands above the eaves."""
    if wing.form in ("gable", "hip"):
        return wing.pitch * min(wing.half_short, wing.half_long)
    if wing.form == "shed":
        return 2.0 * wing.pitch * wing.half_short
    if wing.form == "dome":
        return 0.45 * min(wing.half_short, wing.half_long)
    return 0.0


def make_building(plan: Plan, wings: list[Wing], cover: RoofCover, roof_rgb: Rgb, wall_rgb: Rgb) -> Building:
    """Put wings together as one building and work out its outline and height."""
    outline = shapely.union_all([_outline(w) for w in wings]).simplify(0.01)
    if not isinstance(outline, Polygon):
        outline = outline.convex_hull
    height_m = max(w.eave_m + roof_rise_m(w) for w in wings)
    floor_m, window_m = float(plan.rng.uniform(2.7, 3.3)), float(plan.rng.choice((2.0, 2.4, 3.0, 3.6)))
    return Building(tuple(wings), outline, height_m, cover, roof_rgb, wall_rgb, floor_m, window_m, int(plan.rng.integers(1 << 30)))


def _outline(wing: Wing) -> Polygon:
    if wing.form == "dome":
        return shapely.Point(wing.x, wing.y).buffer(wing.half_long, quad_segs=8)
    return rectangle(wing.x, wing.y, wing.half_long, wing.half_short, wing.angle)


def wing_along(
    x: float, y: float, front_m: float, depth_m: float, angle: float, eave_m: float, form: RoofForm, pitch: float, turned: bool
) -> Wing:
    """Return a wing from its front and depth; the ridge runs along the front unless turned."""
    if turned:
        return Wing(x, y, depth_m / 2.0, front_m / 2.0, angle + math.pi / 2.0, eave_m, form, pitch)
    return Wing(x, y, front_m / 2.0, depth_m / 2.0, angle, eave_m, form, pitch)


def house(plan: Plan, kind: HouseType, x: float, y: float, angle: float, vary: float = 0.04) -> Building:
    """Return one house of a type with its front towards -90 degrees of `angle`; its owner has repainted it a little."""
    rng = plan.rng
    front, depth = kind.front_m * rng.normal(1.0, vary), kind.depth_m * rng.normal(1.0, vary)
    turned = kind.gable_front if kind.form != "hip" else depth > front
    wings = [wing_along(x, y, front, depth, angle, kind.eave_m, kind.form, kind.pitch, turned)]
    if kind.wing > 0.0:
        side, reach = (-1.0 if rng.uniform() < 0.5 else 1.0), depth * float(rng.uniform(0.3, 0.5))
        u, v = side * front * (0.5 - kind.wing / 2.0), depth / 2.0 + reach / 2.0 - 0.4
        wx, wy = x + u * math.cos(angle) - v * math.sin(angle), y + u * math.sin(angle) + v * math.cos(angle)
        lower = kind.eave_m if rng.uniform() < 0.6 else max(2.5, kind.eave_m - 2.7)
        wings.append(wing_along(wx, wy, front * kind.wing, reach + 0.8, angle, lower, kind.form, kind.pitch, kind.form != "shed"))
    return make_building(plan, wings, kind.cover, plan.shade(kind.roof_rgb, 0.05), plan.shade(kind.wall_rgb, 0.04))


def flat_type(plan: Plan, front_m: float, depth_m: float, floors: int) -> HouseType:
    """Return a plain building of a given size with the flat or low roof that the style gives its larger buildings."""
    style, rng = plan.style, plan.rng
    if rng.uniform() < 0.6 + 0.4 * style.flat_share:
        return HouseType(
            front_m, depth_m, 0.8 + 3.0 * floors, "flat", 0.0, "concrete", plan.pick(style.flat_rgb), plan.pick(style.wall_rgb), 0.0, False
        )
    form: RoofForm = "hip" if rng.uniform() < 0.6 else "gable"
    pitch = float(rng.uniform(0.35, 0.7)) * min(1.0, 12.0 / min(front_m, depth_m))
    rgb = plan.pick(style.pitched_rgb)
    return HouseType(front_m, depth_m, 0.6 + 3.0 * floors, form, pitch, "tile", rgb, plan.pick(style.wall_rgb), 0.0, False)


def hall_type(plan: Plan, front_m: float, depth_m: float) -> HouseType:
    """Return an industrial or market hall: a large metal or membrane roof of little slope."""
    style, rng = plan.style, plan.rng
    metal = rng.uniform() < 0.6
    rgb = plan.pick(style.metal_rgb if metal else style.flat_rgb)
    if rng.uniform() < 0.3:
        rgb = plan.shade((206.0, 208.0, 208.0), 0.06)
    form: RoofForm = "gable" if metal else "flat"
    return HouseType(
        front_m, depth_m, float(rng.uniform(5.0, 9.5)), form, float(rng.uniform(0.06, 0.18)), "metal" if metal else "concrete", rgb,
        plan.shade((176.0, 178.0, 178.0), 0.12), 0.0, bool(front_m < depth_m),
    )  # fmt: skip


class Lot:
    """A block being built on: it accepts a building if that fits inside and keeps its distance from the others."""

    def __init__(self, plan: Plan, shape: Polygon) -> None:
        """Start with an empty block."""
        self.plan, self.shape = plan, shape
        self._inside = prep(shape)
        self._taken: list[Polygon] = []

    def free(self, outline: Polygon, gap_m: float) -> bool:
        """Say whether an outline lies inside the block and `gap_m` away from what stands there (a negative gap lets walls touch)."""
        if not self._inside.contains(outline):
            return False
        if not self._taken:
            return True
        if gap_m >= 0.0:
            return not bool(shapely.dwithin(np.asarray(self._taken), outline, gap_m).any())
        return not bool(shapely.intersects(np.asarray(self._taken), outline.buffer(gap_m)).any())

    def reserve(self, outline: Polygon) -> None:
        """Keep buildings off a polygon."""
        self._taken.append(outline)

    def build(self, building: Building, gap_m: float) -> bool:
        """Add a building to the plan if it fits."""
        if not self.free(building.outline, gap_m):
            return False
        self._taken.append(building.outline)
        self.plan.buildings.append(building)
        return True

    def rest(self, gap_m: float = 0.0) -> Polygon:
        """Return the ground that is still free."""
        return self.shape.difference(shapely.union_all([t.buffer(gap_m) for t in self._taken])) if self._taken else self.shape


def place_on_front(
    start: FloatArray, along: FloatArray, inward: FloatArray, at_m: float, setback_m: float, front_m: float, depth_m: float
) -> tuple[float, float, float]:
    """Return centre (x, y) and angle of a building that begins `at_m` along a frontage."""
    centre = start + along * (at_m + front_m / 2.0) + inward * (setback_m + depth_m / 2.0)
    return float(centre[0]), float(centre[1]), math.atan2(along[1], along[0])


def resized(kind: HouseType, front_m: float, depth_m: float) -> HouseType:
    """Return the type with another size."""
    return replace(kind, front_m=front_m, depth_m=depth_m)
