"""What lies on the open blocks: fields with crop rows, orchards, woods, farms, parks with ponds, sports grounds and squares."""

from __future__ import annotations

import math

import numpy as np
import shapely
from shapely import LineString, Point, Polygon

from crossgeo.town.blocks import lawn
from crossgeo.town.geometry import blob, cut, long_axis, points_inside, polygons_of, rectangle, split_across
from crossgeo.town.houses import Lot, draw_house_type, hall_type, house, make_building, resized
from crossgeo.town.plan import Barrier, Material, Plan, Rows, Wing

_COURT_RGB = ((150.0, 98.0, 78.0), (92.0, 112.0, 128.0), (98.0, 120.0, 98.0), (146.0, 144.0, 142.0), (166.0, 136.0, 108.0))


def fields(plan: Plan, block: Polygon, density: float) -> None:
    """Fields of several crops, divided by baulks, hedges or nothing."""
    rng, style = plan.rng, plan.style
    plan.ground(block, Material.GRASS, plan.shade(style.dry_rgb))
    limit = float(rng.choice((700.0, 2500.0, 7000.0)))
    pieces = [block]
    while pieces:
        piece = pieces.pop()
        if piece.area > limit * rng.uniform(0.7, 2.0):
            parts = cut(piece, split_across(rng, piece, 0.25, 0.03), float(rng.uniform(0.4, 1.6)))
            if len(parts) > 1:
                pieces.extend(parts)
                continue
        _field(plan, piece)
        if rng.uniform() < 0.22:
            plan.barriers.append(
                Barrier(
                    piece.exterior,
                    float(rng.uniform(0.8, 2.2)),
                    float(rng.uniform(1.0, 2.4)),
                    Material.BROADLEAF,
                    plan.pick(style.leaf_rgb),
                )
            )
        if rng.uniform() < 0.3:
            for at in np.arange(0.0, piece.exterior.length, 9.0):
                if rng.uniform() < 0.35:
                    spot = piece.exterior.interpolate(at)
                    plan.tree(spot.x, spot.y, float(rng.uniform(1.4, 4.5)))


def _field(plan: Plan, piece: Polygon) -> None:
    rng, style = plan.rng, plan.style
    turn = long_axis(piece) + float(rng.normal(0.0, 0.04))
    kind = rng.choice(("crop", "ploughed", "meadow", "orchard", "fallow"), p=(0.48, 0.17, 0.16, 0.1, 0.09))
    rgb = plan.pick(style.crop_rgb)
    if kind == "crop":
        other = plan.shade(rgb, 0.15) if rng.uniform() < 0.5 else plan.shade(style.soil_rgb)
        plan.ground(
            piece,
            Material.CROP,
            rgb,
            Rows(turn, float(rng.choice((0.8, 1.2, 1.8, 3.0, 6.0))), other, float(rng.uniform(0.25, 0.8)), float(rng.uniform(0.05, 0.3))),
        )
    elif kind == "ploughed":
        plan.ground(
            piece,
            Material.SOIL,
            plan.shade(style.soil_rgb, 0.1),
            Rows(turn, float(rng.uniform(0.8, 2.5)), plan.shade(style.soil_rgb, 0.2), 0.5, 0.15),
        )
    elif kind == "orchard":
        lawn(plan, piece)
        _tree_rows(plan, piece, turn)
    elif kind == "meadow":
        lawn(plan, piece, mown=rng.uniform() < 0.5)
        plan.trees_in(piece, int(rng.integers(0, 6)), (1.0, 4.5))
    else:
        plan.ground(piece, Material.SOIL, plan.shade(style.soil_rgb))
        plan.trees_in(piece, int(piece.area / 90.0 * style.trees), (0.5, 1.4))
    if rng.uniform() < 0.3:
        for x, y in points_inside(rng, piece, int(rng.integers(1, 4))):
            bare = blob(rng, float(x), float(y), float(rng.uniform(2.0, 7.0)), 1.6).intersection(piece)
            plan.ground(bare, Material.SOIL, plan.shade(style.soil_rgb))


