"""Drone photos of the town: every pixel's ray is followed down to the height field, so roofs lean, walls show and trees hide."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.town.camera import Camera, Pose, footprint, ground_at, project, ray_matrix
from crossgeo.town.facades import wall_colours
from crossgeo.town.layout import Town
from crossgeo.town.light import shade, sunlit
from crossgeo.town.noise import Float32, smooth_noise
from crossgeo.town.plan import Material
from crossgeo.town.scene import Scene
from crossgeo.town.sensor import finish, photo_rng, vignette
from crossgeo.town.traffic import draw_cars, park_cars

__all__ = ["Camera", "Hits", "Pose", "ground_at", "project", "render_photo", "take_photo"]

_AROUND_M = 25.0  # land beside the view, whose shadows may fall into it
_DETAIL_M = 0.06
_DETAIL_GAIN = {
    Material.GRASS: 0.10, Material.CROP: 0.10, Material.SOIL: 0.06, Material.ROAD: 0.045, Material.PAVING: 0.045, Material.ROOF: 0.05,
    Material.BROADLEAF: 0.16, Material.EVERGREEN: 0.16, Material.WALL: 0.05, Material.MARKING: 0.05,
}  # fmt: skip


@dataclass(frozen=True)
class _View:
    """The lit layers around a view; `north`, `west` are the local metres of the window's corner."""

    gsd_m: float
    west: float
    north: float
    colour: NDArray[np.uint8]
    material: NDArray[np.uint8]
    height: Float32
    lit: Float32
    building: NDArray[np.int32]

    def columns(self, x: Float32) -> Float32:
        return (x - np.float32(self.west)) / np.float32(self.gsd_m) - np.float32(0.5)

    def rows(self, y: Float32) -> Float32:
        return (np.float32(self.north) - y) / np.float32(self.gsd_m) - np.float32(0.5)


@dataclass(frozen=True)
class Hits:
    """What each pixel of a photo shows: (H, W) local metres of the point and the index of its building, -1 where none."""

    x: Float32
    y: Float32
    z: Float32
    building: NDArray[np.int32]


def render_photo(town: Town, pose: Pose, camera: Camera, scene: Scene) -> NDArray[np.uint8]:
    """Return the photo (H, W, 3) RGB that a camera takes; past its edges the town is mirrored."""
    return take_photo(town, pose, camera, scene)[0]


def take_photo(town: Town, pose: Pose, camera: Camera, scene: Scene) -> tuple[NDArray[np.uint8], Hits]:
    """Return a photo and what each of its pixels shows."""
    view = _lit_view(town, pose, camera, scene)
    rays = _rays(pose, camera)  # (2, H, W)
    z = _first_hits(view, pose, camera, rays)
    x, y = np.float32(pose.x) + rays[0] * (pose.height_m - z), np.float32(pose.y) + rays[1] * (pose.height_m - z)
    colour, building = _colours(town, view, scene, rays, x, y, z)
    rng = photo_rng(town.seed, scene, pose.x, pose.y)
    air = (pose.height_m - z) * np.sqrt(1.0 + rays[0] ** 2 + rays[1] ** 2) / np.float32(160.0)
    picture = vignette(finish(colour, scene, rng, np.asarray(air, np.float32)), 0.18)
    return picture, Hits(x, y, z, building)


def _lit_view(town: Town, pose: Pose, camera: Camera, scene: Scene) -> _View:
    """Cut out the layers that a photo can see and put cars and light on them."""
    layers, gsd = town.layers, town.layers.gsd_m
    seen = np.concatenate([footprint(pose, camera), [[pose.x, pose.y]]])
    low, high = np.clip(seen.min(0) - _AROUND_M, 0.0, town.size_m), np.clip(seen.max(0) + _AROUND_M, 0.0, town.size_m)
    side = layers.height.shape[0]
    c0, c1 = min(int(low[0] / gsd), side - 64), max(int(high[0] / gsd), 64)
    r0, r1 = min(int((town.size_m - high[1]) / gsd), side - 64), max(int((town.size_m - low[1]) / gsd), 64)
    window = (slice(max(r0, 0), r1), slice(max(c0, 0), c1))
    corner = (window[0].start, window[1].start)
    albedo, material, height = layers.albedo[window].copy(), layers.material[window].copy(), layers.height[window].copy()
    park_cars(draw_cars(town, scene.traffic_seed), layers, town.size_m, corner, albedo, material, height)
    lit = sunlit(height, gsd, scene)
    colour = shade(albedo, material, height, lit, gsd, scene)
    return _View(gsd, corner[1] * gsd, town.size_m - corner[0] * gsd, colour, material, height, lit, layers.building[window])


