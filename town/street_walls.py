"""Buildings as triangles: walls with the table of their faces, roofs of every form with eaves, chimneys, balconies."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely import Polygon

from crossgeo.town.noise import Float32
from crossgeo.town.plan import Building, Wing
from crossgeo.town.triangles import Kind, Soup, Surface, boxes

_OVERHANG_M = 0.35
_FASCIA_M = 0.16
_PARAPET_M = 0.45
_RIM_M = 0.25  # of walls above a roof over an outline


@dataclass(frozen=True)
class Faces:
    """The F flat sides of walls: where each starts, which way it runs, and how its facade is laid out."""

    x: Float32  # (F,) of the left end, seen from outside
    y: Float32
    east: Float32  # (F,) unit direction from left to right
    north: Float32
    length_m: Float32
    eave_m: Float32
    building: NDArray[np.int32]


@dataclass(frozen=True)
class _Side:
    """One wall of a wing in the wing's own axes: corner from, corner to, and whether a gable stands on it."""

    start: tuple[float, float]
    end: tuple[float, float]
    gable: bool


def _sides(wing: Wing, inset: tuple[bool, bool, bool, bool]) -> list[_Side]:
    """Return the four walls, counter-clockwise from the one at -v; `inset` says which stand back under the eaves."""
    back = [_OVERHANG_M if flag else 0.0 for flag in inset]
    a, b = wing.half_long, wing.half_short
    u0, u1, v0, v1 = -a + back[3], a - back[1], -b + back[0], b - back[2]
    gabled = wing.form in ("gable", "shed")
    return [
        _Side((u0, v0), (u1, v0), False), _Side((u1, v0), (u1, v1), gabled),
        _Side((u1, v1), (u0, v1), wing.form == "shed"), _Side((u0, v1), (u0, v0), gabled),
    ]  # fmt: skip


def roof_height(wing: Wing, u: float, v: float) -> float:
    """Return the height of a pitched roof's underside over a point of the wing's axes."""
    if wing.form == "gable":
        return wing.eave_m + wing.pitch * (wing.half_short - abs(v))
    if wing.form == "shed":
        return wing.eave_m + wing.pitch * (wing.half_short + v)
    return wing.eave_m


def _roof(wing: Wing) -> list[list[tuple[float, float, float]]]:
    """Return the polygons (u, v, z) of a wing's roof."""
    a, b, z = wing.half_long, wing.half_short, wing.eave_m
    if wing.form == "gable":
        top = z + wing.pitch * b
        return [[(-a, -b, z), (a, -b, z), (a, 0, top), (-a, 0, top)], [(a, b, z), (-a, b, z), (-a, 0, top), (a, 0, top)]]
    if wing.form == "hip":
        reach = min(a, b)
        top, u, v = z + wing.pitch * reach, a - reach, b - reach
        corners = [(-a, -b, z), (a, -b, z), (a, b, z), (-a, b, z)]
        inner = [(-u, -v, top), (u, -v, top), (u, v, top), (-u, v, top)]
        return [[corners[k], corners[(k + 1) % 4], inner[(k + 1) % 4], inner[k]] for k in range(4)]
    if wing.form == "shed":
        top = z + 2.0 * wing.pitch * b
        return [[(-a, -b, z), (a, -b, z), (a, b, top), (-a, b, top)]]
    if wing.form == "dome":
        phi = np.linspace(0.0, 2.0 * math.pi, 17)
        ring = [(a * math.cos(p), a * math.sin(p), z) for p in phi]
        return [[ring[k], ring[k + 1], (0.0, 0.0, z + 0.45 * a)] for k in range(16)]
    return [[(-a, -b, z), (a, -b, z), (a, b, z), (-a, b, z)]]


def _fan(polygon: list[tuple[float, float, float]]) -> list[list[tuple[float, float, float]]]:
    return [[polygon[0], polygon[k], polygon[k + 1]] for k in range(1, len(polygon) - 1)]


