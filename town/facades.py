"""What a drone sees of walls: the side of a building under its eaves, in its wall's colour, with rows of windows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossgeo.town.layout import Town
from crossgeo.town.light import light_colours
from crossgeo.town.noise import Float32
from crossgeo.town.scene import Scene


def wall_colours(
    town: Town,
    scene: Scene,
    building: NDArray[np.int32],
    x: Float32,
    y: Float32,
    z: Float32,
    outward_x: Float32,
    outward_y: Float32,
    lit: Float32,
) -> Float32:
    """Return (N, 3) display colours of N points on walls.

    building: (N,) index; x, y, z: (N,) local metres; outward: (N,) rough direction away from the building; lit: (N,) sun at the foot.
    """
    seen, which = np.unique(building, return_inverse=True)
    owners = [town.buildings[i] for i in seen]
    table = np.array([(b.wings[0].angle, b.floor_m, b.window_m, min(w.eave_m for w in b.wings), *b.wall_rgb) for b in owners], np.float32)
    angle, floor_m, window_m, eave_m, *_ = table[which].T  # (N,) each
    ca, sa = np.cos(angle), np.sin(angle)
    along, across = outward_x * ca + outward_y * sa, outward_y * ca - outward_x * sa
    end = np.abs(along) > np.abs(across)  # an end wall looks along the ridge
    sign = np.where(end, np.sign(along), np.sign(across))
    normal_x, normal_y = np.where(end, ca, -sa) * sign, np.where(end, sa, ca) * sign
    u = np.where(end, y * ca - x * sa, x * ca + y * sa)
    bay, floor = u / window_m, z / floor_m
    in_bay, in_floor = bay - np.floor(bay), floor - np.floor(floor)
    glass = (np.abs(in_bay - 0.5) < 0.22) & (np.abs(in_floor - 0.55) < 0.24) & (z < eave_m - 0.35) & (z > 0.6)
    tint = np.sin(np.floor(bay) * 12.9898 + np.floor(floor) * 78.233 + building * 3.7) * 43758.547
    tint = tint - np.floor(tint)
    colour = table[which, 4:7] * (0.9 + 0.1 * np.clip(z / 1.2, 0.0, 1.0))[:, None]
    pane = (40.0 + 46.0 * tint)[:, None] * np.asarray((0.92, 1.0, 1.1), np.float32)
    colour = np.where(glass[:, None], pane, colour)
    sun, sky = light_colours(scene)
    east, north, _ = scene.sun
    direct = np.clip(normal_x * east + normal_y * north, 0.0, 1.0) * np.maximum(lit, np.clip((z - 2.0) / 6.0, 0.0, 1.0))
    light = np.sqrt(direct[:, None] * sun + (0.42 + 0.2 * np.clip(z / 10.0, 0.0, 1.0))[:, None] * sky)
    return np.asarray(colour * light, np.float32)
