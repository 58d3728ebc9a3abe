"""Triangles that know what they belong to, and the rays that are cast at them (Embree)."""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np
from embreex.mesh_construction import TriangleMesh
from embreex.rtcore_scene import EmbreeScene
from numpy.typing import NDArray

from crossgeo.town.noise import Float32

Ints = NDArray[np.int32]


class Kind(IntEnum):
    """What a ray met; `owner` counts in the town's list of that kind."""

    SKY = 0
    GROUND = 1
    BUILDING = 2
    TREE = 3
    CAR = 4
    BARRIER = 5
    LAMP = 6


class Surface(IntEnum):
    """How a triangle is coloured."""

    PLAIN = 0  # its own colour
    WALL = 1  # the facade that `face` names
    ROOF = 2  # its own colour, or the roof in the layers
    LEAF = 3
    BARK = 4
    MASONRY = 5  # low walls
    GLASS = 6
    MARKING = 7
    PAINT = 8  # of cars
    NEEDLE = 9  # leaves that stay in winter


@dataclass(frozen=True)
class Triangles:
    """N triangles with what each is part of."""

    corners: Float32  # (N, 3, 3) local metres; none left once a caster holds them
    kind: NDArray[np.uint8]  # (N,) of Kind
    owner: Ints  # (N,)
    surface: NDArray[np.uint8]  # (N,) of Surface
    rgb: NDArray[np.uint8]  # (N, 3)
    face: Ints  # (N,) row of the table of facades, -1 where none
    first_leaf: int  # leaves come last: from this one on

    def __len__(self) -> int:
        """Count the triangles."""
        return len(self.kind)


class Soup:
    """Triangles being gathered."""

    def __init__(self) -> None:
        """Start with none."""
        self._parts: list[Triangles] = []

    def add(self, corners: Any, kind: Kind, owner: Any, surface: Any, rgb: Any, face: Any = -1) -> None:
        """Add (N, 3, 3) triangles, all leaves or none; owner, surface, face (N,) and rgb (N, 3) may be one value for all."""
        points = np.asarray(corners, np.float32).reshape(-1, 3, 3)
        count = len(points)
        colours = np.clip(np.asarray(rgb, np.float32), 0.0, 255.0).astype(np.uint8)
        self._parts.append(
            Triangles(
                points,
                np.full(count, kind, np.uint8),
                np.broadcast_to(np.asarray(owner, np.int32), (count,)),
                np.broadcast_to(np.asarray(surface, np.uint8), (count,)),
                np.broadcast_to(colours, (count, 3)),
                np.broadcast_to(np.asarray(face, np.int32), (count,)),
                0,
            )
        )

    def triangles(self) -> Triangles:
        """Return all as one, leaves last."""
        if not self._parts:
            self.add(np.empty((0, 3, 3)), Kind.SKY, 0, Surface.PLAIN, (0.0, 0.0, 0.0))
        names = ("corners", "kind", "owner", "surface", "rgb", "face")
        leafy = [part.surface[0] in (Surface.LEAF, Surface.NEEDLE) if len(part) else False for part in self._parts]
        parts = [part for part, last in zip(self._parts, leafy, strict=True) if not last]
        first_leaf = sum(len(part) for part in parts)
        parts += [part for part, last in zip(self._parts, leafy, strict=True) if last]
        corners, kind, owner, surface, rgb, face = (np.concatenate([getattr(part, name) for part in parts]) for name in names)
        return Triangles(corners, kind, owner, surface, rgb, face, first_leaf)


def quads(a: Any, b: Any, c: Any, d: Any) -> Float32:
    """Return the (2 N, 3, 3) triangles of N four-cornered faces whose corners, each (N, 3), go round."""
    a, b, c, d = (np.asarray(p, np.float32).reshape(-1, 3) for p in (a, b, c, d))
    return np.stack([np.stack([a, b, c], 1), np.stack([a, c, d], 1)], 1).reshape(-1, 3, 3)


def boxes(x: Any, y: Any, z0: Any, z1: Any, half_long: Any, half_wide: Any, angle: Any) -> Float32:
    """Return the (N, 10, 3, 3) triangles of N boxes without floors; all arguments (N,) or one for all."""
    x, y, z0, z1, half_long, half_wide, angle = np.broadcast_arrays(*np.atleast_1d(x, y, z0, z1, half_long, half_wide, angle))
    ca, sa = np.cos(angle), np.sin(angle)
    ring = [(-1.0, -1.0), (1.0, -1.0), (1.0, 1.0), (-1.0, 1.0)]
    low, high = [], []
    for u, v in ring:
        px, py = x + u * half_long * ca - v * half_wide * sa, y + u * half_long * sa + v * half_wide * ca
        low.append(np.stack([px, py, z0], 1))
        high.append(np.stack([px, py, z1], 1))
    faces = [quads(low[k], low[(k + 1) % 4], high[(k + 1) % 4], high[k]).reshape(-1, 2, 3, 3) for k in range(4)]
    return np.concatenate([*faces, quads(*high).reshape(-1, 2, 3, 3)], 1)


class Caster:
    """Triangles ready for rays; what they look like is the caller's business."""

    def __init__(self, corners: Float32) -> None:
        """Take (N, 3, 3) triangles."""
        self._scene = EmbreeScene()
        self._empty = len(corners) == 0
        if not self._empty:
            numbers = np.arange(len(corners) * 3, dtype=np.int32).reshape(-1, 3)
            self._mesh = TriangleMesh(self._scene, np.ascontiguousarray(corners.reshape(-1, 3)), numbers)
            self._scene.run(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))  # builds the tree now

    def first(self, origins: Float32, directions: Float32, far_m: Float32) -> tuple[Ints, Float32, Float32]:
        """Return for (N, 3) rays the triangle met first within (N,) `far_m` (-1 where none), its distance and (N, 3) normal, not unit."""
        if self._empty or len(origins) == 0:
            return np.full(len(origins), -1, np.int32), far_m.copy(), np.zeros_like(origins)
        found = self._scene.run(origins, directions, dists=far_m.copy(), output=1)  # the caster writes into `dists`
        return found["primID"], np.where(found["primID"] >= 0, found["tfar"], far_m), found["Ng"]

    def blocked(self, origins: Float32, directions: Float32, far_m: float) -> NDArray[np.bool_]:
        """Say for (N, 3) rays whether anything stands within `far_m`."""
        if self._empty or len(origins) == 0:
            return np.zeros(len(origins), np.bool_)
        found = self._scene.run(origins, directions, dists=np.full(len(origins), far_m, np.float32), query="OCCLUDED")
        return np.asarray(found >= 0)
