"""The cars of one moment, ready for rays, and the dark ground beneath them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.geometry import rectangle
from crossgeo.town.noise import Float32
from crossgeo.town.plan import Car
from crossgeo.town.street_cars import add_cars
from crossgeo.town.triangles import Caster, Soup, Triangles

_CELL_M = 0.25
_CAMERA_CLEAR_M = 0.8


@dataclass(frozen=True)
class Traffic:
    """The cars of one traffic seed; owners count in `cars`."""

    cars: tuple[Car, ...]
    triangles: Triangles
    caster: Caster
    contact: NDArray[np.uint8]  # (H, W) how much of each cell of the ground lies under cars, 0..255; row 0 in the south

    def first(self, origins: Float32, directions: Float32, far_m: Float32) -> tuple[NDArray[np.int32], Float32, Float32]:
        """Return the first triangles met, as the caster does; rays from in or beside a car pass that car."""
        met, t, normal = self.caster.first(origins, directions, far_m)
        own = self.cars_at(float(origins[0, 0]), float(origins[0, 1])) if len(origins) else ()
        again = np.flatnonzero((met >= 0) & np.isin(self.triangles.owner[met], own)) if own else np.empty(0, np.int64)
        while len(again):
            gone = t[again] + np.float32(1e-3)
            ray = directions[again]
            found, more, other = self.caster.first(
                origins[again] + ray * gone[:, None], ray, np.maximum(far_m[again] - gone, np.float32(0.0))
            )
            met[again], normal[again] = found, other
            t[again] = np.where(found >= 0, gone + more, far_m[again])
            again = again[(found >= 0) & np.isin(self.triangles.owner[found], own)]
        return met, t, normal

    def shade_at(self, p: Float32) -> Float32:
        """Return how much of the sky cars take from (N, 3) points of the ground, 0..1."""
        rows, columns = self.contact.shape
        column, row = (p[:, 0] * np.float32(1.0 / _CELL_M)).astype(np.int32), (p[:, 1] * np.float32(1.0 / _CELL_M)).astype(np.int32)
        inside = (column >= 0) & (row >= 0) & (column < columns) & (row < rows)
        under = np.where(inside, self.contact[np.clip(row, 0, rows - 1), np.clip(column, 0, columns - 1)], 0)
        return np.asarray(under * np.float32(0.75 / 255.0), np.float32)

    def cars_at(self, x: float, y: float) -> tuple[int, ...]:
        """Return the numbers of the cars that a point lies in or touches."""
        found = []
        for number, car in enumerate(self.cars):
            dx, dy = x - car.x, y - car.y
            if math.hypot(dx, dy) < 0.5 * car.length_m + 2.0:
                ca, sa = math.cos(car.angle), math.sin(car.angle)
                along, across = abs(dx * ca + dy * sa), abs(dy * ca - dx * sa)
                if along < car.length_m / 2.0 + _CAMERA_CLEAR_M and across < car.width_m / 2.0 + _CAMERA_CLEAR_M:
                    found.append(number)
        return tuple(found)


def build_traffic(cars: Sequence[Car], size_m: float) -> Traffic:
    """Make cars ready for rays."""
    soup = Soup()
    add_cars(soup, cars)
    triangles = soup.triangles()
    side = math.ceil(size_m / _CELL_M)
    contact = np.zeros((side, side), np.uint8)
    for car in cars:
        ring = np.asarray(rectangle(car.x, car.y, car.length_m / 2.0, car.width_m / 2.0, car.angle).exterior.coords)[:4]
        cv2.fillConvexPoly(contact, np.round(ring / _CELL_M * 16.0).astype(np.int32), 255, shift=4)
    return Traffic(tuple(cars), triangles, Caster(triangles.corners), np.asarray(cv2.blur(contact, (3, 3)), np.uint8))
