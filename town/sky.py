"""The sky over a town: blue by height, glow around the sun, clouds of the scene's weather, hills and woods along the horizon."""

from __future__ import annotations

from functools import lru_cache

import cv2
import numpy as np

from crossgeo.town.light import light_colours
from crossgeo.town.noise import Float32, smooth_noise
from crossgeo.town.scene import Scene

_SIDE = 512


@lru_cache(maxsize=1)
def _clouds() -> Float32:
    """Return (S, S) cloudiness that repeats without seams, about 0 on the mean."""
    rng = np.random.default_rng(80)
    out = np.zeros((_SIDE, _SIDE), np.float32)
    for cells, weight in ((4, 1.0), (8, 0.7), (16, 0.45), (32, 0.28), (64, 0.17), (128, 0.1)):
        grid = np.pad(rng.standard_normal((cells, cells)).astype(np.float32), ((2, 2), (2, 2)), mode="wrap")
        scale = _SIDE // cells
        big = cv2.resize(grid, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
        out += np.float32(weight) * big[2 * scale : 2 * scale + _SIDE, 2 * scale : 2 * scale + _SIDE]
    return out


@lru_cache(maxsize=64)
def _ridges(seed: int) -> tuple[Float32, Float32]:
    """Return the (2,048,) elevations, as tangents, of far hills and of nearer woods by azimuth."""
    rng = np.random.default_rng([seed, 81])
    hills = np.clip(0.02 + 0.02 * smooth_noise(rng, (1, 2048), 260.0)[0] + 0.006 * smooth_noise(rng, (1, 2048), 60.0)[0], 0.004, 0.09)
    woods = np.clip(0.018 + 0.006 * smooth_noise(rng, (1, 2048), 90.0)[0] + 0.004 * smooth_noise(rng, (1, 2048), 9.0)[0], 0.006, 0.04)
    blend = np.clip(np.arange(2048) / 128.0, 0.0, 1.0)  # no step at north
    for line in (hills, woods):
        line[:] = line * blend + line[::-1] * (1.0 - blend)
    return hills.astype(np.float32), woods.astype(np.float32)


def veil_colour(scene: Scene) -> Float32:
    """Return the (3,) display colour of haze in front of the horizon."""
    return np.asarray(np.minimum(np.sqrt(light_colours(scene)[1] / 0.32) * 196.0, 235.0), np.float32)


def sky_colours(directions: Float32, scene: Scene, seed: int) -> Float32:
    """Return the (N, 3) display colours of unit directions that meet nothing; below the horizon that of the haze."""
    up = np.clip(directions[:, 2], 0.0, 1.0)
    veil = veil_colour(scene)
    gain = np.float32(scene.exposure)
    low, high = veil * np.asarray((0.97, 1.0, 1.02), np.float32), np.asarray((74.0, 122.0, 190.0), np.float32) * gain
    share = np.float32(1.0) - (np.float32(1.0) - up) ** 3
    share *= np.float32(1.0 - 0.75 * scene.haze)
    sky = low + (high - low) * share[:, None]
    over = np.float32(1.0) / (up + np.float32(0.12))
    drift = np.float32((scene.traffic_seed % 977) / 977.0 * _SIDE)
    column = (directions[:, 0] * over * np.float32(46.0) + drift).astype(np.int32) & (_SIDE - 1)
    row = (directions[:, 1] * over * np.float32(46.0) + drift * np.float32(1.7)).astype(np.int32) & (_SIDE - 1)
    thick = _clouds()[row, column]
    cover = np.clip((thick + np.float32(-1.0 + 3.2 * scene.overcast)) * np.float32(0.8), 0.0, 1.0)
    cover = np.maximum(cover, np.float32(np.clip(2.0 * scene.overcast - 1.0, 0.0, 1.0)))
    light = np.float32(1.06 - 0.2 * scene.overcast) - np.float32(0.05) * np.maximum(thick, 0.0)
    white = np.minimum(veil * np.float32(1.08), np.float32(246.0)) * light[:, None]
    sky += (white - sky) * (cover * np.float32(0.92))[:, None]
    if scene.overcast < 0.7:
        toward = directions @ np.asarray(scene.sun, np.float32)
        glow = np.clip(toward, 0.0, 1.0)
        sky += (np.float32(70.0) * glow**24 + np.float32(34.0) * glow**4 + np.float32(900.0) * np.clip(glow - 0.9993, 0.0, 1.0) / 0.0007)[
            :, None
        ] * np.float32(1.0 - scene.overcast)
    rise = np.asarray(directions[:, 2] / np.maximum(np.hypot(directions[:, 0], directions[:, 1]), 1e-6), np.float32)
    near = rise < 0.1
    if near.any():
        sky[near] = _horizon(sky[near], directions[near], rise[near], scene, veil, seed)
    return np.asarray(np.clip(sky, 0.0, 255.0), np.float32)


def _horizon(sky: Float32, directions: Float32, rise: Float32, scene: Scene, veil: Float32, seed: int) -> Float32:
    hills, woods = _ridges(seed)
    at = ((np.arctan2(directions[:, 0], directions[:, 1]) * np.float32(1024.0 / np.pi)).astype(np.int32)) & 2047
    far = np.float32(0.62 + 0.3 * scene.haze)
    hill = veil * far + np.asarray((70.0, 88.0, 104.0), np.float32) * (1.0 - far)
    wood = veil * (far - np.float32(0.22)) + np.asarray((52.0, 66.0, 48.0), np.float32) * (np.float32(1.22) - far)
    out = np.where((rise < hills[at])[:, None], hill, sky)
    return np.asarray(np.where((rise < woods[at])[:, None], wood, out), np.float32)
