"""The streets of a town: districts, each with its own pattern (grid, radial, organic, rural), and the blocks between streets."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import shapely
from shapely import Geometry, LineString, MultiPoint, Polygon, box
from shapely.ops import substring

from crossgeo.town.geometry import FloatArray, bend, cut, lines_of, polygons_of, smooth_displacement, split_across
from crossgeo.town.plan import Material, Plan

Pattern = Literal["grid", "radial", "organic", "rural"]
_MARGIN_M = 60.0  # the town is laid out past its edges, so that nothing thins out towards them


@dataclass(frozen=True)
class District:
    """A part of the town with one street pattern and one density (0 fields .. 1 old town)."""

    shape: Polygon
    pattern: Pattern
    density: float
    character: str  # "living", "trade" or "green"


@dataclass(frozen=True)
class Street:
    """A centre line with the width of its carriageway."""

    line: LineString
    width_m: float
    kind: Literal["main", "street", "lane"]


@dataclass(frozen=True)
class Block:
    """Land between streets, with the district it lies in."""

    shape: Polygon
    district: District


def draw_districts(plan: Plan) -> list[District]:
    """Divide the town into one to five districts."""
    rng, reach = plan.rng, plan.size_m + 2.0 * _MARGIN_M
    ground = box(-_MARGIN_M, -_MARGIN_M, plan.size_m + _MARGIN_M, plan.size_m + _MARGIN_M)
    count = max(1, round((plan.size_m / 600.0) ** 2 * int(rng.integers(2, 6))))
    if count == 1:
        cells = [ground]
    else:
        seeds = rng.uniform(-_MARGIN_M, -_MARGIN_M + reach, (count, 2))
        voronoi = shapely.voronoi_polygons(MultiPoint(seeds), extend_to=ground)
        cells = [part for cell in polygons_of(voronoi) for part in polygons_of(cell.intersection(ground), 100.0)]
    patterns: tuple[Pattern, ...] = ("grid", "radial", "organic", "rural")
    weights = rng.dirichlet((1.3, 0.7, 1.4, 0.6))
    base = rng.uniform(0.3, 0.85)
    districts: list[District] = []
    for cell in cells:
        built_up = not districts  # every town has at least one quarter
        pattern = patterns[int(rng.choice(3 if built_up else 4, p=weights[:3] / weights[:3].sum() if built_up else weights))]
        density = float(np.clip(base + rng.normal(0.0, 0.22), 0.12, 1.0)) if pattern != "rural" else float(rng.uniform(0.0, 0.15))
        character = str(rng.choice(("living", "trade", "green"), p=(0.72, 0.16, 0.12)))
        districts.append(District(cell, pattern, density, character))
    return districts


def _grid(rng: np.random.Generator, shape: Polygon, step_m: tuple[float, float]) -> list[LineString]:
    angle, centre = rng.uniform(0.0, math.pi / 2.0), shape.centroid
    reach = math.hypot(shape.bounds[2] - shape.bounds[0], shape.bounds[3] - shape.bounds[1])
    lines = []
    for turn, step in ((angle, step_m[0]), (angle + math.pi / 2.0 + rng.normal(0.0, 0.05), step_m[1])):
        along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
        offset = -reach
        while offset < reach:
            middle = np.array([centre.x, centre.y]) + across * offset
            tilt = along + across * rng.normal(0.0, 0.012)
            lines.append(LineString([middle - tilt * reach, middle + tilt * reach]))
            offset += step * rng.uniform(0.75, 1.3)
    return lines


def _radial(rng: np.random.Generator, shape: Polygon, step_m: tuple[float, float]) -> list[LineString]:
    x0, y0, x1, y1 = shape.bounds
    centre = np.array([rng.uniform(x0, x1), rng.uniform(y0, y1)])
    reach = math.hypot(x1 - x0, y1 - y0)
    lines, radius, spokes = [], float(rng.uniform(25.0, 50.0)), int(rng.integers(5, 9))
    phi = np.linspace(0.0, 2.0 * math.pi, 73)
    start = rng.uniform(0.0, 6.3)
    inner, previous = radius, 0
    while radius < reach:
        ring = radius * (1.0 + 0.04 * np.sin(3 * phi + start))
        lines.append(LineString(np.stack([centre[0] + ring * np.cos(phi), centre[1] + ring * np.sin(phi)], 1)))
        if 2.0 * math.pi * radius / spokes > 1.9 * step_m[1]:
            spokes *= 2
        if spokes != previous:
            outer = radius if previous else inner
            for k in range(spokes):
                if previous and k % 2 == 0:
                    continue
                turn = start + 2.0 * math.pi * k / spokes + rng.normal(0.0, 0.04)
                ray = np.array([math.cos(turn), math.sin(turn)])
                lines.append(LineString([centre + ray * outer, centre + ray * reach]))
            previous = spokes
        radius += step_m[0] * rng.uniform(0.8, 1.3)
    return lines


def _organic(rng: np.random.Generator, shape: Polygon, step_m: tuple[float, float]) -> list[LineString]:
    x0, y0, x1, y1 = shape.bounds
    step = math.sqrt(step_m[0] * step_m[1])
    across, down = max(2, round((x1 - x0) / step) + 2), max(2, round((y1 - y0) / step) + 2)
    gx, gy = np.meshgrid(np.linspace(x0 - step, x1 + step, across), np.linspace(y0 - step, y1 + step, down))
    points = np.stack([gx.ravel(), gy.ravel()], 1) + rng.uniform(-0.48, 0.48, (gx.size, 2)) * step
    edges = shapely.union_all(shapely.get_parts(shapely.voronoi_polygons(MultiPoint(points), only_edges=True)))
    return [line for line in lines_of(edges, 1.0) if rng.uniform() > 0.12]


def _pattern_lines(rng: np.random.Generator, district: District) -> list[LineString]:
    size = float(np.interp(district.density, (0.0, 1.0), (95.0, 58.0))) * rng.uniform(0.85, 1.25)
    step_m = (size, size * rng.uniform(1.0, 1.9))
    if district.pattern == "rural":
        return _organic(rng, district.shape, (rng.uniform(140.0, 220.0), rng.uniform(140.0, 220.0)))
    return {"grid": _grid, "radial": _radial, "organic": _organic}[district.pattern](rng, district.shape, step_m)


def _drop_pieces(rng: np.random.Generator, lines: list[LineString], share: float) -> list[LineString]:
    """Cut lines where they cross and drop some pieces, so that blocks of several sizes and dead ends arise."""
    noded = shapely.union_all(lines) if lines else MultiPoint()
    return [piece for piece in lines_of(noded, 2.0) if rng.uniform() > share or piece.length < 12.0]


def draw_streets(plan: Plan, districts: list[District]) -> list[Street]:
    """Draw the main roads between districts and the streets inside them, all bent by one smooth displacement."""
    rng, style = plan.rng, plan.style
    displace = smooth_displacement(rng, float(rng.choice((1.0, 5.0, 11.0))), 220.0)
    wild = smooth_displacement(rng, 7.0, 110.0)
    main_m = float(rng.uniform(8.5, 14.0))
    streets = []
    borders = shapely.union_all([d.shape.exterior for d in districts])
    inside = box(-_MARGIN_M, -_MARGIN_M, plan.size_m + _MARGIN_M, plan.size_m + _MARGIN_M).buffer(-1.0)
    for line in lines_of(shapely.line_merge(borders.intersection(inside)), 5.0):
        streets.append(Street(bend(line, displace), main_m, "main"))
    for district in districts:
        rural = district.pattern == "rural"
        lines = [part for line in _pattern_lines(rng, district) for part in lines_of(line.intersection(district.shape), 2.0)]
        for line in _drop_pieces(rng, lines, 0.05 if rural else 0.12):
            bent = bend(line, displace)
            if district.pattern == "organic":
                bent = bend(bent, wild)
            narrow = rural or rng.uniform() < 0.18
            width = rng.uniform(3.0, 4.2) if narrow else rng.uniform(*style.street_m)
            streets.append(Street(bent, float(width), "lane" if narrow else "street"))
    return streets


def _markings(plan: Plan, streets: list[Street]) -> None:
    """Paint dashes along main roads and zebra crossings where other streets meet them."""
    rng, white = plan.rng, (214.0, 212.0, 204.0)
    mains = [s for s in streets if s.kind == "main"]
    others = shapely.union_all([s.line.buffer(s.width_m / 2.0 + 3.0) for s in streets if s.kind != "main"])
    for street in mains:
        for free in lines_of(street.line.difference(others), 10.0):
            for start in np.arange(3.0, free.length - 6.0, 9.0):
                dash = substring(free, start, start + 3.5)
                plan.ground_overlay(dash.buffer(0.09, cap_style="flat"), Material.MARKING, white)
            for side in (-1.0, 1.0):
                edge = free.offset_curve(side * (street.width_m / 2.0 - 0.45))
                for line in lines_of(edge, 4.0):
                    plan.ground_overlay(line.buffer(0.07, cap_style="flat"), Material.MARKING, white)
            for at in (2.5, free.length - 2.5):
                if rng.uniform() < 0.45 and plan.style.sidewalk_m > 0.5:
                    _zebra(plan, free, float(at), street.width_m)


def _zebra(plan: Plan, line: LineString, at_m: float, width_m: float) -> None:
    here, ahead = line.interpolate(at_m), line.interpolate(at_m + 0.5)
    along = np.array([ahead.x - here.x, ahead.y - here.y])
    if (norm := float(np.hypot(*along))) < 1e-6:
        return
    along /= norm
    across = np.array([-along[1], along[0]])
    for offset in np.arange(-width_m / 2.0 + 0.6, width_m / 2.0 - 0.3, 1.0):
        middle: FloatArray = np.array([here.x, here.y]) + across * offset
        bar = LineString([middle - along * 1.5, middle + along * 1.5]).buffer(0.25, cap_style="flat")
        plan.ground_overlay(bar, Material.MARKING, (206.0, 204.0, 198.0))


def pave(plan: Plan, streets: list[Street], districts: list[District]) -> list[Block]:
    """Paint carriageways, sidewalks and markings; return the blocks that are left between them."""
    style = plan.style
    walks, roads = [], {}
    for kind in ("main", "street", "lane"):
        of_kind = [s for s in streets if s.kind == kind]
        walk = 0.0 if kind == "lane" else style.sidewalk_m * (1.3 if kind == "main" else 1.0)
        roads[kind] = shapely.union_all([s.line.buffer(s.width_m / 2.0, quad_segs=4) for s in of_kind])
        walks.append(shapely.union_all([s.line.buffer(s.width_m / 2.0 + walk, quad_segs=4) for s in of_kind]))
    surface = shapely.union_all(walks).buffer(2.5, quad_segs=4).buffer(-2.5, quad_segs=4)
    for part in polygons_of(surface):
        plan.ground(part, Material.PAVING, style.paving_rgb)
    soft = shapely.union_all(list(roads.values())).buffer(4.0, quad_segs=4).buffer(-4.0, quad_segs=4)
    wide = shapely.union_all([roads["main"], roads["street"]])
    for kind in ("lane", "street", "main"):
        rgb = style.lane_rgb if kind == "lane" else style.road_rgb
        material = Material.SOIL if kind == "lane" and style.informal > 0.2 else Material.ROAD
        for part in polygons_of(roads[kind]):
            plan.ground(part, material, plan.shade(rgb, 0.03))
    for part in polygons_of(soft.difference(shapely.union_all(list(roads.values()))).intersection(wide.buffer(5.0)), 0.5):
        plan.ground(part, Material.ROAD, style.road_rgb)
    _markings(plan, streets)
    plan.lanes.extend((s.line, s.width_m) for s in streets if s.kind != "lane")
    plan.kerbs.extend(
        _kerbs(style.sidewalk_m, shapely.union_all([roads["main"], roads["street"], soft.intersection(wide.buffer(5.0))]), roads["lane"])
    )
    ground = box(-_MARGIN_M, -_MARGIN_M, plan.size_m + _MARGIN_M, plan.size_m + _MARGIN_M)
    blocks: list[Block] = []
    for shape in polygons_of(ground.difference(surface), 40.0):
        district = min(districts, key=lambda d: d.shape.distance(shape.representative_point()))
        blocks.extend(Block(part, district) for part in _alleys(plan, shape, district))
    return blocks


def _kerbs(sidewalk_m: float, carriageway: Geometry, lanes: Geometry) -> list[LineString]:
    """Return the edges of the carriageway where a pavement lies beside it."""
    if sidewalk_m < 0.5:
        return []
    return [line.simplify(0.03) for line in lines_of(carriageway.boundary.difference(lanes.buffer(0.3)), 1.0)]


def _alleys(plan: Plan, shape: Polygon, district: District) -> list[Polygon]:
    """Cut a large block of a dense district into smaller ones by narrow alleys."""
    limit = 2400.0 + 7000.0 * (1.0 - district.density) ** 1.5
    if district.pattern == "rural" or shape.area < limit * plan.rng.uniform(0.8, 2.0):
        return [shape]
    width_m = float(plan.rng.uniform(2.0, 4.5))
    line = split_across(plan.rng, shape)
    parts = cut(shape, line, width_m)
    if len(parts) < 2 or min(part.area for part in parts) < 150.0:
        return [shape]
    for piece in polygons_of(shape.intersection(line.buffer(width_m / 2.0))):
        plan.ground(piece, Material.SOIL if plan.style.informal > 0.2 else Material.ROAD, plan.shade(plan.style.lane_rgb, 0.04))
    return [leaf for part in parts for leaf in _alleys(plan, part, district)]
