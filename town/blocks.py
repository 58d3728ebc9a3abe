"""What stands on built-up blocks: houses with gardens, terraces, perimeter blocks, slabs, unplanned quarters, trade, car parks."""

from __future__ import annotations

import math

import numpy as np
import shapely
from shapely import LineString, Polygon

from crossgeo.town.geometry import FloatArray, frontages, long_axis, points_inside, polygons_of, rectangle
from crossgeo.town.houses import HouseType, Lot, draw_house_type, flat_type, hall_type, house, make_building, place_on_front, resized
from crossgeo.town.plan import Barrier, Material, Plan, Rows, Wing


def lawn(plan: Plan, shape: Polygon, mown: bool = False) -> None:
    """Paint grass, drier or greener at random, mown in bands where asked."""
    style = plan.style
    mix = float(np.clip(style.dryness + plan.rng.normal(0.0, 0.18), 0.0, 1.0))
    rgb = tuple(g * (1.0 - mix) + d * mix for g, d in zip(style.grass_rgb, style.dry_rgb, strict=True))
    rows = None
    if mown:
        rows = Rows(
            float(plan.rng.uniform(0.0, math.pi)), float(plan.rng.uniform(1.5, 5.0)), plan.shade((rgb[0], rgb[1], rgb[2]), 0.1), 0.6, 0.1
        )
    plan.ground(shape, Material.GRASS, plan.shade((rgb[0], rgb[1], rgb[2])), rows)


def yard(plan: Plan, shape: Polygon) -> None:
    """Paint the bare or paved ground between buildings."""
    style, rng = plan.style, plan.rng
    if rng.uniform() < 0.5:
        plan.ground(shape, Material.SOIL, plan.shade(style.soil_rgb))
    else:
        plan.ground(shape, Material.PAVING, plan.shade(style.paving_rgb, 0.1))


def _garden(plan: Plan, lot: Lot, plot: Polygon) -> None:
    """Fill the free part of a plot: beds, shed, pool, trees."""
    rng, style = plan.rng, plan.style
    for x, y in points_inside(rng, plot, int(rng.integers(0, 3))):
        bed = rectangle(float(x), float(y), float(rng.uniform(1.5, 4.0)), float(rng.uniform(0.8, 2.0)), long_axis(plot))
        if rng.uniform() < 0.6 and plot.contains(bed):
            plan.ground(bed, Material.CROP, plan.shade(style.soil_rgb, 0.12), Rows(long_axis(plot), 0.9, plan.pick(style.leaf_rgb), 0.7))
    for x, y in points_inside(rng, plot, 1):
        if rng.uniform() < style.pools:
            pool = rectangle(float(x), float(y), float(rng.uniform(2.5, 5.0)), float(rng.uniform(1.5, 2.5)), long_axis(plot))
            if plot.contains(pool) and lot.free(pool, 0.8):
                plan.ground(pool.buffer(0.9, join_style="mitre"), Material.PAVING, plan.shade(style.paving_rgb))
                plan.ground(pool, Material.WATER, plan.shade((92.0, 182.0, 196.0), 0.05))
                lot.reserve(pool)
        elif rng.uniform() < 0.3:
            turn = long_axis(plot) + float(rng.choice((0.0, math.pi / 2.0)))
            wing = Wing(float(x), float(y), float(rng.uniform(1.5, 3.2)), float(rng.uniform(1.2, 2.2)), turn, 2.3, "shed", 0.12)
            lot.build(make_building(plan, [wing], "metal", plan.pick(style.metal_rgb), plan.pick(style.wall_rgb)), 0.6)
    plan.trees_in(plot, int(rng.poisson(plot.area / 100.0 * style.trees)), (0.7, 3.6))


