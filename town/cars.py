"""Cars: their sizes and paints, and those that are left standing for weeks."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossgeo.town.plan import Car

_PAINTS = (
    (214, 214, 212),
    (40, 41, 44),
    (128, 130, 134),
    (176, 178, 180),
    (150, 34, 32),
    (44, 66, 116),
    (196, 186, 164),
    (60, 84, 66),
    (226, 226, 224),
)
_LEFT_SHARE = 0.06  # of slots


def draw_left_cars(seed: int, slots: NDArray[np.float64]) -> tuple[tuple[int, Car], ...]:
    """Draw the cars that nobody moves for weeks, each with the number of its slot (N, 4): they are where the orthophoto shows them."""
    rng = np.random.default_rng([seed, 97])
    return tuple((slot, parked_car(rng, slots[slot])) for slot in np.flatnonzero(rng.uniform(size=len(slots)) < _LEFT_SHARE).tolist())


def parked_car(rng: np.random.Generator, slot: NDArray[np.float64]) -> Car:
    """Draw a car in a slot (x, y, angle, ...)."""
    x, y, angle = (float(value) for value in slot[:3])
    return draw_car(rng, x + rng.normal(0.0, 0.12), y + rng.normal(0.0, 0.12), angle + rng.normal(0.0, 0.03), False)


def draw_car(rng: np.random.Generator, x: float, y: float, angle: float, driving: bool) -> Car:
    """Draw a car, van or bus at a place; only those that drive may be buses."""
    paint = _PAINTS[int(rng.integers(len(_PAINTS)))]
    if driving and rng.uniform() < 0.1:
        return Car(x, y, angle, float(rng.uniform(6.5, 11.5)), 2.4, float(rng.uniform(2.6, 3.2)), paint)
    if rng.uniform() < 0.1:
        return Car(x, y, angle, float(rng.uniform(4.8, 5.5)), 1.95, 2.1, paint)
    return Car(x, y, angle, float(rng.uniform(3.7, 4.8)), float(rng.uniform(1.65, 1.85)), float(rng.uniform(1.4, 1.7)), paint)
