"""Leaves on the triangles of crowns and hedges: which points are leaf and which are gaps that rays pass, and how bright each leaf is."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.noise import Float32
from crossgeo.town.scene import Season
from crossgeo.town.triangles import Kind, Surface, Triangles

_SIDE = 512
_TEXEL_M = 0.012
# the share of a crown's skin that is leaf
_COVER: dict[Season, float] = {
    "spring": 0.4,
    "summer": 0.46,
    "autumn": 0.34,
    "winter": 0.07,
}
_NEEDLE_COVER = 0.6
_HEDGE_EXTRA = 0.3


@lru_cache(maxsize=1)
def _bank() -> NDArray[np.uint8]:
    """Return (2, S, S, 2): of broad leaves and of needles, the rank of each leaf (low ranks are there first) and its tone around 128."""
    rng = np.random.default_rng(91)
    banks = []
    for long, wide, count in (((7.0, 15.0), (0.4, 0.62), 6000), ((10.0, 24.0), (0.12, 0.2), 9000)):
        picture = np.full((_SIDE, _SIDE, 3), 128, np.uint8)
        picture[..., 0] = 255
        for _ in range(count):
            x, y = rng.uniform(0.0, _SIDE, 2)
            length = float(rng.uniform(*long))
            axes = (length / 2.0, length * float(rng.uniform(*wide)) / 2.0)
            turn, colour = (
                float(rng.uniform(0.0, 180.0)),
                (float(rng.integers(0, 255)), float(np.clip(rng.normal(128.0, 34.0), 40.0, 225.0)), 0.0),
            )
            for dx in (-_SIDE, 0, _SIDE):
                for dy in (-_SIDE, 0, _SIDE):
                    if -30 < x + dx < _SIDE + 30 and -30 < y + dy < _SIDE + 30:
                        cv2.ellipse(picture, ((x + dx, y + dy), (2 * axes[0], 2 * axes[1]), turn), colour, -1)
        rank = picture[..., 0].astype(np.float64)
        order = rank.ravel().argsort(kind="stable").argsort(kind="stable")  # equal shares of every rank
        even = (order.reshape(rank.shape) * 255.0 / rank.size).astype(np.uint8)
        levels = {value: int(np.median(even[picture[..., 0] == value])) for value in np.unique(picture[..., 0])}
        table = np.array([levels.get(value, 255) for value in range(256)], np.uint8)
        banks.append(np.dstack([table[picture[..., 0]], picture[..., 1]]))
    return np.stack(banks)


def leaf_axes(corners: Float32) -> NDArray[np.uint8]:
    """Return (N,) the axis that each of (N, 3, 3) triangles faces most: leaves are laid on it along the other two."""
    normal = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return np.asarray(np.argmax(np.abs(normal), 1), np.uint8)


def _texels(point: Float32, axis: NDArray[np.uint8], which: NDArray[np.int32], needle: NDArray[np.bool_]) -> NDArray[np.uint8]:
    cells = (point * np.float32(1.0 / _TEXEL_M)).astype(np.int32)  # (N, 3)
    a = (np.where(axis == 0, cells[:, 1], cells[:, 0]) + which * 197) & (_SIDE - 1)  # or the gaps of front and back would lie in line
    b = (np.where(axis == 2, cells[:, 1], cells[:, 2]) + which * 331) & (_SIDE - 1)
    return np.asarray(_bank()[needle.astype(np.int32), b, a])


def is_gap(triangles: Triangles, axes: NDArray[np.uint8], which: NDArray[np.int32], point: Float32, season: Season) -> NDArray[np.bool_]:
    """Say for (N,) hits on leaf triangles at (N, 3) points whether a ray goes on through a gap."""
    needle = triangles.surface[which] == Surface.NEEDLE
    cover = np.where(needle, np.float32(_NEEDLE_COVER), np.float32(_COVER[season]))
    cover = np.where(triangles.kind[which] == Kind.BARRIER, np.float32(_HEDGE_EXTRA) + cover, cover)
    return np.asarray(_texels(point, axes[which], which, needle)[:, 0] >= cover * np.float32(255.0))


def leaf_tone(axes: NDArray[np.uint8], which: NDArray[np.int32], needle: NDArray[np.bool_], point: Float32, size_m: Float32) -> Float32:
    """Return how much brighter or darker than its crown each of N leaves is, around 0; less so far away."""
    tone = _texels(point, axes[which], which, needle)[:, 1].astype(np.float32) - np.float32(128.0)
    return np.asarray(tone * np.float32(1.0 / 150.0) * np.clip(np.float32(0.12) / size_m, 0.25, 1.0), np.float32)
