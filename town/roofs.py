"""Raising buildings on the canvas: roof planes, tiles, sheets and stains, chimneys, solar panels and what stands on flat roofs."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.canvas import Canvas
from crossgeo.town.noise import Float32, smooth_noise
from crossgeo.town.plan import Building, Fitting, Material, Wing

_PARAPET_M = 0.45


def raise_building(canvas: Canvas, building: Building, index: int) -> None:
    """Put one building into the layers; `index` is what the building layer holds."""
    window = canvas.window(building.outline.bounds)
    if window is None:
        return
    rng = np.random.default_rng(building.seed)
    height, albedo = canvas.height[window], canvas.albedo[window]
    x, y = canvas.centres(window)
    stains = smooth_noise(rng, height.shape, 2.6 / canvas.gsd_m) * np.float32(0.05) + smooth_noise(
        rng, height.shape, 0.7 / canvas.gsd_m
    ) * np.float32(0.035)
    for wing in building.wings:
        ca, sa = math.cos(wing.angle), math.sin(wing.angle)
        u = (x - wing.x) * ca + (y - wing.y) * sa
        v = (y - wing.y) * ca - (x - wing.x) * sa
        cover = _cover(wing, u, v, canvas.gsd_m)
        tall = _surface(wing, u, v)
        rgb = _paint(building, wing, u, v, stains, rng)
        bare = tall.copy()
        if building.cover == "concrete":
            _furnish_flat(wing, u, v, tall, rgb, rng)
        else:
            _furnish_pitched(building, wing, u, v, tall, rgb, rng)
        raised = tall * cover
        higher = (raised > height) & (cover > 0.0)
        weight = np.where(higher, cover, np.float32(0.0))[..., None]
        albedo[:] = np.clip(albedo * (1.0 - weight) + rgb * weight, 0.0, 255.0).astype(np.uint8)
        solid = higher & (cover >= 0.5)
        canvas.fittings.extend(_fittings(index, wing, u, v, bare, np.where(solid, tall, bare), rgb))
        np.copyto(height, raised, where=higher)
        np.copyto(canvas.material[window], np.uint8(Material.ROOF), where=solid)
        np.copyto(canvas.building[window], np.int32(index), where=solid)


def _fittings(index: int, wing: Wing, u: Float32, v: Float32, bare: Float32, tall: Float32, rgb: Float32) -> list[Fitting]:
    """Return the boxes around what was raised above a bare roof."""
    raised = (tall - bare > 0.3).astype(np.uint8)
    if not raised.any():
        return []
    found = []
    count, labels = cv2.connectedComponents(raised, connectivity=4)
    u, v = np.broadcast_arrays(u, v)
    for label in range(1, count):
        part = labels == label
        u0, u1, v0, v1 = float(u[part].min()), float(u[part].max()), float(v[part].min()), float(v[part].max())
        if part.sum() < 3 or max(u1 - u0, v1 - v0) > 1.9 * max(wing.half_long, wing.half_short):
            continue
        ca, sa, um, vm = math.cos(wing.angle), math.sin(wing.angle), (u0 + u1) / 2.0, (v0 + v1) / 2.0
        red, green, blue = (float(c) for c in rgb[part].mean(0))
        x, y = wing.x + um * ca - vm * sa, wing.y + um * sa + vm * ca
        low_m, high_m = float(bare[part].min()) - 0.05, float(tall[part].max())
        half_u, half_v = (u1 - u0) / 2.0 + 0.08, (v1 - v0) / 2.0 + 0.08
        found.append(Fitting(index, x, y, half_u, half_v, wing.angle, low_m, high_m, (red, green, blue)))
    return found


def _cover(wing: Wing, u: Float32, v: Float32, gsd_m: float) -> Float32:
    if wing.form == "dome":
        return np.asarray(np.clip((wing.half_long - np.hypot(u, v)) / gsd_m + 0.5, 0.0, 1.0), np.float32)
    a = np.clip((wing.half_long - np.abs(u)) / gsd_m + 0.5, 0.0, 1.0)
    b = np.clip((wing.half_short - np.abs(v)) / gsd_m + 0.5, 0.0, 1.0)
    return np.asarray(a * b, np.float32)


def _surface(wing: Wing, u: Float32, v: Float32) -> Float32:
    if wing.form == "gable":
        rise = wing.pitch * (wing.half_short - np.abs(v)) + 0.0 * u
    elif wing.form == "hip":
        rise = wing.pitch * np.minimum(wing.half_short - np.abs(v), wing.half_long - np.abs(u))
    elif wing.form == "shed":
        rise = wing.pitch * (wing.half_short + v) + 0.0 * u
    elif wing.form == "dome":
        rise = 0.45 * wing.half_long * (1.0 - np.clip(np.hypot(u, v) / wing.half_long, 0.0, 1.0))
    else:
        edge = np.minimum(wing.half_long - np.abs(u), wing.half_short - np.abs(v))
        rise = np.where(edge < 0.4, _PARAPET_M, 0.0) if min(wing.half_long, wing.half_short) > 2.5 else np.zeros(np.broadcast(u, v).shape)
    return np.asarray(wing.eave_m + rise, np.float32)


def _paint(building: Building, wing: Wing, u: Float32, v: Float32, stains: Float32, rng: np.random.Generator) -> Float32:
    """Return the (H, W, 3) colours of a wing's roof before light falls on it."""
    tone = 1.0 + stains
    rgb = np.empty((*stains.shape, 3), np.float32)
    rgb[:] = np.asarray(building.roof_rgb, np.float32)
    edge = np.minimum(wing.half_long - np.abs(u), wing.half_short - np.abs(v))
    if building.cover == "tile":
        columns = rng.normal(0.0, 0.03, 64)  # streaks that rain leaves down the slope
        tone = tone + columns[(np.floor(u / 0.45).astype(np.int32)) % 64] + 0.035 * np.sin(v * (2.0 * math.pi / 0.85))
        if wing.form in ("gable", "hip"):
            tone = tone + np.where(wing.half_short - np.abs(v) > wing.half_short - 0.22, rng.uniform(-0.12, 0.16), 0.0)
        if wing.form == "gable" and rng.uniform() < 0.7:
            tone = tone + np.where(wing.half_long - np.abs(u) < 0.22, rng.uniform(-0.16, 0.14), 0.0)  # verges and party walls
        moss = np.clip(stains * 6.0 - rng.uniform(0.0, 1.2), 0.0, 0.5)[..., None]
        rgb = rgb * (1.0 - moss) + np.asarray((92.0, 92.0, 70.0), np.float32) * moss
    elif building.cover == "metal":
        sheet_u, sheet_v = float(rng.uniform(0.8, 1.2)), float(rng.uniform(2.2, 4.5))
        spread = float(rng.choice((0.01, 0.03, 0.08, 0.14)))
        cells = rng.normal(0.0, spread, (41, 7))
        iu, iv = np.floor(u / sheet_u).astype(np.int32) % 41, np.floor(v / sheet_v).astype(np.int32) % 7
        tone = tone + cells[iu, iv] - 0.07 * (np.mod(u, sheet_u) < 0.2)
        rust = float(rng.uniform(0.0, 0.7)) if spread > 0.05 else 0.0
        rusty = (np.clip(cells[iu, iv] * 6.0 + stains * 5.0, 0.0, 1.0) * rust)[..., None]
        rgb = rgb * (1.0 - rusty) + np.asarray((132.0, 84.0, 60.0), np.float32) * rusty
    else:
        tone = tone + np.where(edge < 0.4, rng.uniform(-0.1, 0.16), 0.0) + 0.5 * np.minimum(stains, 0.0)
        bay = float(rng.uniform(3.0, 7.0))
        tone = tone - 0.05 * ((np.mod(u, bay) < 0.2) | (np.mod(v, bay) < 0.2)) * (rng.uniform() < 0.5)
        if rng.uniform() < 0.3:
            tone = tone + 0.14 * (u > wing.half_long * rng.uniform(-0.6, 0.6))
    rgb *= np.asarray(tone, np.float32)[..., None]
    return rgb