def _rays(pose: Pose, camera: Camera) -> Float32:
    """Return how far east and north (2, H, W) the ray of each pixel moves while it falls one metre."""
    m = ray_matrix(pose, camera)
    columns = np.arange(camera.width_px, dtype=np.float32)[None, :] + 0.5
    rows = np.arange(camera.height_px, dtype=np.float32)[:, None] + 0.5
    fall = -(m[2, 0] * columns + m[2, 1] * rows + m[2, 2])
    fall = np.maximum(fall, camera.focal_px * 0.05)  # rays at the horizon end far out
    return np.stack([(m[k, 0] * columns + m[k, 1] * rows + m[k, 2]) / fall for k in (0, 1)]).astype(np.float32)


def _sample(layer: NDArray[Any], columns: Float32, rows: Float32, way: int) -> NDArray[Any]:
    return np.asarray(cv2.remap(layer, columns, rows, way, borderMode=cv2.BORDER_REFLECT_101))


def _sample_points(layer: NDArray[Any], columns: Float32, rows: Float32) -> Float32:
    """Look up (N,) points; cv2 takes no rows longer than 32,767, so they are folded."""
    count, width = len(columns), 1024
    folded = [np.pad(a, (0, -count % width)).reshape(-1, width) for a in (columns, rows)]
    return np.asarray(_sample(layer, folded[0], folded[1], cv2.INTER_LINEAR), np.float32).ravel()[:count]


def _first_hits(view: _View, pose: Pose, camera: Camera, rays: Float32) -> Float32:
    """Return the (H, W) height at which each ray first meets the height field.

    A level of the field is a plane, and a plane is seen through a homography: the levels are looked up from the ground upwards,
    the topmost that reaches its level wins, and bisection between it and the free level above sharpens the hit.
    """
    steepest = float(np.sqrt(rays[0] ** 2 + rays[1] ** 2).max())
    highest = min(float(view.height.max()) + 0.05, pose.height_m * 0.9)
    levels = max(2, math.ceil(highest * max(steepest, 0.6) / 0.5))
    step = highest / levels
    z = np.zeros(rays.shape[1:], np.float32)
    m = ray_matrix(pose, camera)
    half = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])  # cv2 counts pixels by their centres
    for level in range(1, levels):
        at = np.float32(level * step)
        fall = pose.height_m - float(at)
        to_x, to_y = fall * m[0] - pose.x * m[2], fall * m[1] - pose.y * m[2]  # over -m[2]
        matrix = np.stack([to_x + view.west * m[2], -(to_y + view.north * m[2]), -m[2] * view.gsd_m]) @ half
        matrix[:2] -= 0.5 * matrix[2]
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        seen = cv2.warpPerspective(view.height, matrix, (camera.width_px, camera.height_px), flags=flags, borderMode=cv2.BORDER_REFLECT_101)
        np.copyto(z, at, where=seen >= at)
    low, high = z, z + np.float32(step)
    for _ in range(4):
        middle = (low + high) * np.float32(0.5)
        fall_m = np.float32(pose.height_m) - middle
        columns, rows = view.columns(np.float32(pose.x) + rays[0] * fall_m), view.rows(np.float32(pose.y) + rays[1] * fall_m)
        inside = _sample(view.height, columns, rows, cv2.INTER_LINEAR) >= middle
        low, high = np.where(inside, middle, low), np.where(inside, high, middle)
    return low


