"""Cars: which stand in their slots and which drive, drawn anew for every picture."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crossgeo.town.canvas import Layers
from crossgeo.town.cars import draw_car, parked_car
from crossgeo.town.layout import Town
from crossgeo.town.noise import Float32
from crossgeo.town.plan import Car, Material

_DRIVING_PER_M = 1.0 / 85.0


def draw_cars(town: Town, traffic_seed: int) -> list[Car]:
    """Draw the cars of one moment, those that are left standing first; the same seed gives the same cars."""
    rng = np.random.default_rng([town.seed, traffic_seed, 99])
    left = dict(town.left_cars)
    cars = list(left.values())
    present = rng.uniform(size=len(town.car_slots)) < town.car_slots[:, 3]
    for slot in np.flatnonzero(present).tolist():
        car = parked_car(rng, town.car_slots[slot])
        if slot not in left:
            cars.append(car)
    for line, width_m in town.lanes:
        for at in rng.uniform(0.0, line.length, rng.poisson(line.length * _DRIVING_PER_M)):
            here, ahead = line.interpolate(at), line.interpolate(min(at + 1.0, line.length))
            dx, dy = ahead.x - here.x, ahead.y - here.y
            if (norm := math.hypot(dx, dy)) < 1e-6:
                continue
            side = -1.0 if rng.uniform() < 0.5 else 1.0
            x, y = here.x - dy / norm * side * width_m * 0.22, here.y + dx / norm * side * width_m * 0.22
            cars.append(draw_car(rng, x, y, math.atan2(dy, dx) + (math.pi if side > 0 else 0.0), True))
    return cars


def park_cars(
    cars: list[Car],
    layers: Layers,
    size_m: float,
    corner: tuple[int, int],
    albedo: NDArray[np.uint8],
    material: NDArray[np.uint8],
    height: Float32,
) -> None:
    """Paint cars into writable copies of a window of the layers that starts at row, column `corner`."""
    gsd_m, (rows, cols) = layers.gsd_m, height.shape
    for car in cars:
        reach = math.hypot(car.length_m, car.width_m) / 2.0 + gsd_m
        row, col = (size_m - car.y) / gsd_m - corner[0], car.x / gsd_m - corner[1]
        r0, r1 = max(0, int(row - reach / gsd_m)), min(rows, int(row + reach / gsd_m) + 1)
        c0, c1 = max(0, int(col - reach / gsd_m)), min(cols, int(col + reach / gsd_m) + 1)
        if r0 >= r1 or c0 >= c1:
            continue
        dx = (np.arange(c0, c1, dtype=np.float32)[None, :] + 0.5 - col) * gsd_m
        dy = (row - 0.5 - np.arange(r0, r1, dtype=np.float32)[:, None]) * gsd_m
        ca, sa = math.cos(car.angle), math.sin(car.angle)
        u, v = np.abs(dx * ca + dy * sa + 0.04 * car.length_m), np.abs(dy * ca - dx * sa)
        forward = dx * ca + dy * sa
        half_long, half_wide = car.length_m / 2.0, car.width_m / 2.0
        body = (np.clip((half_long - np.abs(forward)) / gsd_m + 0.5, 0.0, 1.0) * np.clip((half_wide - v) / gsd_m + 0.5, 0.0, 1.0)).astype(
            np.float32
        )
        cabin = (u < half_long * (0.93 if car.height_m > 2.0 else 0.56)) & (v < half_wide * 0.92)
        roof = (u < half_long * (0.86 if car.height_m > 2.0 else 0.36)) & (v < half_wide * 0.8)
        box = (slice(r0, r1), slice(c0, c1))
        weight = np.where(height[box] < car.height_m, body, 0.0)[..., None]
        rgb = np.empty((*body.shape, 3), np.float32)
        rgb[:] = car.rgb
        rgb[cabin & ~roof] = (34.0, 38.0, 44.0)
        albedo[box] = (albedo[box] * (1.0 - weight) + rgb * weight).astype(np.uint8)
        solid = (body >= 0.5) & (height[box] < car.height_m)
        np.copyto(material[box], np.uint8(Material.VEHICLE), where=solid)
        np.copyto(height[box], np.where(cabin, car.height_m, car.height_m * 0.62).astype(np.float32), where=solid)
