"""The ground seen from the street: the layers' colours without roofs and crowns, finer grain near the camera, land past the town's edge."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.canvas import Canvas
from crossgeo.town.layout import Town
from crossgeo.town.light import sky_view
from crossgeo.town.noise import Float32
from crossgeo.town.plan import Material, Patch

_DETAIL_M = 0.02
_DETAIL_PX = 512
_AROUND_M = 60.0  # the plan's own margin
_AROUND_GSD_M = 0.4


class Ground:
    """The ground of one town; made once."""

    def __init__(self, town: Town) -> None:
        """Take the layers; what lies past them is painted from the plan."""
        layers = town.layers
        self.size_m, self.gsd_m = town.size_m, layers.gsd_m
        self.material = layers.ground_material
        if town.lit:
            self.albedo = _evened(layers.ground_albedo, layers.gsd_m)
        else:
            self.albedo = _without_markings(layers.ground_albedo, layers.ground_material)
        self.coarse = np.asarray(cv2.resize(self.albedo, None, fx=0.2, fy=0.2, interpolation=cv2.INTER_AREA), np.uint8)
        quarter = np.asarray(cv2.resize(layers.height, None, fx=0.25, fy=0.25, interpolation=cv2.INTER_AREA), np.float32)
        low = np.where(quarter > 2.6, 0.0, quarter).astype(np.float32)  # under crowns the sky shows between them and the ground
        roofs = cv2.resize((layers.building >= 0).astype(np.float32), (quarter.shape[1], quarter.shape[0]), interpolation=cv2.INTER_AREA)
        walls = np.where(roofs > 0.4, quarter, low).astype(np.float32)
        crowns = np.where(roofs > 0.4, 0.0, quarter).astype(np.float32)
        free = sky_view(walls, 4.0 * self.gsd_m)
        free = np.where(roofs > 0.4, cv2.erode(free, np.ones((5, 5), np.uint8)), free)
        self.open = np.asarray(free / (1.0 + 0.055 * np.clip(cv2.blur(crowns, (5, 5)), 0.0, 12.0)), np.float32)
        self._around = _paint_around(town)

    def look(self, x: Float32, y: Float32, size_m: Float32) -> tuple[Float32, NDArray[np.uint8], Float32]:
        """Return albedo (N, 3), material (N,) and openness to the sky (N,) of N points; `size_m` is how wide a ray is there."""
        column, row = x / np.float32(self.gsd_m) - np.float32(0.5), (np.float32(self.size_m) - y) / np.float32(self.gsd_m) - np.float32(0.5)
        side = self.material.shape[0]
        rgb = look_up(self.albedo, column, row)
        far = size_m > np.float32(3.0 * self.gsd_m)
        if far.any():
            rgb[far] = look_up(
                self.coarse,
                (column[far] + np.float32(0.5)) * np.float32(0.2) - np.float32(0.5),
                (row[far] + np.float32(0.5)) * np.float32(0.2) - np.float32(0.5),
            )
        c, r = np.clip(np.rint(column), 0, side - 1).astype(np.int32), np.clip(np.rint(row), 0, side - 1).astype(np.int32)
        material = self.material[r, c]
        out = (x < 0.0) | (y < 0.0) | (x > self.size_m) | (y > self.size_m)
        if out.any():
            rgb[out], material[out] = self._beyond(x[out], y[out])
        material[material == Material.MARKING] = Material.ROAD
        fade = np.minimum(np.float32(1.0), np.float32(0.05) / size_m)
        rgb *= (1.0 + _detail(material, x, y, size_m) * fade)[:, None]
        return rgb, material, look_up(self.open, column * np.float32(0.25), row * np.float32(0.25))

    def _beyond(self, x: Float32, y: Float32) -> tuple[Float32, NDArray[np.uint8]]:
        albedo, material = self._around
        side = material.shape[0]
        column = ((x + np.float32(_AROUND_M)) / np.float32(_AROUND_GSD_M)).astype(np.int32)
        row = ((np.float32(self.size_m + _AROUND_M) - y) / np.float32(_AROUND_GSD_M)).astype(np.int32)
        inside = (column >= 0) & (column < side) & (row >= 0) & (row < side)
        column, row = np.clip(column, 0, side - 1), np.clip(row, 0, side - 1)
        rgb = albedo[row, column].astype(np.float32)
        found = material[row, column]
        rgb[~inside] = albedo[0, 0]
        found[~inside] = Material.GRASS
        return rgb, found


def look_up(layer: NDArray[Any], column: Float32, row: Float32) -> Float32:
    """Look up (N,) points between pixels; cv2 takes no rows longer than 32,767, so they are folded."""
    count, width = len(column), 1024
    if count == 0:
        return np.empty((0, *layer.shape[2:]), np.float32)
    folded = [np.pad(a, (0, -count % width)).reshape(-1, width) for a in (column, row)]
    found = cv2.remap(layer, folded[0], folded[1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    return np.asarray(found.reshape(-1, *found.shape[2:])[:count], np.float32)


def _without_markings(albedo: NDArray[np.uint8], material: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return the ground with its markings rubbed out; they are drawn crisper as shapes of their own."""
    out = albedo.copy()
    near = np.asarray(cv2.dilate((material == Material.MARKING).astype(np.uint8), np.ones((3, 3), np.uint8)))
    for r in range(0, len(out), 512):
        r0, r1 = max(0, r - 8), min(len(out), r + 520)
        mask = near[r0:r1]
        if not mask.any():
            continue
        free = (1 - mask).astype(np.float32)
        total = np.asarray(cv2.blur(albedo[r0:r1].astype(np.float32) * free[..., None], (13, 13)))
        mean = total / np.maximum(cv2.blur(free, (13, 13)), 1e-3)[..., None]
        rows = slice(r, min(len(out), r + 512))
        inner = slice(r - r0, r - r0 + rows.stop - rows.start)
        np.copyto(out[rows], np.clip(mean[inner], 0.0, 255.0).astype(np.uint8), where=(mask[inner] > 0)[..., None])
    return out


