"""Cameras on the street: where they stand, the rays of panoramas and of ordinary photos, and the way back from points to pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from crossgeo.errors import UsageError
from crossgeo.town.noise import Float32

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class StreetPose:
    """A camera near the ground, in local metres; at pitch 0 and roll 0 it looks level towards `heading_deg`."""

    x: float
    y: float
    height_m: float = 2.5
    heading_deg: float = 0.0  # clockwise from grid north
    pitch_deg: float = 0.0  # up is positive
    roll_deg: float = 0.0  # clockwise as the camera sees it: the horizon falls to the left

    def __post_init__(self) -> None:
        """Refuse a camera in the ground or one that looks away from the horizon; raises UsageError."""
        if self.height_m <= 0.0 or abs(self.pitch_deg) > 60.0 or abs(self.roll_deg) > 60.0:
            raise UsageError(f"{self} is no pose on a street; it stands above the ground and tilts 60 degrees at most")

    @property
    def axes(self) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Unit vectors (east, north, up) to the camera's right, along its view and to its top."""
        heading, pitch, roll = (math.radians(v) for v in (self.heading_deg, self.pitch_deg, self.roll_deg))
        level, right, up = (
            np.array((math.sin(heading), math.cos(heading), 0.0)),
            np.array((math.cos(heading), -math.sin(heading), 0.0)),
            np.array((0.0, 0.0, 1.0)),
        )
        ahead = level * math.cos(pitch) + up * math.sin(pitch)
        top = up * math.cos(pitch) - level * math.sin(pitch)
        return right * math.cos(roll) - top * math.sin(roll), ahead, top * math.cos(roll) + right * math.sin(roll)

    @property
    def origin(self) -> FloatArray:
        """The camera's place (3,)."""
        return np.array((self.x, self.y, self.height_m))


@dataclass(frozen=True)
class Panorama:
    """An equirectangular picture of all headings; its middle column looks along the pose's heading, columns run to the right."""

    height_px: int = 512
    width_px: int = 1024
    top_deg: float = 90.0  # elevation of the upper edge
    bottom_deg: float = -90.0

    def __post_init__(self) -> None:
        """Refuse empty bands; raises UsageError."""
        if min(self.height_px, self.width_px) < 2 or not -90.0 <= self.bottom_deg < self.top_deg <= 90.0:
            raise UsageError(f"{self} is no panorama")

    @property
    def spread(self) -> float:
        """Angle between neighbouring columns at the horizon, radians."""
        return 2.0 * math.pi / self.width_px

    def directions(self, pose: StreetPose, dx: float = 0.5, dy: float = 0.5) -> Float32:
        """Return (H, W, 3) unit directions through the same spot of every pixel, the middle unless told."""
        turn = ((np.arange(self.width_px) + dx) / self.width_px - 0.5) * (2.0 * math.pi)
        rise = np.radians(self.top_deg + (self.bottom_deg - self.top_deg) * ((np.arange(self.height_px) + dy) / self.height_px))
        right, ahead, top = pose.axes
        level = (np.sin(turn)[:, None] * right + np.cos(turn)[:, None] * ahead).astype(np.float32)  # (W, 3)
        climb = (np.sin(rise)[:, None] * top).astype(np.float32)  # (H, 3)
        return np.asarray(np.cos(rise).astype(np.float32)[:, None, None] * level + climb[:, None, :], np.float32)

    def project(self, pose: StreetPose, xyz: ArrayLike) -> FloatArray:
        """Return the (N, 2) pixels (column, row) of (N, 3) local points; rows past the band lie outside 0..H."""
        right, ahead, top = pose.axes
        v = np.atleast_2d(np.asarray(xyz, np.float64)) - pose.origin
        turn, rise = np.arctan2(v @ right, v @ ahead), np.degrees(np.arctan2(v @ top, np.hypot(v @ right, v @ ahead)))
        return np.stack(
            [(turn / (2.0 * math.pi) + 0.5) * self.width_px, (rise - self.top_deg) / (self.bottom_deg - self.top_deg) * self.height_px], 1
        )


@dataclass(frozen=True)
class StreetLens:
    """A lens without distortion over a sensor of square pixels."""

    hfov_deg: float = 70.0
    width_px: int = 1024
    height_px: int = 768

    def __post_init__(self) -> None:
        """Refuse what is no lens; raises UsageError."""
        if not 5.0 <= self.hfov_deg <= 150.0 or min(self.width_px, self.height_px) < 2:
            raise UsageError(f"{self} is no lens; give a field of view of 5 to 150 degrees")

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return self.width_px / 2.0 / math.tan(math.radians(self.hfov_deg) / 2.0)

    @property
    def spread(self) -> float:
        """Angle between neighbouring pixels in the middle, radians."""
        return 1.0 / self.focal_px

    def directions(self, pose: StreetPose, dx: float = 0.5, dy: float = 0.5) -> Float32:
        """Return (H, W, 3) unit directions through the same spot of every pixel, the middle unless told."""
        right, ahead, top = pose.axes
        a = (np.arange(self.width_px) + dx - self.width_px / 2.0) / self.focal_px
        c = (self.height_px / 2.0 - np.arange(self.height_px) - dy) / self.focal_px
        v = (a[:, None] * right + ahead).astype(np.float32) + (c[:, None] * top).astype(np.float32)[:, None, :]
        length = np.sqrt(1.0 + a[None, :] ** 2 + c[:, None] ** 2).astype(np.float32)
        return np.asarray(v / length[..., None], np.float32)

    def project(self, pose: StreetPose, xyz: ArrayLike) -> FloatArray:
        """Return the (N, 2) pixels (column, row) of (N, 3) local points; NaN behind the camera."""
        right, ahead, top = pose.axes
        v = np.atleast_2d(np.asarray(xyz, np.float64)) - pose.origin
        depth = v @ ahead
        scale = np.where(depth > 1e-6, self.focal_px / np.where(depth > 1e-6, depth, 1.0), np.nan)
        return np.stack([self.width_px / 2.0 + scale * (v @ right), self.height_px / 2.0 - scale * (v @ top)], 1)