def _tree_rows(plan: Plan, piece: Polygon, turn: float) -> None:
    rng = plan.rng
    step_u, step_v, radius = float(rng.uniform(3.0, 6.0)), float(rng.uniform(4.0, 7.5)), float(rng.uniform(1.0, 2.2))
    along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
    centre, reach, inner = piece.centroid, math.sqrt(piece.area) * 2.0, piece.buffer(-1.5)
    u, v = np.meshgrid(np.arange(-reach, reach, step_u), np.arange(-reach, reach, step_v))
    spots = np.array([centre.x, centre.y]) + u.reshape(-1, 1) * along + v.reshape(-1, 1) * across + rng.normal(0.0, 0.25, (u.size, 2))
    for x, y in spots[shapely.contains_xy(inner, spots[:, 0], spots[:, 1])]:
        if rng.uniform() < 0.94:
            plan.tree(float(x), float(y), radius * float(rng.uniform(0.8, 1.2)), "broadleaf")


def wood(plan: Plan, block: Polygon, density: float) -> None:
    """Trees crown to crown, with clearings."""
    rng, style = plan.rng, plan.style
    lawn(plan, block)
    open_to = block
    for x, y in points_inside(rng, block, int(rng.integers(0, 4))):
        open_to = open_to.difference(blob(rng, float(x), float(y), float(rng.uniform(6.0, 16.0))))
    for part in polygons_of(open_to, 20.0):
        plan.trees_in(part, int(part.area / (24.0 + 50.0 * style.dryness)), (1.6, 4.8))
    _path(plan, block)


def _path(plan: Plan, block: Polygon) -> None:
    """Wear one winding path across a block."""
    rng = plan.rng
    x0, y0, x1, y1 = block.bounds
    ends = np.stack([rng.uniform((x0, y0), (x1, y1)) for _ in range(4)])
    t = np.linspace(0.0, 1.0, 40)[:, None]
    curve = (1 - t) ** 3 * ends[0] + 3 * t * (1 - t) ** 2 * ends[1] + 3 * t**2 * (1 - t) * ends[2] + t**3 * ends[3]
    rgb = plan.shade(plan.style.lane_rgb if rng.uniform() < 0.6 else plan.style.paving_rgb)
    for part in polygons_of(LineString(curve).buffer(float(rng.uniform(0.5, 1.4))).intersection(block), 3.0):
        plan.ground(part, Material.SOIL, rgb)


def park(plan: Plan, block: Polygon, density: float) -> None:
    """Lawns, paths, trees in groups, a pond or a paved round."""
    rng, style = plan.rng, plan.style
    lawn(plan, block, mown=rng.uniform() < 0.3)
    for _ in range(int(rng.integers(1, 5))):
        _path(plan, block)
    taken = Polygon()
    for x, y in points_inside(rng, block.buffer(-9.0), 1):
        radius = float(rng.uniform(5.0, min(22.0, 6.0 + math.sqrt(block.area) / 7.0)))
        shape = blob(rng, float(x), float(y), radius, float(rng.uniform(1.0, 1.7)))
        if rng.uniform() < 0.65 and block.contains(shape):
            plan.ground(shape.buffer(1.2), Material.SOIL, plan.shade(style.soil_rgb))
            plan.ground(shape, Material.WATER, plan.shade(style.water_rgb))
            plan.ponds.append(shape)
            taken = shape.buffer(2.5)
        elif rng.uniform() < 0.6:
            plan.ground(
                Point(x, y).buffer(radius * 0.7),
                Material.PAVING,
                plan.shade(style.paving_rgb),
                Rows(0.0, 2.0, plan.shade(style.paving_rgb, 0.15), 0.5, 0.0),
            )
    for x, y in points_inside(rng, block, int(rng.integers(2, 9))):
        clump = blob(rng, float(x), float(y), float(rng.uniform(4.0, 14.0))).intersection(block).difference(taken)
        for part in polygons_of(clump, 10.0):
            plan.trees_in(part, int(part.area / 40.0), (1.5, 5.0))
    for part in polygons_of(block.difference(taken), 10.0):
        plan.trees_in(part, int(part.area / 350.0 * style.trees), (1.0, 5.5))


