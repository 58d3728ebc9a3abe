"""Trees as triangles: a bank of crowns in leaf clumps, whorls and fronds, placed in the size and colour of each tree of the plan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from crossgeo.town.noise import Float32
from crossgeo.town.plan import Tree
from crossgeo.town.triangles import Kind, Soup, Surface, quads

_BANK = 10
_BUSH_M = 1.3  # crowns below this radius reach the ground
_BARK = ((96.0, 82.0, 68.0), (112.0, 102.0, 90.0), (82.0, 70.0, 58.0), (150.0, 142.0, 130.0))


@dataclass(frozen=True)
class _Model:
    """One tree of radius 1: x, y in crown radii; z of leaves -1..1 over the crown's height, z of wood 0..1 from ground to top."""

    leaves: Float32  # (N, 3, 3)
    tones: Float32  # (N,) brightness of each leaf triangle
    wood: Float32  # (M, 3, 3)


def _icosahedron() -> Float32:
    g = (1.0 + math.sqrt(5.0)) / 2.0
    points = np.array(
        [
            (-1, g, 0),
            (1, g, 0),
            (-1, -g, 0),
            (1, -g, 0),
            (0, -1, g),
            (0, 1, g),
            (0, -1, -g),
            (0, 1, -g),
            (g, 0, -1),
            (g, 0, 1),
            (-g, 0, -1),
            (-g, 0, 1),
        ]
    )
    faces = [
        (0, 11, 5),
        (0, 5, 1),
        (0, 1, 7),
        (0, 7, 10),
        (0, 10, 11),
        (1, 5, 9),
        (5, 11, 4),
        (11, 10, 2),
        (10, 7, 6),
        (7, 1, 8),
        (3, 9, 4),
        (3, 4, 2),
        (3, 2, 6),
        (3, 6, 8),
        (3, 8, 9),
        (4, 9, 5),
        (2, 4, 11),
        (6, 2, 10),
        (8, 6, 7),
        (9, 8, 1),
    ]
    return np.asarray((points / math.hypot(1.0, g))[np.array(faces)], np.float32)


