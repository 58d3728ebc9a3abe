"""Cars as triangles: bodies lofted from a side view, with cabins of glass, wheels and lights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from crossgeo.town.noise import Float32
from crossgeo.town.plan import Car
from crossgeo.town.triangles import Kind, Soup, Surface, quads

_GLASS, _TYRE, _TRIM = (26.0, 30.0, 36.0), (24.0, 24.0, 25.0), (44.0, 45.0, 47.0)


@dataclass(frozen=True)
class _Model:
    """A car of length, width and height 1, front at +0.5; NaN colours stand for its paint."""

    corners: Float32  # (N, 3, 3)
    surface: np.ndarray  # (N,)
    rgb: Float32  # (N, 3)


def _loft(low: list[tuple[float, float]], high: list[tuple[float, float]], wide: tuple[float, float]) -> Float32:
    """Return both sides and the strip between two outlines (x, z) of equal length; `wide` are their half widths."""
    a, b = (np.array([(x, 0.0, z) for x, z in ring]) for ring in (low, high))
    left, right = np.array([0.0, 1.0, 0.0]), np.array([0.0, -1.0, 0.0])
    parts = [
        quads(a[:-1] + side * wide[0], a[1:] + side * wide[0], b[1:] + side * wide[1], b[:-1] + side * wide[1]) for side in (left, right)
    ]
    parts.append(quads(b[:-1] + left * wide[1], b[1:] + left * wide[1], b[1:] + right * wide[1], b[:-1] + right * wide[1]))
    for k in (0, -1):
        parts.append(quads(a[k] + left * wide[0], b[k] + left * wide[1], b[k] + right * wide[1], a[k] + right * wide[0]))
    return np.concatenate(parts)


def _wheel(x: float, side: float, radius: float, height: float) -> Float32:
    phi = np.linspace(0.0, 2.0 * np.pi, 11)
    ring = np.stack([x + radius * np.cos(phi), np.full(11, side * 0.492), (radius * height) * (1.0 + np.sin(phi))], 1)
    middle = np.broadcast_to([x, side * 0.5, radius * height], (10, 3))
    return np.stack([ring[:-1], ring[1:], middle], 1).astype(np.float32)


def _plate(x: float, y0: float, y1: float, z0: float, z1: float) -> Float32:
    return quads([x, y0, z0], [x, y1, z0], [x, y1, z1], [x, y0, z1])


@lru_cache(maxsize=8)
def _model(kind: str) -> _Model:
    corners: list[Float32] = []
    surface: list[int] = []
    rgb: list[tuple[float, float, float]] = []

    def put(part: Float32, of: Surface, colour: tuple[float, float, float] = (np.nan,) * 3) -> None:
        corners.append(part)
        surface.extend([of] * len(part))
        rgb.extend([colour] * len(part))

    if kind in ("bus", "van"):
        front = 0.5 if kind == "bus" else 0.44
        low = [(-0.5, 0.12), (-0.3, 0.1), (0.3, 0.1), (0.5, 0.13)]
        waist = [(-0.5, 0.5), (-0.3, 0.5), (0.3, 0.5), (0.5 if kind == "bus" else 0.49, 0.46)]
        top = [(-0.495, 0.93), (-0.3, 0.97), (0.24, 0.97), (front - 0.16 if kind == "van" else 0.475, 0.93)]
        put(_loft(low, waist, (0.5, 0.5)), Surface.PAINT)
        glass = [(-0.47 if kind == "bus" else 0.1, 0.52), (-0.3 if kind == "bus" else 0.14, 0.52), (0.3, 0.52), (0.485, 0.5)]
        glass_top = [
            (-0.46 if kind == "bus" else 0.1, 0.8),
            (-0.3 if kind == "bus" else 0.14, 0.82),
            (0.26, 0.82),
            (front - 0.07 if kind == "van" else 0.48, 0.82),
        ]
        put(_loft(waist, top, (0.5, 0.47)), Surface.PAINT)
        put(_loft(glass, glass_top, (0.504, 0.487)), Surface.GLASS, _GLASS)
        wheels, radius = (-0.32, 0.32), 0.042 if kind == "bus" else 0.064
        tall = 3.6 if kind == "bus" else 2.45
    else:
        rear = {"hatch": -0.47, "sedan": -0.27, "wagon": -0.49}[kind]
        low = [(-0.5, 0.2), (-0.3, 0.13), (0.3, 0.13), (0.5, 0.18)]
        waist = [(-0.495, 0.58), (-0.3, 0.6), (0.22, 0.57), (0.49, 0.44)]
        put(_loft(low, waist, (0.49, 0.49)), Surface.PAINT)
        sill = [(rear - 0.02, 0.585), (-0.15, 0.6), (0.1, 0.59), (0.24, 0.56)]
        roof = [(rear + 0.13, 0.93), (-0.12, 1.0), (0.02, 0.99), (0.05, 0.97)]
        put(_loft(sill, roof, (0.475, 0.38)), Surface.GLASS, _GLASS)
        roof_ends = [(rear + 0.12, 0.945), (-0.12, 1.003), (0.02, 0.995), (0.06, 0.965)]
        put(_loft([(x, z - 0.045) for x, z in roof_ends], roof_ends, (0.395, 0.382)), Surface.PAINT)
        for x in (-0.06, rear + 0.06):
            for side in (-1.0, 1.0):
                put(
                    quads(
                        [x - 0.014, side * 0.478, 0.58],
                        [x + 0.014, side * 0.478, 0.58],
                        [x + 0.03, side * 0.39, 0.96],
                        [x, side * 0.39, 0.96],
                    ),
                    Surface.PAINT,
                )
        wheels, radius, tall = (-0.3, 0.31), 0.074, 2.75
    for x in wheels:
        for side in (-1.0, 1.0):
            put(_wheel(x, side, radius, tall), Surface.PLAIN, _TYRE)
            put(
                _wheel(x, side * 1.01, radius * 0.58, tall) + np.array((0.0, 0.0, radius * tall * 0.42), np.float32),
                Surface.PLAIN,
                (128.0, 130.0, 132.0),
            )
    for side in (-1.0, 1.0):
        put(_plate(0.502, side * 0.25, side * 0.46, 0.34, 0.44), Surface.GLASS, (196.0, 198.0, 196.0))
        put(_plate(-0.503, side * 0.27, side * 0.46, 0.4, 0.52), Surface.PLAIN, (130.0, 20.0, 18.0))
    put(_plate(0.503, -0.2, 0.2, 0.2, 0.34), Surface.PLAIN, _TRIM)
    put(_plate(-0.504, -0.14, 0.14, 0.3, 0.39), Surface.PLAIN, (206.0, 204.0, 190.0))
    return _Model(np.concatenate(corners), np.asarray(surface, np.uint8), np.asarray(rgb, np.float32))


def _kind_of(car: Car) -> str:
    if car.height_m > 2.3:
        return "bus"
    if car.height_m > 2.0:
        return "van"
    return ("hatch", "sedan", "wagon")[int(car.length_m * 1000.0) % 3]


def add_cars(soup: Soup, cars: Sequence[Car]) -> None:
    """Add cars to a soup."""
    groups: dict[str, list[int]] = {}
    for k, car in enumerate(cars):
        groups.setdefault(_kind_of(car), []).append(k)
    for kind, members in sorted(groups.items()):
        model = _model(kind)
        facts = np.array([(cars[k].x, cars[k].y, cars[k].angle, cars[k].length_m, cars[k].width_m, cars[k].height_m) for k in members])
        x, y, angle, length, width, height = (column[:, None, None] for column in facts.T)
        u, v, z = model.corners[None, ..., 0] * length, model.corners[None, ..., 1] * width, model.corners[None, ..., 2] * height
        ca, sa = np.cos(angle), np.sin(angle)
        corners = np.stack([x + u * ca - v * sa, y + u * sa + v * ca, z], -1)
        paint = np.array([cars[k].rgb for k in members], np.float32)[:, None, :]
        rgb = np.where(np.isnan(model.rgb)[None], paint, model.rgb[None])
        owner = np.repeat(np.asarray(members), len(model.corners))
        soup.add(corners, Kind.CAR, owner, np.tile(model.surface, len(members)), rgb.reshape(-1, 3))
