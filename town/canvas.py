"""The raster layers of a town and the painting of its ground: patches, rows, markings, then noise at several scales."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from shapely import Polygon

from crossgeo.town.noise import Float32, smooth_noise
from crossgeo.town.plan import Barrier, Fitting, Material, Patch, Plan

_SUBPIXEL = 4  # bits that cv2 keeps below the pixel
_NOISE_M = (70.0, 22.0, 7.0, 2.2, 0.8, 0.2)
_NOISE_GAIN: dict[Material, tuple[float, ...]] = {  # brightness spread at the scales above
    Material.SOIL: (0.035, 0.045, 0.05, 0.045, 0.035, 0.03),
    Material.GRASS: (0.04, 0.06, 0.07, 0.06, 0.05, 0.05),
    Material.CROP: (0.03, 0.05, 0.05, 0.04, 0.05, 0.05),
    Material.ROAD: (0.03, 0.035, 0.035, 0.025, 0.015, 0.02),
    Material.PAVING: (0.025, 0.03, 0.045, 0.035, 0.025, 0.025),
    Material.WATER: (0.04, 0.05, 0.04, 0.015, 0.01, 0.01),
    Material.MARKING: (0.02, 0.03, 0.05, 0.06, 0.05, 0.02),
}
_DRY_GAIN = {Material.GRASS: 0.34, Material.CROP: 0.15, Material.SOIL: 0.16}


@dataclass(frozen=True)
class Layers:
    """What lies at each pixel, row 0 in the north; pixel (r, c) is centred on x = (c + 0.5) * gsd_m, y = size - (r + 0.5) * gsd_m."""

    gsd_m: float
    albedo: NDArray[np.uint8]  # (H, W, 3) sRGB in flat summer light
    material: NDArray[np.uint8]  # (H, W) of Material
    height: Float32  # (H, W) metres above the ground, without cars
    building: NDArray[np.int32]  # (H, W) index into Town.buildings, -1 where none
    ground_albedo: NDArray[np.uint8]  # (H, W, 3) and (H, W): albedo and material of the bare ground, under roofs and crowns
    ground_material: NDArray[np.uint8]


class Canvas:
    """Layers being painted."""

    def __init__(self, size_m: float, gsd_m: float, rgb: tuple[float, float, float]) -> None:
        """Start with bare grass of one colour."""
        self.size_m, self.gsd_m = size_m, gsd_m
        self.side = side = round(size_m / gsd_m)
        self.albedo = np.empty((side, side, 3), np.uint8)
        self.albedo[:] = np.asarray(rgb, np.uint8)
        self.material = np.full((side, side), Material.GRASS, np.uint8)
        self.height = np.zeros((side, side), np.float32)
        self.building = np.full((side, side), -1, np.int32)
        self.ground_albedo, self.ground_material = self.albedo, self.material
        self.fittings: list[Fitting] = []  # what stands on roofs

    def layers(self) -> Layers:
        """Return the finished layers."""
        return Layers(self.gsd_m, self.albedo, self.material, self.height, self.building, self.ground_albedo, self.ground_material)

    def pixels(self, xy: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (N, 2) column and row, integers at pixel centres, of points in local metres."""
        return np.stack([xy[:, 0] / self.gsd_m - 0.5, (self.size_m - xy[:, 1]) / self.gsd_m - 0.5], 1)

    def rings(self, shape: Polygon, origin: tuple[int, int] = (0, 0)) -> list[NDArray[np.int32]]:
        """Return the rings of a polygon in cv2's fixed-point pixels, against a window that starts at column, row `origin`."""
        scaled = []
        for ring in (shape.exterior, *shape.interiors):
            px = self.pixels(np.asarray(ring.coords)[:, :2]) - origin
            scaled.append(np.round(px * (1 << _SUBPIXEL)).astype(np.int32))
        return scaled

    def window(self, bounds: tuple[float, float, float, float]) -> tuple[slice, slice] | None:
        """Return the (rows, columns) that cover bounds in local metres, or None where they lie outside."""
        x0, y0, x1, y1 = bounds
        c0, c1 = max(0, math.floor(x0 / self.gsd_m) - 1), min(self.side, math.ceil(x1 / self.gsd_m) + 1)
        r0, r1 = max(0, math.floor((self.size_m - y1) / self.gsd_m) - 1), min(self.side, math.ceil((self.size_m - y0) / self.gsd_m) + 1)
        return (slice(r0, r1), slice(c0, c1)) if c0 < c1 and r0 < r1 else None

    def centres(self, window: tuple[slice, slice]) -> tuple[Float32, Float32]:
        """Return x (1, W) and y (H, 1) of the pixel centres of a window, in local metres."""
        rows, cols = window
        x = (np.arange(cols.start, cols.stop, dtype=np.float32) + 0.5) * self.gsd_m
        y = self.size_m - (np.arange(rows.start, rows.stop, dtype=np.float32) + 0.5) * self.gsd_m
        return np.asarray(x[None, :], np.float32), np.asarray(y[:, None], np.float32)

    def cover(self, shape: Polygon, window: tuple[slice, slice]) -> Float32:
        """Return how much of each pixel of a window a polygon covers, 0..1."""
        rows, cols = window
        mask = np.zeros((rows.stop - rows.start, cols.stop - cols.start), np.uint8)
        cv2.fillPoly(mask, self.rings(shape, (cols.start, rows.start)), 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL)
        return np.asarray(mask, np.float32) / np.float32(255.0)

    def paint(self, patch: Patch, rng: np.random.Generator) -> None:
        """Paint one patch of ground."""
        if patch.shape.is_empty or (window := self.window(patch.shape.bounds)) is None:
            return
        rings = self.rings(patch.shape)
        cv2.fillPoly(self.albedo, rings, [round(c) for c in patch.rgb], lineType=cv2.LINE_AA, shift=_SUBPIXEL)
        cv2.fillPoly(self.material, rings, int(patch.material), shift=_SUBPIXEL)
        if patch.rows is not None:
            rows = patch.rows
            x, y = self.centres(window)
            phase = (y * math.cos(rows.angle) - x * math.sin(rows.angle)) / rows.spacing_m
            shape = (window[0].stop - window[0].start, window[1].stop - window[1].start)
            if rows.waver > 0.0:
                phase = phase + rows.waver * smooth_noise(rng, shape, 9.0 / self.gsd_m)
            crest = 0.5 + 0.5 * np.sin(np.float32(2.0 * math.pi) * phase)
            weight = (self.cover(patch.shape, window) * crest * rows.strength)[..., None]
            area = self.albedo[window]
            area[:] = (area * (1.0 - weight) + np.asarray(rows.rgb, np.float32) * weight + 0.5).astype(np.uint8)

    def weather(self, rng: np.random.Generator, dry_rgb: tuple[float, float, float]) -> None:
        """Lay noise over the whole ground, as strong as each material shows it, and dry patches over grass, crops and soil."""
        shape = (self.side, self.side)
        table = np.zeros((256, len(_NOISE_M)), np.float32)
        for material, gains in _NOISE_GAIN.items():
            table[material] = gains
        dryness = np.zeros(256, np.float32)
        for material, gain in _DRY_GAIN.items():
            dryness[material] = gain
        tone = np.ones(shape, np.float32)  # one field at a time: a large town has no room for all
        for i, cell in enumerate(_NOISE_M):
            field = smooth_noise(rng, shape, cell / self.gsd_m)
            for r in range(0, self.side, 256):
                tone[r : r + 256] += table[self.material[r : r + 256], i] * field[r : r + 256]
        dry = np.zeros(shape, np.float32)
        for cell, weight in ((30.0, 0.8), (8.0, 0.7), (1.6, 0.6)):
            dry += np.float32(weight) * smooth_noise(rng, shape, cell / self.gsd_m)
        for r in range(0, self.side, 256):
            part = slice(r, r + 256)
            mix = (np.clip(dry[part], 0.0, 2.0) * dryness[self.material[part]])[..., None]
            colour = self.albedo[part] * (1.0 - mix) + np.asarray(dry_rgb, np.float32) * mix
            self.albedo[part] = np.clip(colour * tone[part][..., None], 0.0, 255.0).astype(np.uint8)

    def raise_barrier(self, barrier: Barrier, rng: np.random.Generator) -> None:
        """Raise a hedge or a wall."""
        shape = barrier.line.buffer(barrier.width_m / 2.0, cap_style="flat", join_style="mitre")
        if not isinstance(shape, Polygon) or shape.is_empty or (window := self.window(shape.bounds)) is None:
            return
        cover = self.cover(shape, window)
        if barrier.material != Material.WALL:
            cover = cover * (smooth_noise(rng, cover.shape, 1.2 / self.gsd_m) > -1.4)
        tall = np.asarray(barrier.height_m * cover, np.float32)
        if barrier.material != Material.WALL:
            tall *= 1.0 + 0.18 * smooth_noise(rng, cover.shape, 0.6 / self.gsd_m)
        higher = (tall > self.height[window]) & (cover > 0.25)
        weight = np.where(higher, cover, 0.0)[..., None]
        area = self.albedo[window]
        area[:] = (area * (1.0 - weight) + np.asarray(barrier.rgb, np.float32) * weight).astype(np.uint8)
        np.copyto(self.height[window], tall, where=higher)
        np.copyto(self.material[window], np.uint8(barrier.material), where=higher & (cover > 0.5))


def paint_ground(canvas: Canvas, plan: Plan, rng: np.random.Generator) -> None:
    """Paint all patches in order, then what lies over them, then the noise."""
    for patch in (*plan.patches, *plan.overlays):
        canvas.paint(patch, rng)
    canvas.weather(rng, plan.style.dry_rgb)
    canvas.ground_albedo, canvas.ground_material = canvas.albedo.copy(), canvas.material.copy()