def _unit(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    v = rng.standard_normal((count, 3))
    return np.asarray(v / np.linalg.norm(v, axis=1, keepdims=True))


def _shards(rng: np.random.Generator, centres: NDArray[np.float64], size: float) -> Float32:
    """Return one loose triangle about each (N, 3) centre."""
    first, second = _unit(rng, len(centres)), _unit(rng, len(centres))
    length = size * rng.uniform(0.6, 1.4, (len(centres), 1))
    return np.stack(
        [centres - first * length, centres + first * length * 0.6 + second * length * 0.5, centres + second * length], 1
    ).astype(np.float32)


def _rod(start: NDArray[np.float64], end: NDArray[np.float64], thick: tuple[float, float], sides: int = 5) -> Float32:
    """Return a tapering rod."""
    phi = np.linspace(0.0, 2.0 * math.pi, sides + 1)
    ring = np.stack([np.cos(phi), np.sin(phi), np.zeros_like(phi)], 1)
    low, high = start + ring * thick[0], end + ring * thick[1]
    return quads(low[:-1], low[1:], high[1:], high[:-1])


def _broadleaf(rng: np.random.Generator, clumps: int, shards: int) -> _Model:
    middle = _unit(rng, clumps) * rng.uniform(0.38, 0.66, (clumps, 1))
    middle[0] = (0.0, 0.0, 0.1)
    middle[:, :2] -= middle[:, :2].mean(0) * 0.5
    size = rng.uniform(0.34, 0.5, clumps)
    size[0] = 0.62
    solid, tones = [], []
    core = _icosahedron()
    for k in range(clumps):
        turn = np.linalg.qr(rng.standard_normal((3, 3)))[0]
        corner, index = np.unique(core.reshape(-1, 3).round(5), axis=0, return_inverse=True)
        lumpy = corner @ turn * (size[k] * rng.uniform(0.78, 1.12, (len(corner), 1)))
        solid.append((lumpy[index.ravel()] + middle[k]).reshape(-1, 3, 3))
        tones.append(np.full(20, rng.uniform(0.78, 1.05)))
    which = rng.integers(clumps, size=shards)
    where = middle[which] + _unit(rng, shards) * (size[which] * rng.uniform(0.85, 1.15, shards))[:, None]
    solid.append(_shards(rng, where, 0.2))
    tones.append(rng.uniform(0.7, 1.25, shards))
    leaves = np.concatenate(solid)
    leaves[..., :2] /= np.quantile(np.hypot(leaves[..., 0], leaves[..., 1]), 0.86) / 0.9
    reach = np.hypot(leaves[..., 0], leaves[..., 1])
    leaves[..., :2] *= np.minimum(1.0, 0.95 / np.maximum(reach, 1e-6))[..., None]  # the crown seen from above ends where the plan says
    low, high = leaves[..., 2].min(), leaves[..., 2].max()
    leaves[..., 2] = (leaves[..., 2] - low) / (high - low) * 2.0 - 1.0
    fork = np.array([0.0, 0.0, 0.42])
    wood = [_rod(np.zeros(3), fork, (0.075, 0.05), 6)]
    wood += [_rod(fork, np.array([*(middle[k, :2] * 0.9), 0.62 + 0.2 * middle[k, 2]]), (0.04, 0.012), 4) for k in range(1, min(clumps, 6))]
    return _Model(leaves.astype(np.float32), np.concatenate(tones).astype(np.float32), np.concatenate(wood))


def _conifer(rng: np.random.Generator) -> _Model:
    layers, parts, tones = 7, [], []
    for k in range(layers):
        low, reach = -1.0 + 1.75 * k / layers, 0.95 * (1.0 - k / layers) ** 0.85 + 0.05
        points = 14
        phi = np.linspace(0.0, 2.0 * math.pi, points, endpoint=False) + rng.uniform(0.0, 6.0)
        out = reach * np.where(np.arange(points) % 2 == 0, 1.0, 0.62) * rng.uniform(0.82, 1.05, points)
        out = np.minimum(out, 0.95)
        ring = np.stack([out * np.cos(phi), out * np.sin(phi), low + rng.uniform(-0.06, 0.06, points) + 0.12 * (out / reach < 0.7)], 1)
        tip = np.array([0.0, 0.0, min(low + 0.62, 1.0)])
        parts.append(np.stack([ring, np.roll(ring, -1, 0), np.broadcast_to(tip, ring.shape)], 1))
        tones.append(rng.uniform(0.72, 1.12, points))
    wood = _rod(np.zeros(3), np.array([0.0, 0.0, 0.8]), (0.06, 0.01), 5)
    return _Model(np.concatenate(parts).astype(np.float32), np.concatenate(tones).astype(np.float32), wood)


def _palm(rng: np.random.Generator) -> _Model:
    fronds, parts, tones = int(rng.integers(9, 13)), [], []
    for k in range(fronds):
        phi = 2.0 * math.pi * k / fronds + rng.uniform(-0.15, 0.15)
        out, side = np.array([math.cos(phi), math.sin(phi), 0.0]), np.array([-math.sin(phi), math.cos(phi), 0.0])
        lift, steps = rng.uniform(0.1, 0.6), np.linspace(0.0, 1.0, 6)
        spine = np.array([out * 0.93 * s + np.array([0.0, 0.0, 0.55 + lift * math.sin(2.4 * s) - 1.1 * s**2.2]) for s in steps])
        width = 0.15 * np.sin(np.pi * np.clip(steps * 0.95 + 0.08, 0.0, 1.0))[:, None]
        for edge in (-1.0, 1.0):
            rim = spine + side * width * edge - np.array([0.0, 0.0, 0.09])
            parts.append(quads(spine[:-1], spine[1:], rim[1:], rim[:-1]))
        tones.append(np.full(20, rng.uniform(0.75, 1.2)))
    sway = rng.uniform(-0.12, 0.12, 2)
    bend = np.array([*sway, 0.45])
    wood = [_rod(np.zeros(3), bend, (0.085, 0.06), 6), _rod(bend, np.array([0.0, 0.0, 0.87]), (0.06, 0.05), 6)]
    leaves = np.concatenate(parts)
    leaves[..., 2] = np.clip(leaves[..., 2], -1.4, 1.0)
    return _Model(leaves, np.concatenate(tones).astype(np.float32), np.concatenate(wood))


@lru_cache(maxsize=4)
def _bank(kind: str) -> tuple[_Model, ...]:
    rng = np.random.default_rng({"broadleaf": 31, "conifer": 32, "palm": 33, "bush": 34}[kind])
    if kind == "broadleaf":
        return tuple(_broadleaf(rng, int(rng.integers(9, 14)), 170) for _ in range(_BANK))
    if kind == "bush":
        return tuple(_broadleaf(rng, 4, 40) for _ in range(_BANK))
    return tuple((_conifer if kind == "conifer" else _palm)(rng) for _ in range(_BANK))


def crown_span(tree: Tree) -> tuple[float, float]:
    """Return the heights of the crown's foot and top."""
    if tree.radius_m < _BUSH_M and tree.kind == "broadleaf":
        return 0.0, tree.height_m
    if tree.kind == "conifer":
        return min(1.2, 0.1 * tree.height_m), tree.height_m
    if tree.kind == "palm":
        return 0.45 * tree.height_m, tree.height_m
    return max(0.2 * tree.height_m, min(1.9, 0.35 * tree.height_m), tree.height_m - 2.4 * tree.radius_m), tree.height_m


def add_trees(soup: Soup, trees: Sequence[Tree], first: int = 0) -> None:
    """Add all trees to a soup; the first counts as owner `first`."""
    groups: dict[tuple[str, int], list[int]] = {}
    for index, tree in enumerate(trees):
        name = "bush" if tree.kind == "broadleaf" and tree.radius_m < _BUSH_M else str(tree.kind)
        groups.setdefault((name, tree.shape % _BANK), []).append(index)
    for (kind, shape), members in sorted(groups.items()):
        model = _bank(kind)[shape]
        some = [trees[i] for i in members]
        span = np.array([crown_span(t) for t in some])
        turn = np.array([2.0 * math.pi * ((t.shape >> 8) % 1024) / 1024.0 for t in some])
        radius, height = np.array([t.radius_m for t in some]), np.array([t.height_m for t in some])
        xy = np.array([(t.x, t.y) for t in some])
        rgb = np.array([t.rgb for t in some])
        owner = np.asarray(members) + first
        leaves = _place(model.leaves, xy, radius, turn, (span[:, 1] - span[:, 0]) / 2.0, span.mean(1))
        colour = rgb[:, None, :] * model.tones[None, :, None]
        surface = Surface.LEAF if kind in ("broadleaf", "bush") else Surface.NEEDLE
        soup.add(leaves, Kind.TREE, np.repeat(owner, len(model.leaves)), surface, colour.reshape(-1, 3))
        if kind != "bush":
            wood = _place(model.wood, xy, radius, turn, height, np.zeros(len(some)))
            bark = np.array([_BARK[(t.shape >> 18) % len(_BARK)] for t in some])
            soup.add(wood, Kind.TREE, np.repeat(owner, len(model.wood)), Surface.BARK, np.repeat(bark, len(model.wood), 0))


def _place(
    model: Float32,
    xy: NDArray[np.float64],
    radius: NDArray[np.float64],
    turn: NDArray[np.float64],
    tall: NDArray[np.float64],
    base: NDArray[np.float64],
) -> Float32:
    ca, sa = (f(turn)[:, None, None] * radius[:, None, None] for f in (np.cos, np.sin))
    x, y, z = (model[None, ..., k] for k in range(3))
    return np.stack(
        [xy[:, 0, None, None] + x * ca - y * sa, xy[:, 1, None, None] + x * sa + y * ca, base[:, None, None] + z * tall[:, None, None]], -1
    ).astype(np.float32)
