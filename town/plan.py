"""The parts of a town before they become pixels: patches of ground, buildings, trees, low walls, slots for cars."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

import numpy as np
from shapely import Geometry, LineString, Polygon

from crossgeo.town.geometry import FloatArray, points_inside, polygons_of
from crossgeo.town.style import Rgb, Style

RoofForm = Literal["gable", "hip", "flat", "shed", "dome", "outline"]  # outline: flat over the building's own outline
RoofCover = Literal["tile", "metal", "concrete"]


class Material(IntEnum):
    """What a pixel of the layers is made of; it decides noise, season and shine."""

    SOIL = 0
    GRASS = 1
    CROP = 2
    ROAD = 3
    PAVING = 4
    WATER = 5
    ROOF = 6
    BROADLEAF = 7
    EVERGREEN = 8
    WALL = 9
    VEHICLE = 10
    MARKING = 11


@dataclass(frozen=True)
class Rows:
    """Parallel stripes on a patch: crop rows, mown bands, paving."""

    angle: float  # radians, direction of the rows
    spacing_m: float
    rgb: Rgb
    strength: float  # 0..1 of the second colour at the crest
    waver: float = 0.3  # how far the rows wander, in spacings


@dataclass(frozen=True)
class Patch:
    """A polygon of ground, painted in the order of the plan."""

    shape: Polygon
    material: Material
    rgb: Rgb
    rows: Rows | None = None


@dataclass(frozen=True)
class Wing:
    """One rectangle of a building with its own roof; `half_long` runs along `angle` (radians from east), as the ridge does."""

    x: float
    y: float
    half_long: float
    half_short: float
    angle: float
    eave_m: float
    form: RoofForm
    pitch: float = 0.0  # rise over run


@dataclass(frozen=True)
class Building:
    """A building: its wings, the outline of its roofs, and how it is painted."""

    wings: tuple[Wing, ...]
    outline: Polygon
    height_m: float
    cover: RoofCover
    roof_rgb: Rgb
    wall_rgb: Rgb
    floor_m: float
    window_m: float  # distance between windows
    seed: int


@dataclass(frozen=True)
class Tree:
    """A tree or bush by its crown."""

    x: float
    y: float
    radius_m: float
    height_m: float
    kind: Literal["broadleaf", "conifer", "palm"]
    rgb: Rgb
    shape: int  # which crown of the bank


@dataclass(frozen=True)
class Barrier:
    """A hedge or a wall along a line."""

    line: LineString
    width_m: float
    height_m: float
    material: Material
    rgb: Rgb


@dataclass(frozen=True)
class Lamp:
    """A street lamp; its arm reaches `reach_m` towards `angle` (radians from east)."""

    x: float
    y: float
    height_m: float
    reach_m: float
    angle: float
    rgb: Rgb


@dataclass(frozen=True)
class Car:
    """A car, van or bus: centre, direction of travel (radians from east), sizes in metres, paint."""

    x: float
    y: float
    angle: float
    length_m: float
    width_m: float
    height_m: float
    rgb: Rgb


@dataclass(frozen=True)
class Fitting:
    """A box on a roof: a chimney, a stair head, a tank."""

    building: int
    x: float
    y: float
    half_long: float
    half_short: float
    angle: float
    low_m: float
    high_m: float
    rgb: Rgb


@dataclass
class Plan:
    """What the builders of streets and blocks add to; `rng` and `style` are theirs to use."""

    rng: np.random.Generator
    style: Style
    size_m: float
    patches: list[Patch] = field(default_factory=list)
    overlays: list[Patch] = field(default_factory=list)  # painted after all patches: markings, paths
    buildings: list[Building] = field(default_factory=list)
    trees: list[Tree] = field(default_factory=list)
    barriers: list[Barrier] = field(default_factory=list)
    ponds: list[Polygon] = field(default_factory=list)
    car_slots: list[tuple[float, float, float, float]] = field(default_factory=list)  # x, y, angle, probability of a car
    lanes: list[tuple[LineString, float]] = field(default_factory=list)  # centre line and width of streets that cars drive on
    kerbs: list[LineString] = field(default_factory=list)  # edges of carriageways with a pavement beside them

    def shade(self, rgb: Rgb, spread: float = 0.06) -> Rgb:
        """Return a colour near another: brightness and hue moved at random."""
        moved = np.clip(np.asarray(rgb) * self.rng.normal(1.0, spread) * self.rng.normal(1.0, spread / 4.0, 3), 6.0, 250.0)
        return float(moved[0]), float(moved[1]), float(moved[2])

    def pick(self, palette: tuple[Rgb, ...]) -> Rgb:
        """Return a colour of a palette, slightly moved."""
        return self.shade(palette[int(self.rng.integers(len(palette)))])

    def ground(self, shape: Geometry, material: Material, rgb: Rgb, rows: Rows | None = None) -> None:
        """Paint the polygons of a shape as ground."""
        self.patches.extend(Patch(part, material, rgb, rows) for part in polygons_of(shape))

    def ground_overlay(self, shape: Geometry, material: Material, rgb: Rgb) -> None:
        """Paint something over all patches: markings, paths, driveways."""
        self.overlays.extend(Patch(part, material, rgb) for part in polygons_of(shape))

    def tree(self, x: float, y: float, radius_m: float, kind: Literal["broadleaf", "conifer", "palm"] | None = None) -> None:
        """Plant a tree of a kind that the style grows."""
        if kind is None:
            share = self.rng.uniform()
            conifer, palm = self.style.conifers, self.style.palms
            kind = "conifer" if share < conifer else "palm" if share < conifer + palm else "broadleaf"
        tall = {"broadleaf": 1.9, "conifer": 3.2, "palm": 2.4}[kind] * self.rng.uniform(0.8, 1.25)
        radius_m = radius_m if kind == "broadleaf" else radius_m * 0.75
        height_m = float(min(1.2 + radius_m * tall, 24.0))
        rgb = self.pick(self.style.leaf_rgb)
        if kind == "conifer":
            rgb = (rgb[0] * 0.7, rgb[1] * 0.78, rgb[2] * 0.82)
        self.trees.append(Tree(x, y, float(radius_m), height_m, kind, rgb, int(self.rng.integers(1 << 30))))

    def trees_in(self, shape: Polygon, count: int, radii_m: tuple[float, float]) -> None:
        """Scatter trees over a polygon."""
        points: FloatArray = points_inside(self.rng, shape, count)
        for x, y in points:
            self.tree(float(x), float(y), float(self.rng.uniform(*radii_m) * self.rng.uniform(0.7, 1.2)))
