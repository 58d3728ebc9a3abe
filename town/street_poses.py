"""Where a person or a car with a camera can stand: on carriageways, pavements, squares and paths, off walls, trees and parked cars."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
from numpy.typing import NDArray
from shapely import LineString

from crossgeo.errors import UsageError
from crossgeo.town.layout import Town
from crossgeo.town.plan import Material
from crossgeo.town.street_camera import StreetPose

_CLEAR_M = 1.3  # from anything taller than a kerb
_SLOT_CLEAR_M = 2.0  # from the middle of a parking slot
_EDGE_M = 1.0
_DRIVEN = 0.65  # share of poses on carriageways, where most street imagery is taken
STEP_M = 5.0  # of CVACT's dense test
_TRIGGER_M = 0.25  # a moving car's camera goes off as far from its step; exact steps would leave it to rounding who is within 5 m of whom
_KEPT_SIDE = 0.15  # how far off the middle a car drives, in widths of the carriageway
_RIM_M = 80.0  # CVACT's aerials show 72 m on each side, and turned to true north need 76 m


def draw_street_poses(town: Town, count: int, rng: np.random.Generator) -> Iterator[StreetPose]:
    """Yield poses of cameras 1.5 to 3 m up: two thirds drive along streets, the others stand where people walk.

    Raises UsageError where a town has nowhere to stand.
    """
    spare = _standing_room(town)
    lanes = [(line, width_m) for line, width_m in town.lanes if line.length > 4.0]
    weights = np.array([line.length for line, _ in lanes])
    rows, columns = np.nonzero(spare.free)
    if len(rows) == 0:
        raise UsageError(f"town {town.seed} of {town.size_m:g} m has no street or path to stand on")
    for _ in range(count):
        pose = None
        if lanes and rng.uniform() < _DRIVEN:
            for _ in range(20):
                line, width_m = lanes[int(rng.choice(len(lanes), p=weights / weights.sum()))]
                at = float(rng.uniform(0.0, line.length - 1.0))
                side = float(rng.choice((-1.0, 1.0))) * width_m * float(rng.uniform(0.05, 0.3))
                x, y, heading = _on_lane(line, at, side)
                if spare.holds(x, y):
                    turn = 180.0 if side < 0.0 else 0.0
                    pose = _pose(rng, x, y, heading + turn + float(rng.normal(0.0, 3.0)), True)
                    break
        if pose is None:
            k = int(rng.integers(len(rows)))
            x = (columns[k] + float(rng.uniform())) * spare.step_m
            y = town.size_m - (rows[k] + float(rng.uniform())) * spare.step_m
            pose = _pose(rng, x, y, float(rng.uniform(0.0, 360.0)), False)
        yield pose


def dense_street_poses(town: Town, count: int, rng: np.random.Generator, rim_m: float = _RIM_M) -> list[list[StreetPose]]:
    """Return the poses of a camera car every 5 m along the streets of one corner of a town, as a list for each stretch without a gap.

    They are the `count` nearest to a corner, drawn, of the ground that lies `rim_m` within the town's edge: a square, so that most of the
    town shows none of it. Raises UsageError where there are fewer.
    """
    if count == 0:
        return []
    spare, height_m = _standing_room(town), float(rng.uniform(2.0, 3.0))
    low, high = rim_m, town.size_m - rim_m
    corner_x, corner_y = (float(v) for v in rng.choice((low, high), 2))
    steps: list[tuple[int, int, StreetPose]] = []  # number of the lane and of the step along it
    for lane, (line, width_m) in enumerate(town.lanes):
        many = int(line.length / STEP_M)
        start = (line.length - (many - 1) * STEP_M) / 2.0
        for step in range(many):
            at = start + step * STEP_M + float(rng.uniform(-_TRIGGER_M, _TRIGGER_M))
            x, y, heading = _on_lane(line, at, _KEPT_SIDE * width_m)
            if low <= x <= high and low <= y <= high and spare.holds(x, y):
                pose = _pose(rng, x, y, heading + float(rng.normal(0.0, 3.0)), True)
                steps.append((lane, step, replace(pose, height_m=height_m)))
    if len(steps) < count:
        raise UsageError(
            f"town {town.seed} of {town.size_m:g} m has {len(steps)} places every {STEP_M:g} m of its streets, {rim_m:g} m and more from "
            f"its edge, and not {count}; ask for fewer dense panoramas or for a larger town"
        )
    steps.sort(key=lambda found: max(abs(found[2].x - corner_x), abs(found[2].y - corner_y)))
    stretches: list[list[StreetPose]] = []
    last = (-1, -1)
    for lane, step, pose in sorted(steps[:count], key=lambda found: found[:2]):
        if last != (lane, step - 1):
            stretches.append([])
        stretches[-1].append(pose)
        last = (lane, step)
    return stretches


def _on_lane(line: LineString, at_m: float, side_m: float) -> tuple[float, float, float]:
    """Return x, y and the heading of the lane at a place along it, `side_m` to the right of its middle."""
    here, ahead = line.interpolate(at_m), line.interpolate(at_m + 1.0)
    heading_deg = math.degrees(math.atan2(ahead.x - here.x, ahead.y - here.y))
    heading = math.radians(heading_deg)
    return here.x + math.cos(heading) * side_m, here.y - math.sin(heading) * side_m, heading_deg


def _pose(rng: np.random.Generator, x: float, y: float, heading_deg: float, driven: bool) -> StreetPose:
    height_m = float(rng.uniform(2.0, 3.0)) if driven else float(rng.uniform(1.5, 2.1))
    shake = 0.8 if driven else 1.6
    return StreetPose(float(x), float(y), height_m, heading_deg % 360.0, float(rng.normal(0.0, shake)), float(rng.normal(0.0, shake)))


class _Room:
    """Cells of a town that have room for a camera."""

    def __init__(self, free: NDArray[np.bool_], step_m: float, size_m: float) -> None:
        self.free, self.step_m, self.size_m = free, step_m, size_m

    def holds(self, x: float, y: float) -> bool:
        column, row = int(x / self.step_m), int((self.size_m - y) / self.step_m)
        side = self.free.shape[0]
        return bool(x >= 0.0 and y <= self.size_m and 0 <= column < side and 0 <= row < side and self.free[row, column])


def _standing_room(town: Town) -> _Room:
    layers = town.layers
    side = max(8, round(town.size_m / 0.5))
    step = town.size_m / side
    walked = np.isin(layers.ground_material, (Material.ROAD, Material.PAVING, Material.MARKING)).astype(np.uint8)
    ground = np.asarray(cv2.resize(walked.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)) > 0.99
    crowns = np.isin(layers.material, (Material.BROADLEAF, Material.EVERGREEN))
    tall = np.where(crowns & (layers.height > 2.6), 0.0, layers.height).astype(np.float32)
    height = np.asarray(cv2.resize(tall, (side, side), interpolation=cv2.INTER_AREA), np.float32)
    taken = (height > 0.2).astype(np.uint8)
    for tree in town.trees:
        _mark(taken, tree.x, tree.y, town.size_m, step)
    away = np.asarray(cv2.distanceTransform(1 - taken, cv2.DIST_L2, 3), np.float32) * np.float32(step)
    slots = np.zeros_like(taken)
    for x, y, _, _ in town.car_slots:
        _mark(slots, float(x), float(y), town.size_m, step)
    parked = np.asarray(cv2.distanceTransform(1 - slots, cv2.DIST_L2, 3), np.float32) * np.float32(step)
    free = np.asarray(ground & (away > _CLEAR_M) & (parked > _SLOT_CLEAR_M))
    rim = max(1, round(_EDGE_M / step))
    inner = np.zeros_like(free)
    inner[rim:-rim, rim:-rim] = free[rim:-rim, rim:-rim]
    return _Room(inner, step, town.size_m)


def _mark(cells: NDArray[np.uint8], x: float, y: float, size_m: float, step_m: float) -> None:
    column, row = int(x / step_m), int((size_m - y) / step_m)
    if 0 <= column < cells.shape[1] and 0 <= row < cells.shape[0]:
        cells[row, column] = 1
