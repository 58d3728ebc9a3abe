"""The town from straight above: a true orthophoto, every roof over its footprint, in the light of a scene."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.errors import UsageError
from crossgeo.town.layout import Town
from crossgeo.town.light import shade, sunlit
from crossgeo.town.scene import Scene
from crossgeo.town.sensor import finish
from crossgeo.town.traffic import draw_cars, park_cars


def render_ortho(town: Town, scene: Scene, gsd_m: float = 0.2) -> NDArray[np.uint8]:
    """Return the orthophoto (H, W, 3) RGB; row 0 in the north, pixel edges on whole multiples of `gsd_m` from the north-west corner.

    Raises UsageError when the town does not divide into whole pixels.
    """
    side = round(town.size_m / gsd_m)
    if side < 1 or abs(side * gsd_m - town.size_m) > 1e-6 * town.size_m:
        raise UsageError(f"a town of {town.size_m:g} m does not divide into pixels of {gsd_m:g} m")
    layers = town.layers
    albedo, material, height = layers.albedo.copy(), layers.material.copy(), layers.height.copy()
    park_cars(draw_cars(town, scene.traffic_seed), layers, town.size_m, (0, 0), albedo, material, height)
    picture = shade(albedo, material, height, sunlit(height, layers.gsd_m, scene), layers.gsd_m, scene)
    if side != picture.shape[0]:
        way = cv2.INTER_AREA if side < picture.shape[0] else cv2.INTER_CUBIC
        picture = np.asarray(cv2.resize(picture, (side, side), interpolation=way), np.uint8)
    return finish(picture, scene, np.random.default_rng([town.seed, scene.traffic_seed, 5]), 0.5)