def houses(plan: Plan, block: Polygon, density: float) -> None:
    """Detached houses of one to three types along the streets, each on its own plot."""
    rng, style = plan.rng, plan.style
    types = [draw_house_type(plan) for _ in range(int(rng.integers(1, 4)))]
    lot = Lot(plan, block.buffer(-0.3))
    (lawn if rng.uniform() > style.dryness * 0.6 else yard)(plan, block)
    gap, setback = float(rng.uniform(2.0, 4.0) + 7.0 * (1.0 - density) ** 2), float(rng.uniform(2.0, 7.5))
    walled, drives = rng.uniform() < style.walled, rng.uniform() < 0.6
    for start, along, inward, length in frontages(block, 10.0):
        at = float(rng.uniform(0.5, 4.0))
        while at < length - 5.0:
            kind = types[int(rng.integers(len(types)))]
            width = kind.front_m + gap * float(rng.uniform(0.8, 1.25))
            depth = setback + kind.depth_m + float(rng.uniform(6.0, 14.0))
            x, y, angle = place_on_front(start, along, inward, at + (width - kind.front_m) / 2.0, setback, kind.front_m, kind.depth_m)
            back_to_front = house(plan, kind, x, y, angle)
            px, py, _ = place_on_front(start, along, inward, at, 0.0, width, depth)
            plots = polygons_of(rectangle(px, py, width / 2.0 - 0.1, depth / 2.0, angle).intersection(lot.rest(0.5)), 40.0)
            if rng.uniform() < 0.93 and plots and lot.build(back_to_front, 1.2):
                plot = max(plots, key=lambda part: part.area)
                (lawn if rng.uniform() < 0.75 - 0.5 * style.dryness else yard)(plan, plot)
                if drives and rng.uniform() < 0.8:
                    _driveway(plan, start + along * (at + width * float(rng.choice((0.12, 0.88)))), inward, setback + 2.0)
                if rng.uniform() < 0.75:
                    _fence(plan, plot, walled)
                _garden(plan, lot, plot)
            at += width
    _behind(plan, lot, types)


def _behind(plan: Plan, lot: Lot, types: list[HouseType]) -> None:
    """Fill what lies behind the front row: more houses on paths, allotments, or trees."""
    rng, style = plan.rng, plan.style
    use = rng.choice(("houses", "allotments", "trees"), p=(0.5, 0.2, 0.3))
    if use == "houses":
        _infill(plan, lot, int(lot.shape.area / 60.0), types, (0.75, 1.1), float(rng.uniform(3.0, 8.0)))
    for rest in polygons_of(lot.rest(2.5), 60.0):
        if use == "allotments":
            for x, y in points_inside(rng, rest, int(rest.area / 70.0)):
                bed = rectangle(float(x), float(y), float(rng.uniform(2.5, 7.0)), float(rng.uniform(1.5, 4.0)), long_axis(lot.shape))
                ground = plan.shade(style.soil_rgb, 0.12)
                if rest.contains(bed):
                    plan.ground(
                        bed, Material.CROP, ground, Rows(long_axis(lot.shape), 1.0, plan.pick(style.leaf_rgb), float(rng.uniform(0.2, 0.9)))
                    )
        plan.trees_in(rest, int(rest.area / 160.0 * style.trees * rng.uniform(0.2, 1.5)), (1.2, 4.5))


def _driveway(plan: Plan, start: FloatArray, inward: FloatArray, length_m: float) -> None:
    end = start + inward * length_m
    plan.ground_overlay(
        LineString([start - inward * 2.0, end]).buffer(1.45, cap_style="flat"), Material.PAVING, plan.shade(plan.style.paving_rgb, 0.08)
    )
    spot = start + inward * (length_m - 2.6)
    plan.car_slots.append((float(spot[0]), float(spot[1]), math.atan2(inward[1], inward[0]), 0.45))


