"""Tree crowns: a bank of shapes with relief and tone, stamped on the canvas in the size and colour of each tree."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np

from crossgeo.town.canvas import Canvas
from crossgeo.town.noise import Float32, smooth_noise
from crossgeo.town.plan import Material, Tree

_SIDE = 96
_BANK = 20


@lru_cache(maxsize=4)
def _bank(kind: Literal["broadleaf", "conifer", "palm"]) -> tuple[tuple[Float32, Float32], ...]:
    """Return (relief, tone) pairs (S, S): relief is the share of the tree's height, 0 outside the crown; tone multiplies its colour."""
    rng = np.random.default_rng({"broadleaf": 11, "conifer": 12, "palm": 13}[kind])
    span = (np.arange(_SIDE, dtype=np.float32) + 0.5) / _SIDE * 2.0 - 1.0
    x, y = span[None, :], span[:, None]
    turn = np.arctan2(y, x)
    shapes = []
    for _ in range(_BANK):
        radius = np.hypot(x, y)
        if kind == "palm":
            fronds, phase = int(rng.integers(7, 11)), rng.uniform(0.0, 6.3)
            ray = np.abs(np.sin(turn * fronds / 2.0 + phase + 0.35 * radius))
            inside = (radius < 0.97 * (0.85 + 0.15 * np.sin(turn * 3 + phase))) & ((ray < 0.62 - 0.25 * radius) | (radius < 0.16))
            relief = 1.0 - 0.72 * radius**1.4  # a height field has no trunks: drooping fronds hide that
            tone = 1.12 - 0.5 * ray + 0.08 * smooth_noise(rng, radius.shape, 4.0)
        else:
            wobble = sum((rng.uniform(0.02, 0.11) * np.sin(k * turn + rng.uniform(0.0, 6.3)) for k in range(2, 9)), np.zeros_like(radius))
            lumps = smooth_noise(rng, radius.shape, 15.0) * 0.6 + smooth_noise(rng, radius.shape, 7.0) * 0.45
            reach = radius * (1.0 + wobble) + 0.05 * lumps
            inside = reach < 0.92
            rise = np.sqrt(np.clip(1.0 - (reach / 0.94) ** 2, 0.0, 1.0)) if kind == "broadleaf" else 1.0 - np.clip(reach / 0.94, 0.0, 1.0)
            if kind == "conifer":
                rise = rise + 0.05 * np.sin(turn * int(rng.integers(8, 13)) + 14.0 * radius)
            relief = 0.38 + 0.55 * rise + (0.055 if kind == "broadleaf" else 0.02) * lumps
            tone = 0.86 + 0.18 * rise + 0.11 * lumps + 0.06 * smooth_noise(rng, radius.shape, 3.0)
        shapes.append((np.where(inside, relief, 0.0).astype(np.float32), np.clip(tone, 0.3, 1.6).astype(np.float32)))
    return tuple(shapes)


def raise_tree(canvas: Canvas, tree: Tree) -> None:
    """Stamp one tree where it stands above what is there."""
    window = canvas.window((tree.x - tree.radius_m, tree.y - tree.radius_m, tree.x + tree.radius_m, tree.y + tree.radius_m))
    if window is None:
        return
    rows, cols = window
    relief, tone = _bank(tree.kind)[tree.shape % _BANK]
    turn = 2.0 * math.pi * ((tree.shape >> 8) % 1024) / 1024.0
    scale = _SIDE / (2.0 * tree.radius_m) * canvas.gsd_m  # bank pixels a canvas pixel
    column, row = canvas.pixels(np.array([[tree.x, tree.y]]))[0] - (cols.start, rows.start)
    ca, sa = scale * math.cos(turn), scale * math.sin(turn)
    middle = _SIDE / 2.0 - 0.5
    matrix = np.array([[ca, -sa, middle - ca * column + sa * row], [sa, ca, middle - sa * column - ca * row]])
    size = (cols.stop - cols.start, rows.stop - rows.start)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    tall = np.asarray(cv2.warpAffine(relief, matrix, size, flags=flags), np.float32) * np.float32(tree.height_m)
    tones = np.asarray(cv2.warpAffine(tone, matrix, size, flags=flags), np.float32)
    height = canvas.height[window]
    higher = (tall > height) & (tall > 0.2 * tree.height_m)
    np.copyto(height, tall, where=higher)
    rgb = np.clip(tones[..., None] * np.asarray(tree.rgb, np.float32), 0.0, 255.0).astype(np.uint8)
    np.copyto(canvas.albedo[window], rgb, where=higher[..., None])
    kind = Material.BROADLEAF if tree.kind == "broadleaf" else Material.EVERGREEN
    np.copyto(canvas.material[window], np.uint8(kind), where=higher)
