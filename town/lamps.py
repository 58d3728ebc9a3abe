"""Street lamps: where they stand along the streets, and the small marks that they make on the layers."""

from __future__ import annotations

import math

import numpy as np
from shapely import LineString

from crossgeo.town.canvas import Canvas
from crossgeo.town.plan import Lamp, Material, Plan

_PAINTS = ((74.0, 80.0, 78.0), (120.0, 122.0, 122.0), (58.0, 60.0, 64.0), (150.0, 148.0, 140.0))


def draw_lamps(plan: Plan, canvas: Canvas, rng: np.random.Generator) -> list[Lamp]:
    """Set lamps beside the streets of a town, off carriageways, walls and roofs."""
    rgb = _PAINTS[int(rng.integers(len(_PAINTS)))]
    tall, reach, step = float(rng.uniform(4.5, 8.5)), float(rng.choice((0.35, 0.8, 1.5))), float(rng.uniform(22.0, 38.0))
    offset = min(0.6, 0.35 + 0.2 * plan.style.sidewalk_m)
    lamps = []
    for line, width_m in plan.lanes:
        if rng.uniform() < 0.85:
            for x, y, angle in _spots(line, width_m, step * float(rng.uniform(0.8, 1.2)), offset):
                if _free(canvas, x, y):
                    lamps.append(Lamp(x, y, tall, reach, angle, rgb))
    return lamps


def _spots(line: LineString, width_m: float, step_m: float, offset_m: float) -> list[tuple[float, float, float]]:
    """Return (x, y, angle of the arm) on alternate sides of a street."""
    spots = []
    for k, at in enumerate(np.arange(step_m * 0.4, line.length - 4.0, step_m)):
        here, ahead = line.interpolate(at), line.interpolate(at + 0.5)
        dx, dy = ahead.x - here.x, ahead.y - here.y
        norm = math.hypot(dx, dy)
        if norm > 1e-6:
            side, off = (1.0 if k % 2 else -1.0), width_m / 2.0 + offset_m
            spots.append((here.x - dy / norm * side * off, here.y + dx / norm * side * off, math.atan2(-dx * side, dy * side)))
    return spots


def _free(canvas: Canvas, x: float, y: float) -> bool:
    """Say whether a spot is bare ground beside the carriageway; past the canvas nothing is known to be in the way."""
    column, row = int(x / canvas.gsd_m), int((canvas.size_m - y) / canvas.gsd_m)
    if not (1 <= column < canvas.side - 1 and 1 <= row < canvas.side - 1):
        return True
    part = (slice(row - 1, row + 2), slice(column - 1, column + 2))
    return bool(
        (canvas.height[part] < 0.2).all() and (canvas.material[row, column] not in (Material.ROAD, Material.MARKING, Material.WATER))
    )


def raise_lamp(canvas: Canvas, lamp: Lamp) -> None:
    """Put the pole and the head of a lamp into the layers."""
    ca, sa = math.cos(lamp.angle), math.sin(lamp.angle)
    steps = np.arange(0.0, lamp.reach_m + 0.34, 0.5 * canvas.gsd_m)
    px = np.floor(canvas.pixels(np.stack([lamp.x + ca * steps, lamp.y + sa * steps], 1)) + 0.5).astype(int)
    for (column, row), along in zip(px, steps, strict=True):
        if 0 <= column < canvas.side and 0 <= row < canvas.side and lamp.height_m > canvas.height[row, column]:
            head = along > lamp.reach_m - 0.34
            canvas.albedo[row, column] = (205, 205, 205) if head else [round(c) for c in lamp.rgb]
            canvas.material[row, column] = Material.WALL
            canvas.height[row, column] = lamp.height_m