def _fence(plan: Plan, plot: Polygon, walled: bool) -> None:
    rng, style = plan.rng, plan.style
    if walled:
        barrier = Barrier(plot.exterior, 0.35, float(rng.uniform(1.2, 2.2)), Material.WALL, plan.pick(style.wall_rgb))
    else:
        barrier = Barrier(
            plot.exterior, float(rng.uniform(0.5, 1.1)), float(rng.uniform(0.8, 1.8)), Material.BROADLEAF, plan.pick(style.leaf_rgb)
        )
    plan.barriers.append(barrier)


def terraces(plan: Plan, block: Polygon, density: float) -> None:
    """Rows of equal houses that share walls, with small back yards."""
    rng = plan.rng
    base = draw_house_type(plan, 0.62, (2, 3))
    kind = resized(base, float(rng.uniform(5.0, 8.5)), float(rng.uniform(7.5, 11.0)))
    lot = Lot(plan, block.buffer(-0.2))
    lawn(plan, block)
    setback = float(rng.choice((0.3, 2.5, 4.5)))
    for start, along, inward, length in frontages(block, 14.0):
        at, left = float(rng.uniform(0.0, 3.0)), int(rng.integers(3, 9))
        while at < length - kind.front_m:
            x, y, angle = place_on_front(start, along, inward, at, setback, kind.front_m + 0.1, kind.depth_m)
            if lot.build(house(plan, resized(kind, kind.front_m + 0.1, kind.depth_m), x, y, angle, 0.0), -0.4):
                back = rectangle(
                    *place_on_front(start, along, inward, at, setback + kind.depth_m, kind.front_m, 9.0)[:2], kind.front_m / 2, 4.5, angle
                )
                for plot in polygons_of(back.intersection(block), 15.0):
                    (lawn if rng.uniform() < 0.6 else yard)(plan, plot)
                    plan.trees_in(plot, int(rng.poisson(0.5 * plan.style.trees)), (0.6, 2.4))
            at, left = at + kind.front_m, left - 1
            if left == 0:
                at, left = at + float(rng.uniform(2.0, 7.0)), int(rng.integers(3, 9))


def perimeter(plan: Plan, block: Polygon, density: float) -> None:
    """Town houses shoulder to shoulder around a courtyard, each with its own height and roof."""
    rng, style = plan.rng, plan.style
    lot = Lot(plan, block.buffer(-0.1))
    yard(plan, block)
    types = [draw_house_type(plan, 1.0, style.floors) for _ in range(int(rng.integers(2, 5)))]
    depth = float(rng.uniform(8.5, 13.5))
    for start, along, inward, length in frontages(block, 6.0):
        at = 0.0
        while at < length - 4.0:
            front = min(float(rng.uniform(6.0, 17.0)), length - at)
            kind = resized(types[int(rng.integers(len(types)))], front + 0.15, depth * float(rng.uniform(0.8, 1.2)))
            x, y, angle = place_on_front(start, along, inward, at, 0.15, kind.front_m, kind.depth_m)
            if rng.uniform() < 0.9 + 0.08 * density:
                lot.build(house(plan, kind, x, y, angle, 0.0), -0.5)
            at += front if rng.uniform() < 0.9 else front + float(rng.uniform(1.0, 4.0))
    _infill(plan, lot, int(block.area / 380.0), types, (0.4, 0.8))
    for court in polygons_of(lot.rest(0.8), 40.0):
        if rng.uniform() < 0.6 and court.area < 3000.0:
            lawn(plan, court.buffer(-0.8)) if court.area > 90.0 else None
        plan.trees_in(court, int(rng.poisson(court.area / 170.0 * style.trees)), (1.2, 4.0))


def _infill(plan: Plan, lot: Lot, tries: int, types: list[HouseType], scale: tuple[float, float], gap_m: float = 0.7) -> None:
    """Set smaller buildings into what is left of a block, square to its long side."""
    rng = plan.rng
    turn = long_axis(lot.shape)
    for x, y in points_inside(rng, lot.shape, tries):
        kind = types[int(rng.integers(len(types)))]
        kind = resized(kind, kind.front_m * float(rng.uniform(*scale)), kind.depth_m * float(rng.uniform(*scale)))
        lot.build(
            house(plan, kind, float(x), float(y), turn + float(rng.integers(4)) * math.pi / 2.0 + float(rng.normal(0.0, 0.05))), gap_m
        )


