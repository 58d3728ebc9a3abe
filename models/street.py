"""Photos taken from the street: where a direction lies in a panorama or a perspective photo, and sampling them along directions.

Directions are (east, north, up) against grid north. A panorama is a part of the equirectangular sphere, its columns azimuths and its rows
elevations; a perspective photo is a pinhole camera's. Pixel edges lie at whole numbers; the ground is taken as flat.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.models.views import Image, Mask

Float = NDArray[np.float64]
Projection = Literal["panorama", "perspective"]

DEFAULT_HEIGHT_M = 2.0  # between a phone in the hand and a mast on a car
WIDEST_LENS_DEG = 170.0  # a photo that shows more is a panorama, or a part of one
DEFAULT_STREET_FOV_DEG = 67.0  # the main lens of most phones, held upright or across, lies between 52 and 73
_NEAR_HORIZON = math.tan(math.radians(0.5))  # ground seen flatter than this is anywhere
_ROW = 256  # samples laid side by side for cv2, which takes no longer rows than 32,766


@dataclass(frozen=True)
class StreetGeometry:
    """A photo from the street: how it was projected and where it looked."""

    width_px: int
    height_px: int
    projection: Projection
    heading_deg: float  # of the middle column, clockwise from grid north
    hfov_deg: float = 360.0
    pitch_deg: float = 0.0  # of the optical axis above the horizon
    roll_deg: float = 0.0  # clockwise, as seen from behind the camera
    height_m: float = DEFAULT_HEIGHT_M  # of the camera above the ground
    horizon: float = 0.5  # of a panorama: where its horizon lies, as a share of its height

    @property
    def px_per_rad(self) -> float:
        """Focal length of a perspective photo, pixels a radian of a panorama."""
        if self.projection == "panorama":
            return self.width_px / math.radians(self.hfov_deg)
        return self.width_px / (2.0 * math.tan(math.radians(self.hfov_deg) / 2.0))

    @property
    def closes(self) -> bool:
        """Whether the photo's left and right edges are one."""
        return self.projection == "panorama" and self.hfov_deg > 359.0

    @property
    def axes(self) -> Float:
        """The camera's right, up and forward as rows (3, 3) of (east, north, up)."""
        heading, pitch, roll = (math.radians(a) for a in (self.heading_deg, self.pitch_deg, self.roll_deg))
        ahead = np.array((math.sin(heading) * math.cos(pitch), math.cos(heading) * math.cos(pitch), math.sin(pitch)))
        level = np.array((math.cos(heading), -math.sin(heading), 0.0))
        top = np.cross(level, ahead)
        return np.stack([level * math.cos(roll) - top * math.sin(roll), top * math.cos(roll) + level * math.sin(roll), ahead])


def directions_to_pixels(geometry: StreetGeometry, directions: Float) -> tuple[Float, Float, Mask]:
    """Return x, y (...) in pixels of where (..., 3) directions of any length lie in the photo, and whether the photo shows them."""
    right, up, ahead = np.moveaxis(directions @ geometry.axes.T, -1, 0)
    scale = geometry.px_per_rad
    if geometry.projection == "panorama":
        x = geometry.width_px / 2.0 + scale * np.arctan2(right, ahead)
        y = geometry.height_px * geometry.horizon - scale * np.arctan2(up, np.hypot(right, ahead))
        front = np.ones(x.shape, np.bool_)
    else:
        front = ahead > 1e-9
        depth = np.where(front, ahead, 1.0)
        x, y = geometry.width_px / 2.0 + scale * right / depth, geometry.height_px / 2.0 - scale * up / depth
    shown = front & (x >= 0.0) & (x <= geometry.width_px) & (y >= 0.0) & (y <= geometry.height_px)
    return x, y, np.asarray(shown, np.bool_)


