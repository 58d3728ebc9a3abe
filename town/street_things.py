"""What lines the streets, as triangles: hedges, walls and fences, lamps, kerb stones and the paint of markings."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, Polygon

from crossgeo.town.noise import Float32
from crossgeo.town.plan import Barrier, Fitting, Lamp, Material
from crossgeo.town.triangles import Kind, Soup, Surface, boxes, quads

_HEDGE_STEP_M = 1.3
_PLATES = ((186.0, 40.0, 36.0), (40.0, 80.0, 160.0), (224.0, 222.0, 214.0), (228.0, 190.0, 50.0))
_KERB_RGB = (172.0, 168.0, 160.0)


def _pieces(line: LineString, step_m: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    points = np.asarray(shapely.segmentize(line, step_m).coords)[:, :2]
    keep = np.hypot(*np.diff(points, axis=0).T) > 1e-3
    return points[:-1][keep], points[1:][keep]


def _wall(starts: NDArray[np.float64], ends: NDArray[np.float64], width_m: float, height_m: float) -> Float32:
    run = ends - starts
    length = np.hypot(run[:, 0], run[:, 1])
    middle = (starts + ends) / 2.0
    return boxes(
        middle[:, 0], middle[:, 1], 0.0, height_m, length / 2.0 + width_m / 2.0, width_m / 2.0, np.arctan2(run[:, 1], run[:, 0])
    ).reshape(-1, 3, 3)


def _hedge(rng: np.random.Generator, starts: NDArray[np.float64], ends: NDArray[np.float64], width_m: float, height_m: float) -> Float32:
    """Return a hedge: a rounded row of leaves whose points wander, so that its edge is never straight."""
    line = np.concatenate([starts, ends[-1:]])
    run = np.gradient(line, axis=0) if len(line) > 1 else np.ones_like(line)
    run /= np.maximum(np.hypot(run[:, 0], run[:, 1]), 1e-6)[:, None]
    across = np.stack([-run[:, 1], run[:, 0]], 1)
    profile = ((-0.5, 0.0), (-0.58, 0.55), (-0.36, 0.97), (0.36, 0.97), (0.58, 0.55), (0.5, 0.0))
    rails = []
    for v, z in profile:
        out = v * width_m * (1.0 + rng.normal(0.0, 0.09, len(line)))
        tall = np.maximum(0.0, z * height_m * (1.0 + rng.normal(0.0, 0.07, len(line)) * (z > 0.0)))
        rails.append(np.concatenate([line + across * out[:, None], tall[:, None]], 1))
    sheets = [quads(a[:-1], a[1:], b[1:], b[:-1]) for a, b in itertools.pairwise(rails)]
    caps = [quads(*(rails[k][end] for k in (0, 1, 4, 5))) for end in (0, -1)] + [
        quads(*(rails[k][end] for k in (1, 2, 3, 4))) for end in (0, -1)
    ]
    return np.concatenate([*sheets, *caps])


def add_barriers(soup: Soup, barriers: Sequence[Barrier], seed: int) -> None:
    """Add hedges and walls."""
    rng = np.random.default_rng([seed, 61])
    for index, barrier in enumerate(barriers):
        if barrier.material == Material.WALL:
            starts, ends = _pieces(barrier.line, 1e6)
            if len(starts):
                soup.add(_wall(starts, ends, barrier.width_m, barrier.height_m), Kind.BARRIER, index, Surface.MASONRY, barrier.rgb)
        else:
            starts, ends = _pieces(barrier.line, _HEDGE_STEP_M)
            if len(starts):
                corners = _hedge(rng, starts, ends, barrier.width_m, barrier.height_m)
                rgb = np.asarray(barrier.rgb) * rng.uniform(0.82, 1.1, (len(corners), 1))
                soup.add(corners, Kind.BARRIER, index, Surface.LEAF, rgb)


def add_lamps(soup: Soup, lamps: Sequence[Lamp]) -> None:
    """Add lamps: a pole, an arm and a head."""
    if not lamps:
        return
    x, y, tall, reach, angle = (np.array([getattr(lamp, name) for lamp in lamps]) for name in ("x", "y", "height_m", "reach_m", "angle"))
    owner = np.arange(len(lamps))
    grey = np.array([lamp.rgb for lamp in lamps])
    ca, sa = np.cos(angle), np.sin(angle)

    def put(corners: Float32, rgb: NDArray[np.float64], surface: Surface = Surface.PLAIN) -> None:
        count = corners.shape[1]
        soup.add(corners, Kind.LAMP, np.repeat(owner, count), surface, np.repeat(rgb, count, 0))

    put(boxes(x, y, 0.0, 1.1, 0.09, 0.09, angle), grey * 0.9)
    put(boxes(x, y, 1.1, tall, 0.05, 0.05, angle + 0.5), grey)
    put(boxes(x + ca * reach / 2, y + sa * reach / 2, tall - 0.1, tall - 0.02, reach / 2, 0.035, angle), grey)
    put(boxes(x + ca * reach, y + sa * reach, tall - 0.18, tall, 0.34, 0.14, angle), np.full((len(lamps), 3), 205.0))


def add_fittings(soup: Soup, fittings: Sequence[Fitting]) -> None:
    """Add chimneys, stair heads and tanks to the roofs that they stand on."""
    names = ("x", "y", "low_m", "high_m", "half_long", "half_short", "angle")
    for fitting in fittings:
        corners = boxes(*(getattr(fitting, name) for name in names))[0]
        soup.add(corners, Kind.BUILDING, fitting.building, Surface.PLAIN, fitting.rgb)


def add_signs(soup: Soup, lanes: Sequence[tuple[LineString, float]], seed: int) -> None:
    """Add traffic signs near the ends of streets and, in some towns, poles with wires along them; no one is asked about these."""
    rng = np.random.default_rng([seed, 62])
    wired = rng.uniform() < 0.4
    for line, width_m in lanes:
        if line.length < 25.0:
            continue
        side = width_m / 2.0 + 0.55
        for at, way in ((float(rng.uniform(4.0, 8.0)), 1.0), (line.length - float(rng.uniform(4.0, 8.0)), -1.0)):
            if rng.uniform() < 0.5:
                x, y, angle = _beside(line, at, side * way)
                plate = _PLATES[int(rng.integers(len(_PLATES)))]
                soup.add(boxes(x, y, 0.0, 2.7, 0.03, 0.03, angle)[0], Kind.LAMP, -1, Surface.PLAIN, (128.0, 130.0, 130.0))
                soup.add(boxes(x, y, 2.05, 2.65, 0.02, 0.3, angle)[0], Kind.LAMP, -1, Surface.PLAIN, plate)
        if wired and rng.uniform() < 0.6:
            _add_wires(soup, line, -side, float(rng.uniform(6.0, 8.0)))


def _beside(line: LineString, at_m: float, off_m: float) -> tuple[float, float, float]:
    """Return x, y and the street's direction at a point beside a street, `off_m` to its right."""
    here, ahead = line.interpolate(at_m), line.interpolate(min(at_m + 0.5, line.length))
    angle = float(np.arctan2(ahead.y - here.y, ahead.x - here.x))
    return here.x + off_m * float(np.sin(angle)), here.y - off_m * float(np.cos(angle)), angle