def _placed(wing: Wing, points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Turn (..., 3) points of a wing's axes into local metres."""
    ca, sa = math.cos(wing.angle), math.sin(wing.angle)
    u, v = points[..., 0], points[..., 1]
    return np.stack([wing.x + u * ca - v * sa, wing.y + u * sa + v * ca, points[..., 2]], -1)


class _Walls:
    """The faces gathered so far."""

    def __init__(self) -> None:
        self.rows: list[tuple[float, float, float, float, float, float]] = []
        self.building: list[int] = []

    def face(self, wing: Wing, side: _Side, building: int, eave_m: float) -> int:
        start, end = _placed(wing, np.array([(*side.start, 0.0), (*side.end, 0.0)]))[:, :2]
        return self.add(start, end, building, eave_m)

    def add(self, start: NDArray[np.float64], end: NDArray[np.float64], building: int, eave_m: float) -> int:
        run = end - start
        length = float(np.hypot(run[0], run[1]))
        self.rows.append((start[0], start[1], run[0] / max(length, 1e-6), run[1] / max(length, 1e-6), length, eave_m))
        self.building.append(building)
        return len(self.rows) - 1

    def table(self) -> Faces:
        x, y, east, north, length, eave = np.ascontiguousarray(np.asarray(self.rows, np.float32).reshape(-1, 6).T)
        return Faces(x, y, east, north, length, eave, np.asarray(self.building, np.int32))


def add_buildings(soup: Soup, buildings: Sequence[Building], free: FreeSide) -> Faces:
    """Add all buildings to a soup; `free` says where a wall stands clear of its neighbours, and so back under its eaves."""
    walls = _Walls()
    for index, building in enumerate(buildings):
        wall: list[NDArray[np.float64]] = []
        wall_face: list[int] = []
        roof: list[NDArray[np.float64]] = []
        trim: list[NDArray[np.float64]] = []
        for wing in building.wings:
            pitched = wing.form in ("gable", "hip", "shed") and min(wing.half_long, wing.half_short) > 1.4
            if wing.form == "dome":
                _drum(walls, wing, index, wall, wall_face)
            elif wing.form == "outline":
                _extrude(walls, building, wing, index, wall, wall_face)
            else:
                inset = free.sides(wing) if pitched else (False,) * 4
                under = wing.eave_m - (_FASCIA_M if pitched else 0.0)
                for side in _sides(wing, inset):
                    number = walls.face(wing, side, index, wing.eave_m)
                    (u0, v0), (u1, v1) = side.start, side.end
                    low = 0.0
                    outline = [(u0, v0, low), (u1, v1, low), (u1, v1, under), (u0, v0, under)]
                    if side.gable:
                        peak = [(u0, v0, under), (u1, v1, under), (u1, v1, roof_height(wing, u1, v1))]
                        if wing.form == "gable":
                            peak.append((u0, 0.0, roof_height(wing, u0, 0.0)))
                        peak.append((u0, v0, roof_height(wing, u0, v0)))
                        wall_face += [number] * (len(peak) - 2)
                        wall += [_placed(wing, np.asarray(t)) for t in _fan(peak)]
                    wall += [_placed(wing, np.asarray(t)) for t in _fan(outline)]
                    wall_face += [number] * 2
                if pitched:
                    trim += _eaves(wing)
            if wing.form == "outline":
                roof += _lid(building.outline, wing.eave_m)
            else:
                roof += [_placed(wing, np.asarray(t)) for polygon in _roof(wing) for t in _fan(polygon)]
            if wing.form == "flat" and min(wing.half_long, wing.half_short) > 2.5:
                trim += _parapet(wing)
        soup.add(np.asarray(wall), Kind.BUILDING, index, Surface.WALL, building.wall_rgb, np.asarray(wall_face))
        soup.add(np.asarray(roof), Kind.BUILDING, index, Surface.ROOF, building.roof_rgb)
        if trim:
            pale = 0.6 * np.asarray(building.wall_rgb) + 0.4 * np.asarray((225.0, 222.0, 215.0))
            soup.add(np.asarray(trim), Kind.BUILDING, index, Surface.PLAIN, pale)
    return walls.table()


def _drum(walls: _Walls, wing: Wing, index: int, wall: list[NDArray[np.float64]], wall_face: list[int]) -> None:
    phi = np.linspace(0.0, 2.0 * math.pi, 17)
    ring = [(wing.half_long * math.cos(p), wing.half_long * math.sin(p)) for p in phi]
    for start, end in itertools.pairwise(ring):
        number = walls.face(wing, _Side(start, end, False), index, 0.0)
        outline = [(*start, 0.0), (*end, 0.0), (*end, wing.eave_m), (*start, wing.eave_m)]
        wall += [_placed(wing, np.asarray(t)) for t in _fan(outline)]
        wall_face += [number] * 2


def _extrude(walls: _Walls, building: Building, wing: Wing, index: int, wall: list[NDArray[np.float64]], wall_face: list[int]) -> None:
    """Raise a wall from every edge of an outline that runs counter-clockwise."""
    ring = np.asarray(building.outline.exterior.coords)[:, :2]
    for start, end in itertools.pairwise(ring):
        number = walls.add(start, end, index, wing.eave_m)
        (x0, y0), (x1, y1), top = start, end, wing.eave_m + _RIM_M
        wall += [np.asarray(t) for t in _fan([(x0, y0, 0.0), (x1, y1, 0.0), (x1, y1, top), (x0, y0, top)])]
        wall_face += [number] * 2


def _lid(outline: Polygon, z: float) -> list[NDArray[np.float64]]:
    parts = shapely.get_parts(shapely.constrained_delaunay_triangles(Polygon(outline.exterior)))
    return [np.c_[np.asarray(part.exterior.coords)[:3, :2], np.full(3, z)] for part in parts]


def _eaves(wing: Wing) -> list[NDArray[np.float64]]:
    """Return fascia boards around the roof's lower edges and the soffit behind them."""
    a, b, z, low = wing.half_long, wing.half_short, wing.eave_m, wing.eave_m - _FASCIA_M
    ring = [(-a, -b), (a, -b), (a, b), (-a, b)]
    edges = range(4) if wing.form == "hip" else (0, 2) if wing.form == "gable" else (0,)
    polygons = []
    for k in edges:
        (u0, v0), (u1, v1) = ring[k], ring[(k + 1) % 4]
        polygons.append([(u0, v0, low), (u1, v1, low), (u1, v1, z), (u0, v0, z)])
    if wing.form == "gable":
        top = z + wing.pitch * b
        for u in (-a, a):  # barge boards
            for v in (-b, b):
                polygons.append([(u, v, low), (u, 0.0, top - _FASCIA_M), (u, 0.0, top), (u, v, z)])
    w = _OVERHANG_M + 0.02
    for inner in ([(-a, -b), (a, -b), (a, -b + w), (-a, -b + w)], [(-a, b - w), (a, b - w), (a, b), (-a, b)]):
        polygons.append([(u, v, low if wing.form != "shed" or v < 0 else low + 2.0 * wing.pitch * b) for u, v in inner])
    return [_placed(wing, np.asarray(t)) for polygon in polygons for t in _fan(polygon)]


def _parapet(wing: Wing) -> list[NDArray[np.float64]]:
    """Return the low wall around a flat roof, as four thin boxes."""
    a, b = wing.half_long, wing.half_short
    ca, sa = math.cos(wing.angle), math.sin(wing.angle)
    out = []
    for u, v, half_u, half_v in ((0.0, -b + 0.15, a, 0.15), (0.0, b - 0.15, a, 0.15), (-a + 0.15, 0.0, 0.15, b), (a - 0.15, 0.0, 0.15, b)):
        x, y = wing.x + u * ca - v * sa, wing.y + u * sa + v * ca
        out.extend(boxes(x, y, wing.eave_m, wing.eave_m + _PARAPET_M, half_u, half_v, wing.angle)[0].astype(np.float64))
    return out


class FreeSide:
    """Which sides of a wing have open air before them, by the layer of buildings."""

    def __init__(self, building: NDArray[np.int32], gsd_m: float, size_m: float) -> None:
        """Take the (H, W) building layer."""
        self.building, self.gsd_m, self.size_m = building, gsd_m, size_m

    def sides(self, wing: Wing) -> tuple[bool, bool, bool, bool]:
        """Say for the sides at -v, +u, +v, -u of a wing whether three points 0.5 m before them are free."""
        a, b, out = wing.half_long, wing.half_short, 0.5
        found = []
        for u, v, du, dv in (
            (0.0, -b - out, a * 0.8, 0.0),
            (a + out, 0.0, 0.0, b * 0.8),
            (0.0, b + out, a * 0.8, 0.0),
            (-a - out, 0.0, 0.0, b * 0.8),
        ):
            points = np.array([(u + k * du, v + k * dv, 0.0) for k in (-1.0, 0.0, 1.0)])
            at = _placed(wing, points)
            columns, rows = (at[:, 0] / self.gsd_m).astype(int), ((self.size_m - at[:, 1]) / self.gsd_m).astype(int)
            side = self.building.shape[0]
            inside = (columns >= 0) & (columns < side) & (rows >= 0) & (rows < side)
            found.append(not (self.building[rows[inside], columns[inside]] >= 0).any())
        gabled = wing.form in ("gable", "shed")
        return found[0], found[1] and not gabled, found[2], found[3] and not gabled