def informal(plan: Plan, block: Polygon, density: float) -> None:
    """Small buildings packed without a plan: every gap is a path."""
    rng, style = plan.rng, plan.style
    lot = Lot(plan, block.buffer(-0.3))
    plan.ground(block, Material.SOIL, plan.shade(style.soil_rgb))
    types = [draw_house_type(plan, float(rng.uniform(0.6, 1.0))) for _ in range(6)]
    turn = long_axis(block) + float(rng.normal(0.0, 0.2))
    gap = float(rng.uniform(0.5, 1.6) + 4.0 * max(0.0, 0.75 - density) ** 2)
    for x, y in points_inside(rng, block, int(block.area / 16.0 * (0.5 + density))):
        kind = types[int(rng.integers(6))]
        kind = resized(kind, kind.front_m * float(rng.uniform(0.6, 1.3)), kind.depth_m * float(rng.uniform(0.6, 1.2)))
        angle = turn + float(rng.integers(4)) * math.pi / 2.0 + float(rng.normal(0.0, 0.09))
        lot.build(house(plan, kind, float(x), float(y), angle), gap)
    for rest in polygons_of(lot.rest(0.4), 12.0):
        plan.trees_in(rest, int(rng.poisson(rest.area / 190.0 * style.trees)), (0.8, 3.8))


def slabs(plan: Plan, block: Polygon, density: float) -> None:
    """Parallel apartment buildings on lawns, with paths and parking between them."""
    rng, style = plan.rng, plan.style
    lot = Lot(plan, block.buffer(-2.5))
    lawn(plan, block, mown=rng.uniform() < 0.4)
    front, depth, floors = float(rng.uniform(18.0, 48.0)), float(rng.uniform(10.0, 15.0)), int(rng.integers(2, 6))
    kind, turn = flat_type(plan, front, depth, floors), long_axis(block) + float(rng.choice((0.0, math.pi / 2.0)))
    step_u, step_v = front + float(rng.uniform(8.0, 16.0)), depth + float(rng.uniform(14.0, 26.0))
    centre, reach = block.centroid, math.sqrt(block.area) * 1.6
    along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    for v in np.arange(-reach, reach, step_v):
        for u in np.arange(-reach + float(rng.uniform(0.0, 6.0)), reach, step_u):
            x, y = np.array([centre.x, centre.y]) + along * u + across * v
            if lot.build(house(plan, kind, float(x), float(y), turn, 0.01), 4.0):
                path = LineString(
                    [
                        np.array([x, y]) - along * step_u / 2 - across * (depth / 2 + 3),
                        np.array([x, y]) + along * step_u / 2 - across * (depth / 2 + 3),
                    ]
                )
                for part in polygons_of(path.buffer(1.0).intersection(block)):
                    plan.ground(part, Material.PAVING, plan.shade(style.paving_rgb))
    for rest in polygons_of(lot.rest(2.0), 100.0):
        plan.trees_in(rest, int(rest.area / 150.0 * style.trees * rng.uniform(0.3, 1.2)), (1.5, 4.6))
        _bays(plan, lot, rest, turn, 1)