def _evened(picture: NDArray[np.uint8], gsd_m: float) -> NDArray[np.uint8]:
    """Return an orthophoto with the shadows of its own day lifted half way: another sun casts its own."""
    k = max(3, round(4.0 / gsd_m) | 1)
    light = np.asarray(cv2.blur(picture, (k, k)), np.float32).mean(2)
    gain = np.clip((light.mean() / np.maximum(light, 20.0)) ** 0.45, 0.8, 1.6)
    return np.asarray(np.clip(picture * gain[..., None], 0.0, 255.0), np.uint8)


def _paint_around(town: Town) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Paint the plan's ground with its margin, plainly: only what lies past the town is looked up in it."""
    shapes = [p for p in town.patches if not _wholly_inside(p, town.size_m)]
    canvas = Canvas(town.size_m + 2.0 * _AROUND_M, _AROUND_GSD_M, tuple(town.layers.ground_albedo[::16, ::16].reshape(-1, 3).mean(0)))
    for patch in shapes:
        moved = [ring + np.int32(round(_AROUND_M / _AROUND_GSD_M * 16)) * np.array([1, -1], np.int32) for ring in canvas.rings(patch.shape)]
        cv2.fillPoly(canvas.albedo, moved, [round(c) for c in patch.rgb], lineType=cv2.LINE_AA, shift=4)
        cv2.fillPoly(canvas.material, moved, int(patch.material), shift=4)
    return canvas.albedo, canvas.material


def _wholly_inside(patch: Patch, size_m: float) -> bool:
    x0, y0, x1, y1 = patch.shape.bounds
    return bool(x0 > 0.0 and y0 > 0.0 and x1 < size_m and y1 < size_m)


def _detail(material: NDArray[np.uint8], x: Float32, y: Float32, size_m: Float32) -> Float32:
    """Return the fine grain of N points as a gain around 0."""
    bank = _detail_bank()
    near = bank[
        _DETAIL_OF[material],
        (y * np.float32(1.0 / _DETAIL_M)).astype(np.int32) & (_DETAIL_PX - 1),
        (x * np.float32(1.0 / _DETAIL_M)).astype(np.int32) & (_DETAIL_PX - 1),
    ]
    wide = bank[5, (y * np.float32(7.3)).astype(np.int32) & (_DETAIL_PX - 1), (x * np.float32(7.3)).astype(np.int32) & (_DETAIL_PX - 1)]
    grain = near.astype(np.float32) - np.float32(128.0) + np.float32(0.4) * (wide.astype(np.float32) - np.float32(128.0))
    return np.asarray(grain * _STRENGTH[material], np.float32)