def _box(u: Float32, v: Float32, u0: float, v0: float, half_u: float, half_v: float) -> NDArray[np.bool_]:
    return np.asarray((np.abs(u - u0) < half_u) & (np.abs(v - v0) < half_v))


def _furnish_flat(wing: Wing, u: Float32, v: Float32, tall: Float32, rgb: Float32, rng: np.random.Generator) -> None:
    """Stand stair heads, machines, water tanks and panels on a flat roof."""
    a, b = wing.half_long - 1.0, wing.half_short - 1.0
    if a < 1.2 or b < 1.2:
        return
    if rng.uniform() < 0.4 and min(a, b) > 2.0:  # stair head or an upper floor set back
        large = rng.uniform() < 0.4
        half_u, half_v = (a * rng.uniform(0.3, 0.7), b * rng.uniform(0.3, 0.8)) if large else (rng.uniform(1.0, 1.8), rng.uniform(1.0, 1.8))
        where = _box(u, v, rng.uniform(-1.0, 1.0) * (a - half_u), rng.uniform(-1.0, 1.0) * (b - half_v), half_u, half_v)
        tall[where] = wing.eave_m + 2.8
        rgb[where] *= np.float32(rng.uniform(0.85, 1.15))
    for _ in range(int(rng.integers(0, 2 + int(min(10.0, a * b / 14.0))))):
        u0, v0 = rng.uniform(-a, a), rng.uniform(-b, b)
        if rng.uniform() < 0.3:
            where = np.hypot(u - u0, v - v0) < rng.uniform(0.5, 0.9)
            colour = ((48.0, 50.0, 54.0), (70.0, 104.0, 150.0), (206.0, 206.0, 200.0))[int(rng.integers(3))]
        else:
            where = _box(u, v, u0, v0, rng.uniform(0.4, 1.5), rng.uniform(0.4, 1.1))
            colour = tuple(rng.uniform(110.0, 215.0) * np.ones(3))
        tall[where] = wing.eave_m + rng.uniform(0.7, 1.6)
        rgb[where] = np.asarray(colour, np.float32)
    if rng.uniform() < 0.15:
        pitch = rng.uniform(1.6, 2.2)
        where = _box(u, v, 0.0, 0.0, a * rng.uniform(0.4, 0.9), b * rng.uniform(0.4, 0.9)) & (np.mod(v, pitch) < pitch * 0.6)
        tall[where] = wing.eave_m + 0.5
        rgb[where] = np.asarray((38.0, 46.0, 70.0), np.float32)