def _colours(
    town: Town, view: _View, scene: Scene, rays: Float32, x: Float32, y: Float32, z: Float32
) -> tuple[NDArray[np.uint8], NDArray[np.int32]]:
    """Return (H, W, 3) colours and (H, W) buildings of the points that rays hit: tops as seen from above, sides by what they belong to."""
    run = np.sqrt(rays[0] ** 2 + rays[1] ** 2) + np.float32(1e-6)
    ahead_x, ahead_y = x + rays[0] / run * np.float32(0.3), y + rays[1] / run * np.float32(0.3)
    ahead_columns, ahead_rows = view.columns(ahead_x), view.rows(ahead_y)
    behind = _sample(view.height, ahead_columns, ahead_rows, cv2.INTER_NEAREST)
    side = behind - z > np.float32(0.55)
    columns, rows = np.where(side, ahead_columns, view.columns(x)), np.where(side, ahead_rows, view.rows(y))
    colour = np.asarray(_sample(view.colour, columns, rows, cv2.INTER_CUBIC), np.uint8)
    kind = np.asarray(_sample(view.material, columns, rows, cv2.INTER_NEAREST), np.uint8)
    gain = _detail(x, y, z)
    gain *= _detail_table()[kind] * np.where(side, np.float32(1.7), np.float32(1.0))
    gain += 1.0
    below = np.clip((behind - z) / np.float32(6.0), 0.0, 1.0)
    gain *= np.where(side, 0.8 - 0.3 * below, np.float32(1.0))
    picture = np.asarray(cv2.multiply(colour, cv2.merge([gain] * 3), dtype=cv2.CV_8U), np.uint8)
    building = np.asarray(_sample(view.building.astype(np.float32), columns, rows, cv2.INTER_NEAREST)).astype(np.int32)
    building[kind != Material.ROOF] = -1  # a crown may hang over a roof
    wall = side & (building >= 0)
    if wall.any():
        picture[wall] = _walls(town, view, scene, building[wall], x[wall], y[wall], z[wall])
    return picture, building


def _walls(town: Town, view: _View, scene: Scene, building: NDArray[np.int32], x: Float32, y: Float32, z: Float32) -> NDArray[np.uint8]:
    k = max(3, round(1.0 / view.gsd_m) | 1)
    soft = cv2.blur(view.height, (k, k))
    columns, rows = view.columns(x), view.rows(y)
    out_x = -_sample_points(np.asarray(cv2.Sobel(soft, cv2.CV_32F, 1, 0)), columns, rows)
    out_y = _sample_points(np.asarray(cv2.Sobel(soft, cv2.CV_32F, 0, 1)), columns, rows)
    norm = np.sqrt(out_x**2 + out_y**2) + np.float32(1e-6)
    lit = _sample_points(view.lit, view.columns(x + out_x / norm * np.float32(0.6)), view.rows(y + out_y / norm * np.float32(0.6)))
    colours = wall_colours(town, scene, building, x, y, z, out_x, out_y, lit)
    return np.clip(colours, 0.0, 255.0).astype(np.uint8)


def _detail_table() -> Float32:
    table = np.zeros(256, np.float32)
    for material, gain in _DETAIL_GAIN.items():
        table[material] = gain
    return table


@lru_cache(maxsize=1)
def _detail_texture() -> Float32:
    rng = np.random.default_rng(7)
    return smooth_noise(rng, (1024, 1024), 1.0) * np.float32(0.7) + smooth_noise(rng, (1024, 1024), 3.0) * np.float32(0.7)


def _detail(x: Float32, y: Float32, z: Float32) -> Float32:
    """Return the fine grain of surfaces, finer than the layers, anchored to the ground so that it turns with the view."""
    columns, rows = (x + z * np.float32(0.37)) / np.float32(_DETAIL_M), (y - z * np.float32(0.53)) / np.float32(_DETAIL_M)
    return np.asarray(
        cv2.remap(_detail_texture(), columns % 1023.0, rows % 1023.0, cv2.INTER_LINEAR, borderMode=cv2.BORDER_WRAP), np.float32
    )