def trade(plan: Plan, block: Polygon, density: float) -> None:
    """Halls, shops and works on asphalt, with parking in front."""
    rng, style = plan.rng, plan.style
    lot = Lot(plan, block.buffer(-1.5))
    plan.ground(block, Material.ROAD, plan.shade(style.road_rgb if rng.uniform() < 0.6 else style.paving_rgb, 0.05))
    turn = long_axis(block)
    for x, y in points_inside(rng, block, 30):
        scale = float(rng.uniform(0.35, 1.0)) * min(60.0, math.sqrt(block.area))
        kind = hall_type(plan, scale * float(rng.uniform(0.5, 1.0)), scale * float(rng.uniform(0.35, 0.7)))
        lot.build(house(plan, kind, float(x), float(y), turn + float(rng.choice((0.0, math.pi / 2.0)))), 5.0)
    _bays(plan, lot, lot.rest(2.0), turn, 3)
    for x, y in points_inside(rng, lot.rest(2.0), int(rng.integers(0, 9))):
        box = Wing(float(x), float(y), 3.05, 1.22, turn + float(rng.choice((0.0, math.pi / 2.0))), 2.6, "flat")
        lot.build(
            make_building(
                plan,
                [box],
                "metal",
                plan.shade(((176.0, 70.0, 50.0), (60.0, 96.0, 150.0), (190.0, 150.0, 60.0))[int(rng.integers(3))]),
                (120.0, 90.0, 80.0),
            ),
            0.4,
        )
    for strip in polygons_of(block.difference(block.buffer(-2.5)), 20.0):
        lawn(plan, strip)
        plan.trees_in(strip, int(strip.area / 120.0 * style.trees), (1.2, 3.0))


def _bays(plan: Plan, lot: Lot, shape: shapely.Geometry, turn: float, most: int) -> None:
    """Mark rows of parking bays wherever they fit in a shape."""
    rng, style = plan.rng, plan.style
    for part in polygons_of(shape, 120.0):
        for x, y in points_inside(rng, part, most):
            cols, rows = int(rng.integers(4, 16)), int(rng.integers(1, 3))
            area = rectangle(float(x), float(y), cols * 1.3 + 0.5, rows * 2.6 + 3.2, turn)
            if part.contains(area) and lot.free(area, 0.5):
                lot.reserve(area)
                plan.ground(area, Material.ROAD, plan.shade(style.road_rgb, 0.04))
                mark_bays(plan, float(x), float(y), turn, cols, rows)


def mark_bays(plan: Plan, x: float, y: float, turn: float, cols: int, rows: int) -> None:
    """Paint the lines of parking bays, 2.6 m wide, and note the slots for cars."""
    along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    busy = float(plan.rng.uniform(0.1, 0.95))
    for row in range(rows):
        middle = np.array([x, y]) + across * ((row - (rows - 1) / 2.0) * 5.2)
        for col in range(cols + 1):
            side = middle + along * ((col - cols / 2.0) * 2.6)
            plan.ground_overlay(
                LineString([side - across * 2.4, side + across * 2.4]).buffer(0.07, cap_style="flat"),
                Material.MARKING,
                (208.0, 206.0, 200.0),
            )
            if col < cols:
                slot = side + along * 1.3
                plan.car_slots.append((float(slot[0]), float(slot[1]), turn + math.pi / 2.0, busy))


def car_park(plan: Plan, block: Polygon, density: float) -> None:
    """A whole block of parking: double rows of bays with lanes and a few trees."""
    rng, style = plan.rng, plan.style
    plan.ground(block, Material.ROAD, plan.shade(style.road_rgb, 0.08))
    turn, inner = long_axis(block), block.buffer(-2.0)
    along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    centre, reach = block.centroid, math.sqrt(block.area) * 1.5
    for v in np.arange(-reach, reach, 17.0):
        for u in np.arange(-reach, reach, 2.6 * 6):
            x, y = np.array([centre.x, centre.y]) + along * u + across * v
            if inner.contains(rectangle(float(x), float(y), 7.8, 5.2, turn)):
                mark_bays(plan, float(x), float(y), turn, 6, 2)
                if rng.uniform() < 0.4:
                    tip = np.array([x, y]) + along * 7.8
                    plan.tree(float(tip[0]), float(tip[1]), float(rng.uniform(1.2, 2.6)))
    if rng.uniform() < style.dryness:
        return
    for strip in polygons_of(block.difference(block.buffer(-1.4)), 20.0):
        lawn(plan, strip)