def _furnish_pitched(building: Building, wing: Wing, u: Float32, v: Float32, tall: Float32, rgb: Float32, rng: np.random.Generator) -> None:
    """Put chimneys, roof windows and solar panels on a pitched roof, and skylights on halls."""
    a, b = wing.half_long, wing.half_short
    if a > 14.0 and building.cover == "metal":  # skylight bands of a hall
        if rng.uniform() < 0.5:
            step = rng.uniform(5.0, 9.0)
            where = (np.mod(u, step) < 0.9) & (np.abs(np.abs(v) - b * 0.5) < b * 0.3)
            rgb[where] = rgb[where] * np.float32(0.4) + np.float32(120.0)
        return
    if building.cover == "tile" and rng.uniform() < 0.6:
        u0, v0 = rng.uniform(-0.8, 0.8) * a, rng.uniform(-0.4, 0.4) * b
        where = _box(u, v, u0, v0, 0.35, 0.3)
        tall[where] = wing.eave_m + wing.pitch * b + 0.7
        rgb[where] = np.asarray((134.0, 92.0, 76.0), np.float32) * np.float32(rng.uniform(0.7, 1.3))
    for _ in range(int(rng.integers(0, 4)) if rng.uniform() < 0.35 else 0):
        side = -1.0 if rng.uniform() < 0.5 else 1.0
        where = _box(u, v, rng.uniform(-0.8, 0.8) * a, side * b * rng.uniform(0.35, 0.7), 0.4, 0.5)
        rgb[where] = np.asarray((70.0, 80.0, 92.0), np.float32) * np.float32(rng.uniform(0.7, 2.2))
    if rng.uniform() < 0.14 and min(a, b) > 2.5:
        side = -1.0 if rng.uniform() < 0.5 else 1.0
        where = _box(u, v, rng.uniform(-0.3, 0.3) * a, side * b * 0.5, a * rng.uniform(0.25, 0.6), b * rng.uniform(0.2, 0.4))
        lines = (np.mod(u, 1.1) < 0.2) | (np.mod(v, 1.7) < 0.2)
        rgb[where] = np.asarray((34.0, 42.0, 66.0), np.float32)
        rgb[where & lines] = np.asarray((80.0, 88.0, 104.0), np.float32)
