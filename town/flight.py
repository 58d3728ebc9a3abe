"""Where the drone takes its photos over a town, and which objects a person would click in them."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.errors import UsageError
from crossgeo.town.camera import Camera, Pose, footprint, project
from crossgeo.town.drone import Hits
from crossgeo.town.layout import Town, TownObject

_EDGE_M = 2.0
_MIN_PIXELS = 500
_MIN_WIDTH_M = 4.0


@dataclass(frozen=True)
class Click:
    """A point on an object in a photo."""

    item: TownObject
    point_px: tuple[float, float]


def draw_poses(town: Town, camera: Camera, count: int, rng: np.random.Generator) -> Iterator[Pose]:
    """Yield poses whose whole view lies inside the town: 40 to 100 m up, lower over small towns, half of them tilted up to 35 degrees."""
    for _ in range(count):
        yield _draw_pose(town, camera, rng)


def _draw_pose(town: Town, camera: Camera, rng: np.random.Generator) -> Pose:
    height_m = float(rng.uniform(40.0, 100.0))
    while height_m > 5.0:
        tilt_deg = float(rng.uniform(5.0, 35.0)) if rng.uniform() < 0.6 else float(rng.uniform(0.0, 5.0))
        for _ in range(12):
            x, y = rng.uniform(0.0, town.size_m, 2)
            pose = Pose(float(x), float(y), height_m, float(rng.uniform(0.0, 360.0)), tilt_deg)
            corners = footprint(pose, camera)
            if np.isfinite(corners).all() and corners.min() > _EDGE_M and corners.max() < town.size_m - _EDGE_M:
                return pose
        height_m *= 0.9
    raise UsageError(f"a town of {town.size_m:g} m has no room for a photo of {camera.hfov_deg:g} degrees")


def draw_clicks(town: Town, pose: Pose, camera: Camera, hits: Hits, count: int, rng: np.random.Generator) -> list[Click]:
    """Return up to `count` clicks on buildings and ponds that the photo shows well and whole."""
    by_outline = {id(item.footprint): item for item in town.objects}
    seen, pixels = np.unique(hits.building[hits.building >= 0], return_counts=True)
    candidates = [(by_outline.get(id(town.buildings[i].outline)), int(i)) for i, n in zip(seen, pixels, strict=True) if n >= _MIN_PIXELS]
    candidates += [(item, -1) for item in town.objects if item.kind == "pond"]
    clicks: list[Click] = []
    for k in rng.permutation(len(candidates)):
        item, index = candidates[int(k)]
        if len(clicks) == count:
            break
        if item is None or min(_extent_m(item)) < _MIN_WIDTH_M or not _wholly_in_view(pose, camera, item):
            continue
        mask = hits.building == index if index >= 0 else _pond_mask(pose, camera, item, hits)
        if (point := inner_point(mask, rng)) is not None:
            clicks.append(Click(item, point))
    return clicks


def _extent_m(item: TownObject) -> tuple[float, float]:
    x0, y0, x1, y1 = item.footprint.bounds
    return x1 - x0, y1 - y0


def _wholly_in_view(pose: Pose, camera: Camera, item: TownObject) -> bool:
    corners = np.concatenate([np.c_[item.corners, np.full(len(item.corners), z)] for z in (0.0, item.height_m)])
    px = project(pose, camera, corners)
    return bool(np.isfinite(px).all() and (px >= 0.0).all() and (px <= (camera.width_px, camera.height_px)).all())


def _pond_mask(pose: Pose, camera: Camera, item: TownObject, hits: Hits) -> NDArray[np.bool_]:
    mask = np.zeros(hits.z.shape, np.uint8)
    ring = project(pose, camera, np.c_[item.corners, np.zeros(len(item.corners))])
    cv2.fillPoly(mask, [np.round(ring).astype(np.int32)], 1)
    return np.asarray((mask > 0) & (hits.z < 0.2))


def inner_point(mask: NDArray[np.bool_], rng: np.random.Generator, min_pixels: int = _MIN_PIXELS) -> tuple[float, float] | None:
    """Return a point well inside a mask, in pixel edges, or None where less than `min_pixels` of it show."""
    if int(mask.sum()) < min_pixels:
        return None
    rows, cols = np.nonzero(mask)
    r0, c0 = int(rows.min()), int(cols.min())
    part = np.pad(mask[r0 : rows.max() + 1, c0 : cols.max() + 1].astype(np.uint8), 1)
    depth = np.asarray(cv2.distanceTransform(part, cv2.DIST_L2, 3), np.float32)
    if float(depth.max()) < math.sqrt(min_pixels) / 8.0:
        return None
    inner_rows, inner_cols = np.nonzero(depth > 0.55 * depth.max())
    k = int(rng.integers(len(inner_rows)))
    return c0 + int(inner_cols[k]) - 0.5, r0 + int(inner_rows[k]) - 0.5
