"""Small plane geometry of the town: oriented rectangles, smooth displacement, frontages and splits of polygons, in local metres."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import LineString, Polygon
from shapely.geometry.polygon import orient

FloatArray = NDArray[np.float64]
Rng = np.random.Generator


def rectangle(x: float, y: float, half_long: float, half_short: float, angle: float) -> Polygon:
    """Return a rectangle centred on (x, y), its long axis `angle` radians counter-clockwise from east."""
    ca, sa = math.cos(angle), math.sin(angle)
    corners = ((-half_long, -half_short), (half_long, -half_short), (half_long, half_short), (-half_long, half_short))
    return Polygon([(x + u * ca - v * sa, y + u * sa + v * ca) for u, v in corners])


def blob(rng: Rng, x: float, y: float, radius_m: float, stretch: float = 1.0) -> Polygon:
    """Return a rounded irregular shape, such as a pond or a clearing."""
    phi = np.linspace(0.0, 2.0 * math.pi, 36, endpoint=False)
    radius = np.full_like(phi, radius_m)
    for k in (2, 3, 4, 5):
        radius += radius_m * rng.uniform(0.02, 0.30 / (k - 0.5)) * np.sin(k * phi + rng.uniform(0.0, 6.3))
    turn = rng.uniform(0.0, math.pi)
    u, v = radius * np.cos(phi) * stretch, radius * np.sin(phi)
    return Polygon(np.stack([x + u * math.cos(turn) - v * math.sin(turn), y + u * math.sin(turn) + v * math.cos(turn)], 1)).buffer(0.0)


def smooth_displacement(rng: Rng, amplitude_m: float, wavelength_m: float) -> Callable[[FloatArray], FloatArray]:
    """Return a map of (N, 2) points to displaced points: a few random waves, so that straight streets bend together."""
    waves = 5
    turn = rng.uniform(0.0, 2.0 * math.pi, (2, waves))
    k = 2.0 * math.pi / (wavelength_m * rng.uniform(0.6, 1.8, (2, waves)))
    phase = rng.uniform(0.0, 2.0 * math.pi, (2, waves))
    scale = amplitude_m / math.sqrt(waves / 2.0)

    def displace(points: FloatArray) -> FloatArray:
        moved = points.astype(np.float64, copy=True)
        for axis in (0, 1):
            along = points[:, :1] * np.cos(turn[axis]) + points[:, 1:2] * np.sin(turn[axis])  # (N, waves)
            moved[:, axis] += scale * np.sin(along * k[axis] + phase[axis]).sum(1) / math.sqrt(2.0)
        return moved

    return displace


def bend(line: LineString, displace: Callable[[FloatArray], FloatArray], step_m: float = 8.0) -> LineString:
    """Return a line cut into short pieces and displaced."""
    return LineString(displace(np.asarray(shapely.segmentize(line, step_m).coords)[:, :2]))


def polygons_of(shape: shapely.Geometry, min_area_m2: float = 0.0) -> list[Polygon]:
    """Return the polygons inside any geometry, without the small ones."""
    return [part for part in shapely.get_parts(shape) if isinstance(part, Polygon) and part.area > min_area_m2]


def lines_of(shape: shapely.Geometry, min_length_m: float = 0.0) -> list[LineString]:
    """Return the lines inside any geometry, without the short ones."""
    return [part for part in shapely.get_parts(shape) if isinstance(part, LineString) and part.length > min_length_m]


def frontages(block: Polygon, min_length_m: float) -> Iterator[tuple[FloatArray, FloatArray, FloatArray, float]]:
    """Yield (start, unit direction, unit inward normal, length) of the long straight edges of a block."""
    ring = np.asarray(orient(block.simplify(1.2)).exterior.coords)[:, :2]
    for start, end in itertools.pairwise(ring):
        length = float(np.hypot(*(end - start)))
        if length >= min_length_m:
            along = (end - start) / length
            yield start, along, np.array([-along[1], along[0]]), length


def long_axis(shape: Polygon) -> float:
    """Return the direction, in radians, of the longer side of the smallest rectangle around a shape."""
    ring = np.asarray(shape.minimum_rotated_rectangle.exterior.coords)[:, :2]
    sides = ring[1:3] - ring[:2]
    longer = sides[int(np.argmax(np.hypot(sides[:, 0], sides[:, 1])))]
    return math.atan2(longer[1], longer[0])


def cut(shape: Polygon, line: LineString, gap_m: float = 0.0) -> list[Polygon]:
    """Return the parts of a polygon left on either side of a line, `gap_m` apart."""
    return polygons_of(shape.difference(line.buffer(max(gap_m, 0.02) / 2.0, cap_style="flat")), 1.0)


def split_across(rng: Rng, shape: Polygon, spread: float = 0.12, turn: float = 0.06) -> LineString:
    """Return a line that cuts a polygon across its long axis near the middle."""
    angle = long_axis(shape) + math.pi / 2.0 + rng.normal(0.0, turn)
    box = shape.minimum_rotated_rectangle
    reach = math.sqrt(box.area) * 4.0 + box.length
    centre, axis = box.centroid, angle - math.pi / 2.0
    offset = rng.uniform(-spread, spread) * box.length / 3.0
    x, y = centre.x + offset * math.cos(axis), centre.y + offset * math.sin(axis)
    dx, dy = reach * math.cos(angle), reach * math.sin(angle)
    return LineString([(x - dx, y - dy), (x + dx, y + dy)])


def points_inside(rng: Rng, shape: shapely.Geometry, count: int) -> FloatArray:
    """Return up to `count` random points (N, 2) inside a shape; none in an empty one."""
    if shape.is_empty:
        return np.empty((0, 2))
    x0, y0, x1, y1 = shape.bounds
    tries = rng.uniform((x0, y0), (x1, y1), (count * 3 + 8, 2))
    return np.asarray(tries[shapely.contains_xy(shape, tries[:, 0], tries[:, 1])][:count])