def pixels_to_directions(geometry: StreetGeometry, x: Float, y: Float) -> Float:
    """Return the (..., 3) unit directions that pixels (x, y) of the photo look along."""
    middle = geometry.horizon if geometry.projection == "panorama" else 0.5
    right, down = np.asarray(x, np.float64) - geometry.width_px / 2.0, np.asarray(y, np.float64) - geometry.height_px * middle
    scale = geometry.px_per_rad
    if geometry.projection == "panorama":
        azimuth, elevation = right / scale, -down / scale
        local = np.stack([np.sin(azimuth) * np.cos(elevation), np.sin(elevation), np.cos(azimuth) * np.cos(elevation)], axis=-1)
    else:
        local = np.stack([right / scale, -down / scale, np.ones_like(right)], axis=-1)
        local /= np.linalg.norm(local, axis=-1, keepdims=True)
    return np.asarray(local @ geometry.axes)


def street_to_ground(geometry: StreetGeometry, x_px: float, y_px: float) -> tuple[float, float]:
    """Return the (east_m, north_m) offset from the camera of the ground seen at a pixel; ValueError at and above the horizon."""
    east, north, up = pixels_to_directions(geometry, np.array(x_px), np.array(y_px)).tolist()
    if up > -_NEAR_HORIZON * math.hypot(east, north):
        raise ValueError("the pixel shows sky or ground at the horizon")
    return -east / up * geometry.height_m, -north / up * geometry.height_m


def pyramid(photo: Image) -> tuple[Image, ...]:
    """Return a photo and its halvings, down to 8 px."""
    levels = [photo]
    while min(levels[-1].shape[:2]) >= 16:
        size = (levels[-1].shape[1] // 2, levels[-1].shape[0] // 2)
        levels.append(np.asarray(cv2.resize(levels[-1], size, interpolation=cv2.INTER_AREA), np.uint8))
    return tuple(levels)


def look_along(levels: Sequence[Image], geometry: StreetGeometry, directions: Float) -> tuple[Image, Mask]:
    """Sample a photo's `pyramid` along (H, W, 3) directions: (H, W, 3) uint8 and a mask (H, W), False where the photo does not look.

    Each pixel is averaged over about what it covers: nearest power of two of the photo's pixels, by area, then bilinear.
    """
    x, y, shown = directions_to_pixels(geometry, directions)
    wanted = np.minimum(_halvings(geometry, x, y), len(levels) - 1)
    out = np.zeros((*shown.shape, 3), np.uint8)
    for number in range(int(wanted.max(initial=0, where=shown)) + 1):
        here = shown & (wanted == number)
        if here.any():
            image = levels[number]
            right, down = image.shape[1] / geometry.width_px, image.shape[0] / geometry.height_px
            out[here] = _sample(image, geometry.closes, x[here] * right, y[here] * down)
    return out, shown


def _halvings(geometry: StreetGeometry, x: Float, y: Float) -> NDArray[np.intp]:
    """How often the photo is halved before each pixel is sampled, from how far its neighbours' samples lie."""
    steps = []
    for axis in (0, 1):
        across, down = np.abs(np.gradient(x, axis=axis)), np.abs(np.gradient(y, axis=axis))
        if geometry.closes:
            across = np.where(across > geometry.width_px / 4.0, 0.0, across)  # over the seam
        steps.append(np.hypot(across, down))
    # The smaller of the two steps keeps the sharp direction: far ground is coarse along the ray alone.
    covered = np.minimum(*steps)
    return np.asarray(np.floor(np.log2(np.clip(covered / 1.5, 1.0, 64.0))), np.intp)


def _sample(image: Image, closes: bool, x: Float, y: Float) -> Image:
    """Return the colours (N, 3) at N pixels."""
    if closes:
        image = np.concatenate([image[:, -1:], image, image[:, :1]], axis=1)
        x = x + 1.0
    at = np.zeros((2, -(-len(x) // _ROW) * _ROW), np.float32)
    at[0, : len(x)], at[1, : len(y)] = x - 0.5, y - 0.5  # cv2 counts pixels by their centres
    columns, rows = at.reshape(2, -1, _ROW)
    sampled = cv2.remap(image, columns, rows, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(sampled.reshape(-1, 3)[: len(x)], np.uint8)
