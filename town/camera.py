"""Where a drone's camera stands and what it sees: the pinhole geometry between local metres and pixels of a photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossgeo.errors import UsageError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Camera:
    """A lens without distortion over a sensor of square pixels."""

    hfov_deg: float = 71.59  # 24 mm equivalent at 4:3, as small drones carry
    width_px: int = 1024
    height_px: int = 768

    def __post_init__(self) -> None:
        """Refuse what is no camera; raises UsageError."""
        if not 5.0 <= self.hfov_deg <= 120.0 or min(self.width_px, self.height_px) < 16:
            raise UsageError(f"{self} is no camera; give a field of view of 5 to 120 degrees and 16 pixels or more")

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return self.width_px / 2.0 / math.tan(math.radians(self.hfov_deg) / 2.0)


@dataclass(frozen=True)
class Pose:
    """A camera over flat ground; the upper edge of the photo points to `heading_deg`."""

    x: float  # local metres, of the camera itself
    y: float
    height_m: float  # above the ground
    heading_deg: float  # clockwise from grid north
    tilt_deg: float = 0.0  # 0 looks straight down, more looks forward

    def __post_init__(self) -> None:
        """Refuse poses that do not look down on the ground; raises UsageError."""
        if self.height_m <= 0.0 or not 0.0 <= self.tilt_deg <= 35.0:
            raise UsageError(f"{self} is no pose of the town's drone; it flies above the ground and tilts 0 to 35 degrees")

    @property
    def axes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Unit vectors (east, north, up) to the photo's right, to its top and along the view."""
        heading, tilt = math.radians(self.heading_deg), math.radians(self.tilt_deg)
        forward = np.array((math.sin(heading), math.cos(heading), 0.0))
        right, up = np.array((math.cos(heading), -math.sin(heading), 0.0)), np.array((0.0, 0.0, 1.0))
        return right, forward * math.cos(tilt) + up * math.sin(tilt), forward * math.sin(tilt) - up * math.cos(tilt)

    @property
    def centre(self) -> tuple[float, float]:
        """Ground point at the middle of the photo, local metres."""
        reach, heading = self.height_m * math.tan(math.radians(self.tilt_deg)), math.radians(self.heading_deg)
        return self.x + reach * math.sin(heading), self.y + reach * math.cos(heading)


def ray_matrix(pose: Pose, camera: Camera) -> FloatArray:
    """Return the (3, 3) matrix that takes (column, row, 1), in pixel edges, to a direction (east, north, up)."""
    right, top, ahead = pose.axes
    corner = ahead * camera.focal_px - right * (camera.width_px / 2.0) + top * (camera.height_px / 2.0)
    return np.stack([right, -top, corner], axis=1)


def project(pose: Pose, camera: Camera, xyz: ArrayLike) -> FloatArray:
    """Return the (N, 2) pixels (column, row; edges 0..W, 0..H) of (N, 3) local points; NaN behind the camera."""
    right, top, ahead = pose.axes
    from_camera = np.atleast_2d(np.asarray(xyz, np.float64)) - (pose.x, pose.y, pose.height_m)
    depth = from_camera @ ahead
    scale = np.where(depth > 1e-6, camera.focal_px / np.where(depth > 1e-6, depth, 1.0), np.nan)
    return np.stack([camera.width_px / 2.0 + scale * (from_camera @ right), camera.height_px / 2.0 - scale * (from_camera @ top)], 1)


def ground_at(pose: Pose, camera: Camera, px: ArrayLike, height_m: float = 0.0) -> FloatArray:
    """Return the (N, 2) local points where the rays of (N, 2) pixels meet the level `height_m`; NaN where they never do."""
    pixels = np.atleast_2d(np.asarray(px, np.float64))
    rays = np.concatenate([pixels, np.ones((len(pixels), 1))], 1) @ ray_matrix(pose, camera).T
    falls = rays[:, 2] < -1e-9
    scale = np.where(falls, (height_m - pose.height_m) / np.where(falls, rays[:, 2], -1.0), np.nan)
    return np.array((pose.x, pose.y)) + scale[:, None] * rays[:, :2]


def footprint(pose: Pose, camera: Camera, height_m: float = 0.0) -> FloatArray:
    """Return the (4, 2) local points under the photo's corners, clockwise from the top left."""
    w, h = float(camera.width_px), float(camera.height_px)
    return ground_at(pose, camera, ((0.0, 0.0), (w, 0.0), (w, h), (0.0, h)), height_m)