_DETAIL_OF = np.zeros(256, np.uint8)
for _material, _row in (
    (Material.GRASS, 1), (Material.CROP, 1), (Material.PAVING, 2), (Material.SOIL, 3), (Material.WATER, 4),
    (Material.BROADLEAF, 1), (Material.EVERGREEN, 1),
):  # fmt: skip
    _DETAIL_OF[_material] = _row


_STRENGTH = np.full(256, 1.0 / 200.0, np.float32)  # of the bank
_STRENGTH[[Material.ROAD, Material.MARKING]] = 1.0 / 300.0


@lru_cache(maxsize=1)
def _detail_bank() -> NDArray[np.uint8]:
    """Return (6, S, S) grain around 128 of asphalt, grass, paving, soil, water and of stains at any size; they repeat without seams."""
    rng, side = np.random.default_rng(79), _DETAIL_PX

    def noise(cells: int) -> Float32:
        grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), ((2, 2), (2, 2)), mode="wrap")
        scale = side // cells
        big = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        return np.asarray(big[2 * scale : 2 * scale + side, 2 * scale : 2 * scale + side], np.float32)

    asphalt = 9.0 * noise(512) + 7.0 * noise(128) + 5.0 * noise(16)
    for _ in range(7):  # cracks
        walk = np.cumsum(rng.normal(0.0, 1.0, (90, 2)) + rng.normal(0.0, 1.2, 2), 0) * 2.2 + rng.uniform(0, side, 2)
        for dx in (-side, 0, side):
            for dy in (-side, 0, side):
                cv2.polylines(asphalt, [np.round((walk + np.array([dx, dy])) * 8).astype(np.int32)], False, -38.0, 1, cv2.LINE_8, 3)
    grass = 22.0 * noise(512) + 16.0 * noise(128) + 10.0 * noise(32)
    grass = np.asarray(cv2.blur(np.pad(grass, ((2, 2), (0, 0)), mode="wrap"), (1, 3))[2:-2], np.float32) * 1.2
    rows, cols = np.mgrid[0:side, 0:side]
    slab = 26  # 0.52 m: 512 px hold almost 20 of them, the last a little narrower
    joint = ((rows % slab) < 1) | (((cols + (rows // slab % 2) * 13) % slab) < 1)
    tint = rng.normal(0.0, 9.0, (32, 64))[rows // slab, (cols + (rows // slab % 2) * 13) // slab]
    paving = np.where(joint, -34.0, tint) + 5.0 * noise(256) + 4.0 * noise(32)
    soil = 13.0 * noise(256) + 12.0 * noise(64) + 9.0 * noise(16)
    stones = (noise(256) > 1.9) * rng.uniform(20.0, 50.0)
    water = 7.0 * noise(64) + 6.0 * noise(16)
    stains = 10.0 * noise(64) + 12.0 * noise(16) + 10.0 * noise(8)
    bank = np.stack([asphalt, grass, paving, soil + stones, water, stains])
    return np.asarray(np.clip(bank - bank.mean((1, 2), keepdims=True) + 128.0, 0.0, 255.0), np.uint8)


def leaf_grain(p: Float32, size_m: Float32, row: int) -> Float32:
    """Return the fine grain of (N, 3) points on things that stand, as a gain around 0; row as in the bank: 0 stone, 1 leaves."""
    bank = _detail_bank()
    a = ((p[:, 0] + p[:, 2] * np.float32(0.37)) * np.float32(1.0 / 0.035)).astype(np.int32) & (_DETAIL_PX - 1)
    b = ((p[:, 1] - p[:, 2] * np.float32(0.73)) * np.float32(1.0 / 0.035)).astype(np.int32) & (_DETAIL_PX - 1)
    fine = bank[row, b, a].astype(np.float32) - np.float32(128.0)
    wide = bank[5, (b >> 2), (a >> 2)].astype(np.float32) - np.float32(128.0)
    fade = np.minimum(np.float32(1.0), np.float32(0.12) / size_m)
    return np.asarray((fine * fade + wide * np.float32(0.8)) * np.float32(1.0 / 128.0), np.float32)