def _add_wires(soup: Soup, line: LineString, off_m: float, tall_m: float) -> None:
    spots = [_beside(line, float(at), off_m) for at in np.arange(6.0, line.length - 3.0, 31.0)]
    for x, y, angle in spots:
        soup.add(boxes(x, y, 0.0, tall_m, 0.1, 0.1, angle)[0], Kind.LAMP, -1, Surface.BARK, (112.0, 98.0, 84.0))
        soup.add(boxes(x, y, tall_m - 0.5, tall_m - 0.38, 0.05, 0.8, angle)[0], Kind.LAMP, -1, Surface.BARK, (112.0, 98.0, 84.0))
    for (x0, y0, a0), (x1, y1, a1) in itertools.pairwise(spots):
        for out in (-0.7, 0.0, 0.7):
            ends = np.array([(x0 + out * np.sin(a0), y0 - out * np.cos(a0)), (x1 + out * np.sin(a1), y1 - out * np.cos(a1))])
            share = np.linspace(0.0, 1.0, 6)[:, None]
            xy = ends[0] * (1.0 - share) + ends[1] * share
            z = tall_m - 0.35 - 2.4 * (share * (1.0 - share))
            low = np.concatenate([xy, z], 1)
            high = low + np.array([0.0, 0.0, 0.025])
            soup.add(quads(low[:-1], low[1:], high[1:], high[:-1]), Kind.LAMP, -1, Surface.PLAIN, (38.0, 38.0, 40.0))


def add_kerbs(soup: Soup, kerbs: Sequence[LineString]) -> None:
    """Add kerb stones, a hand high, along the edges of carriageways."""
    starts, ends = [], []
    for line in kerbs:
        a, b = _pieces(line, 1e6)
        starts.append(a)
        ends.append(b)
    if not starts:
        return
    a, b = np.concatenate(starts), np.concatenate(ends)
    corners = _wall(a, b, 0.16, 0.11)
    tone = np.random.default_rng(9).uniform(0.9, 1.06, (len(a), 1))
    soup.add(corners, Kind.GROUND, 0, Surface.PLAIN, np.repeat(np.asarray(_KERB_RGB) * tone, 10, 0))


def add_markings(soup: Soup, markings: Sequence[tuple[Polygon, tuple[float, float, float]]]) -> None:
    """Add the paint on roads as thin sheets just above them, crisper than the layers."""
    for shape, rgb in markings:
        parts = shapely.get_parts(shapely.constrained_delaunay_triangles(shape))
        rings = [np.asarray(part.exterior.coords)[:3, :2] for part in parts]
        if rings:
            flat = np.asarray(rings)
            corners = np.concatenate([flat, np.full((*flat.shape[:2], 1), 0.006)], -1)
            soup.add(corners, Kind.GROUND, 0, Surface.MARKING, rgb)
