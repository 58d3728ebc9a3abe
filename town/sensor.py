"""The last step of every picture: haze, exposure left by the light, grain of the sensor, falling light towards the corners."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.light import light_colours
from crossgeo.town.noise import Float32
from crossgeo.town.scene import Scene


def photo_rng(seed: int, scene: Scene, x: float, y: float) -> np.random.Generator:
    """Return what draws the grain of a photo of town `seed`, taken at local (x, y): the same photo gets the same grain."""
    return np.random.default_rng([seed, scene.traffic_seed, round(x * 100) & 0xFFFFFF, round(y * 100) & 0xFFFFFF])


def finish(picture: NDArray[np.uint8], scene: Scene, rng: np.random.Generator, haze: Float32 | float) -> NDArray[np.uint8]:
    """Return a (H, W, 3) picture seen through haze, with noise; `haze` is the depth of air, (H, W) or one for all."""
    veil = np.minimum(np.sqrt(light_colours(scene)[1] / 0.32) * 196.0, 235.0).astype(np.float32)
    air = np.broadcast_to(np.asarray(haze, np.float32), picture.shape[:2])
    out = np.empty_like(picture)
    for r in range(0, picture.shape[0], 128):
        share = np.minimum(air[r : r + 128] * np.float32(scene.haze), np.float32(0.9))[..., None]
        band = picture[r : r + 128] * (1.0 - share) + veil * share
        if scene.noise > 0.0:
            band += rng.standard_normal(band.shape[:2], dtype=np.float32)[..., None] * np.float32(scene.noise)
        out[r : r + 128] = np.clip(band, 0.0, 255.0).astype(np.uint8)
    return out


def vignette(picture: NDArray[np.uint8], strength: float) -> NDArray[np.uint8]:
    """Return a picture darkened towards its corners by `strength` of their light."""
    rows, cols = picture.shape[:2]
    x = ((np.arange(cols, dtype=np.float32) + 0.5) / cols * 2.0 - 1.0) ** 2
    y = ((np.arange(rows, dtype=np.float32) + 0.5) / rows * 2.0 - 1.0) ** 2
    gain = 1.0 - np.float32(strength) * (0.5 * (x[None, :] + y[:, None])) ** 1.5
    return np.asarray(cv2.multiply(picture, cv2.merge([gain] * 3), dtype=cv2.CV_8U), np.uint8)