def sports(plan: Plan, block: Polygon, density: float) -> None:
    """A pitch with its lines, or courts; a lawn around."""
    rng, style = plan.rng, plan.style
    lawn(plan, block)
    turn = long_axis(block)
    for x, y in points_inside(rng, block, 9):
        pitch = rng.uniform() < 0.35
        half_long, half_short = (float(rng.uniform(25.0, 48.0)), 0.0) if pitch else (float(rng.uniform(7.0, 12.5)), 0.0)
        half_short = half_long * float(rng.uniform(0.5, 0.68))
        area = rectangle(float(x), float(y), half_long + 2.0, half_short + 2.0, turn)
        if not block.contains(area):
            continue
        green = plan.shade(style.grass_rgb)
        rgb = green if pitch else plan.shade(_COURT_RGB[int(rng.integers(len(_COURT_RGB)))], 0.12)
        bands = Rows(turn + math.pi / 2.0, float(rng.uniform(8.0, 12.0)), plan.shade(green, 0.12), 0.8, 0.0) if pitch else None
        plan.ground(area, Material.GRASS if pitch else Material.PAVING, rgb, bands)
        _pitch_lines(plan, float(x), float(y), half_long, half_short, turn)
        block = max(polygons_of(block.difference(area.buffer(3.0))), key=lambda part: part.area, default=Polygon())
        if block.is_empty:
            return
    plan.trees_in(block, int(block.area / 160.0 * style.trees), (1.4, 4.5))


def _pitch_lines(plan: Plan, x: float, y: float, half_long: float, half_short: float, turn: float) -> None:
    white, width = (226.0, 226.0, 220.0), 0.09
    frame = rectangle(x, y, half_long, half_short, turn)
    dx, dy = -math.sin(turn) * half_short, math.cos(turn) * half_short
    for line in (frame.exterior, LineString([(x - dx, y - dy), (x + dx, y + dy)]), Point(x, y).buffer(half_short * 0.26).exterior):
        plan.ground_overlay(line.buffer(width), Material.MARKING, white)
    for side in (-1.0, 1.0):
        reach = half_long * 0.33 / 2.0
        cx, cy = x + side * (half_long - reach) * math.cos(turn), y + side * (half_long - reach) * math.sin(turn)
        plan.ground_overlay(rectangle(cx, cy, reach, half_short * 0.55, turn).exterior.buffer(width), Material.MARKING, white)


def farm(plan: Plan, block: Polygon, density: float) -> None:
    """Fields with a yard: a house, barns, a silo and some trees."""
    rng, style = plan.rng, plan.style
    fields(plan, block, density)
    for x, y in points_inside(rng, block.buffer(-18.0), 2):
        ground = blob(rng, float(x), float(y), float(rng.uniform(14.0, 20.0)))
        if not block.contains(ground):
            continue
        plan.ground(ground, Material.SOIL, plan.shade(style.soil_rgb))
        lot = Lot(plan, ground)
        turn = long_axis(block) + float(rng.normal(0.0, 0.2))
        for spot in points_inside(rng, ground, 12):
            if rng.uniform() < 0.55:
                kind = draw_house_type(plan)
            else:
                kind = resized(hall_type(plan, 18.0, 9.0), float(rng.uniform(10.0, 24.0)), float(rng.uniform(7.0, 12.0)))
            lot.build(house(plan, kind, float(spot[0]), float(spot[1]), turn + float(rng.choice((0.0, math.pi / 2.0)))), 2.5)
        for spot in points_inside(rng, ground, 2):
            silo = Wing(float(spot[0]), float(spot[1]), 2.6, 2.6, 0.0, float(rng.uniform(5.0, 11.0)), "dome")
            lot.build(make_building(plan, [silo], "metal", plan.shade((190.0, 190.0, 186.0)), (180.0, 180.0, 178.0)), 1.0)
        plan.trees_in(ground, int(rng.integers(2, 14)), (1.5, 4.5))


def square(plan: Plan, block: Polygon, density: float) -> None:
    """A paved square with a pattern, trees in line and, now and then, one large building."""
    rng, style = plan.rng, plan.style
    turn = long_axis(block)
    plan.ground(
        block,
        Material.PAVING,
        plan.shade(style.paving_rgb),
        Rows(turn, float(rng.uniform(1.5, 6.0)), plan.shade(style.paving_rgb, 0.15), 0.5, 0.0),
    )
    lot = Lot(plan, block.buffer(-3.0))
    scale = min(40.0, math.sqrt(block.area) * 0.6)
    for x, y in points_inside(rng, block, 8):
        if rng.uniform() < 0.5:
            nave = resized(draw_house_type(plan, 1.0, (3, 4)), scale, scale * 0.42)
            if lot.build(house(plan, nave, float(x), float(y), turn, 0.0), 4.0):
                break
    for edge in polygons_of(block.buffer(-3.5), 60.0):
        for at in np.arange(0.0, edge.exterior.length, float(rng.uniform(6.0, 11.0))):
            spot = edge.exterior.interpolate(at)
            if rng.uniform() < 0.6:
                plan.tree(spot.x, spot.y, float(rng.uniform(1.6, 3.0)))
