"""Light on the layers: the season's colours, shadows of the sun over the height field, slopes, sky light."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.noise import Float32
from crossgeo.town.plan import Material
from crossgeo.town.scene import Scene, Season

_Tint = tuple[tuple[float, float, float], tuple[float, float, float]]  # colour * gain + offset
_SEASON_TINTS: dict[Season, dict[Material, _Tint]] = {
    "summer": {},
    "spring": {
        Material.GRASS: ((0.97, 1.03, 0.96), (0.0, 2.0, 0.0)),
        Material.BROADLEAF: ((1.12, 1.12, 1.0), (6.0, 6.0, 2.0)),
        Material.CROP: ((0.9, 0.98, 0.9), (2.0, 5.0, 2.0)),
    },
    "autumn": {
        Material.GRASS: ((1.05, 0.97, 0.9), (6.0, 0.0, 0.0)),
        Material.BROADLEAF: ((1.55, 1.05, 0.8), (16.0, 2.0, 0.0)),
        Material.CROP: ((1.02, 0.9, 0.85), (12.0, 8.0, 8.0)),
        Material.SOIL: ((0.92, 0.92, 0.92), (0.0, 0.0, 0.0)),
    },
    "winter": {
        Material.GRASS: ((0.85, 0.78, 0.8), (34.0, 26.0, 18.0)),
        Material.BROADLEAF: ((0.62, 0.5, 0.6), (52.0, 46.0, 40.0)),
        Material.CROP: ((0.7, 0.66, 0.7), (36.0, 30.0, 24.0)),
        Material.SOIL: ((0.84, 0.84, 0.85), (0.0, 0.0, 0.0)),
    },
}

_SHOULDER = np.float32(185.0)


def season_tables(season: Season) -> tuple[Float32, Float32]:
    """Return gain and offset (256, 3) for each material number."""
    gain, offset = np.ones((256, 3), np.float32), np.zeros((256, 3), np.float32)
    for material, (gains, offsets) in _SEASON_TINTS[season].items():
        gain[material], offset[material] = gains, offsets
    return gain, offset


def sunlit(height: Float32, gsd_m: float, scene: Scene) -> Float32:
    """Return how much of the sun reaches each pixel of a (H, W) height field, 0..1.

    The shadow surface is the maximum over distances s towards the sun of height(p + s) - s tan(elevation); distances double with
    every pass, so a shadow of n pixels costs log2(n) passes.
    """
    top = np.array(height, np.float32)
    drop = math.tan(math.radians(scene.sun_elevation_deg)) * gsd_m
    step_c, step_r = math.sin(math.radians(scene.sun_azimuth_deg)), -math.cos(math.radians(scene.sun_azimuth_deg))
    reach, highest = 1, float(height.max(initial=0.0))
    while reach * drop < highest and reach < max(height.shape):
        dr, dc = round(reach * step_r), round(reach * step_c)
        to_r, from_r = _overlap(height.shape[0], dr)
        to_c, from_c = _overlap(height.shape[1], dc)
        np.maximum(top[to_r, to_c], top[from_r, from_c] - np.float32(reach * drop), out=top[to_r, to_c])
        reach *= 2
    np.subtract(top, height, out=top)
    np.multiply(top, np.float32(-2.5), out=top)
    np.add(top, np.float32(1.1), out=top)
    return np.asarray(cv2.blur(np.clip(top, 0.0, 1.0, out=top), (3, 3)), np.float32)


def _overlap(length: int, shift: int) -> tuple[slice, slice]:
    if shift >= 0:
        return slice(0, max(0, length - shift)), slice(shift, length)
    return slice(-shift, length), slice(0, max(0, length + shift))


def sky_view(height: Float32, gsd_m: float) -> Float32:
    """Return how open the sky is above each pixel, 0..1, from how far its surroundings stand above it."""
    rows, cols = height.shape
    small = cv2.resize(height, (max(1, cols // 4), max(1, rows // 4)), interpolation=cv2.INTER_AREA)
    around = np.zeros(small.shape, np.float32)
    for width_m in (3.0, 9.0):
        k = max(3, round(width_m / (4.0 * gsd_m)) | 1)
        around += np.asarray(cv2.blur(small, (k, k)), np.float32) * np.float32(0.5)
    above = np.asarray(cv2.resize(around, (cols, rows), interpolation=cv2.INTER_LINEAR), np.float32)
    np.subtract(above, height, out=above)
    return np.asarray(1.0 / (1.0 + np.float32(0.16) * np.clip(above, 0.0, 12.0)), np.float32)


def light_colours(scene: Scene) -> tuple[Float32, Float32]:
    """Return the light of sun and of sky as (3,) linear RGB; flat open ground gets about 1 in all."""
    low = 1.0 - min(1.0, max(0.0, (scene.sun_elevation_deg - 15.0) / 45.0))
    share = 0.74 * (1.0 - 0.93 * scene.overcast)
    sun = (
        np.array((1.0 + 0.05 * low, 0.985, 0.95 - 0.14 * low)) * share / max(0.35, math.sin(math.radians(scene.sun_elevation_deg))) ** 0.75
    )
    sky = np.array((0.93, 0.99, 1.12)) * (1.06 - share)
    tint = np.array((1.0 + 0.10 * scene.warmth, 1.0, 1.0 - 0.12 * scene.warmth)) * (1.12 * scene.exposure**2)
    return np.asarray(sun * tint, np.float32), np.asarray(sky * tint, np.float32)


def shade(
    albedo: NDArray[np.uint8], material: NDArray[np.uint8], height: Float32, lit: Float32, gsd_m: float, scene: Scene
) -> NDArray[np.uint8]:
    """Return the (H, W, 3) look from straight above of layers under the light of a scene (display values, gamma 2).

    lit: (H, W), what `sunlit` says of the same height field.
    """
    open_sky = sky_view(height, gsd_m)
    gain, offset = season_tables(scene.season)
    sun, sky = light_colours(scene)
    east, north, up = scene.sun
    out = np.empty_like(albedo)
    rows = height.shape[0]
    for r in range(0, rows, 128):
        part = slice(r, min(rows, r + 128))
        slope_x, slope_y = _slopes(height, part, gsd_m)
        facing = (up - slope_x * east - slope_y * north) / np.sqrt(1.0 + slope_x * slope_x + slope_y * slope_y)
        direct = (np.clip(facing, 0.0, 1.0) * lit[part])[..., None]
        light = np.sqrt(direct * sun + open_sky[part][..., None] * sky)
        colour = (albedo[part] * gain[material[part]] + offset[material[part]]) * light
        bright = np.maximum(colour - _SHOULDER, 0.0)  # highlights bend instead of burning out
        colour -= bright * bright / (bright + np.float32(80.0))
        out[part] = np.clip(colour, 0.0, 255.0).astype(np.uint8)
    return out


def _slopes(height: Float32, part: slice, gsd_m: float) -> tuple[Float32, Float32]:
    """Return the rise eastwards and northwards of a band of rows; edges of walls count as level."""
    top, bottom = max(0, part.start - 1), min(height.shape[0], part.stop + 1)
    band = np.pad(height[top:bottom], ((1 if part.start == 0 else 0, 1 if part.stop == height.shape[0] else 0), (1, 1)), mode="edge")
    scale = np.float32(0.5 / gsd_m)
    slope_x, slope_y = (band[1:-1, 2:] - band[1:-1, :-2]) * scale, (band[:-2, 1:-1] - band[2:, 1:-1]) * scale
    steep = (np.abs(slope_x) > 3.5) | (np.abs(slope_y) > 3.5)
    slope_x[steep], slope_y[steep] = 0.0, 0.0
    return slope_x, slope_y
