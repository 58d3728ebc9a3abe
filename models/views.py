"""From pixels to model input: the one definition that training, index and query share.

A drone photo is placed north up on a square canvas at a known scale and the rest masked; a tile of imagery is resized to that square.
Ground offsets are (east_m, north_m) from the ground point at the photo's centre, against grid north. The ground is taken as flat.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from functools import lru_cache
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]  # (H, W, 3) RGB
Mask = NDArray[np.bool_]  # (H, W)
Matrix = NDArray[np.float64]  # (3, 3)

DEFAULT_HFOV_DEG = 70.0  # between the wide (84) and the long (54) lenses of common drones


@dataclass(frozen=True)
class PhotoGeometry:
    """How a drone photo lies over flat ground (pinhole camera without distortion)."""

    width_px: int
    height_px: int
    ground_width_m: float  # width of the ground seen along the row through the photo's centre
    heading_deg: float  # direction of the photo's upper edge, clockwise from grid north
    tilt_deg: float = 0.0  # 0 looks straight down
    hfov_deg: float = DEFAULT_HFOV_DEG  # matters only where the tilt is not 0

    @property
    def focal_px(self) -> float:
        """Focal length in pixels."""
        return self.width_px / (2.0 * math.tan(math.radians(self.hfov_deg) / 2.0))

    @property
    def distance_m(self) -> float:
        """Distance from the camera to the ground at the photo's centre, in metres."""
        return self.ground_width_m * self.focal_px / self.width_px

    @classmethod
    def from_height(
        cls, width_px: int, height_px: int, height_m: float, heading_deg: float, tilt_deg: float, hfov_deg: float
    ) -> PhotoGeometry:
        """Return the geometry of a camera `height_m` above the ground."""
        ground_width_m = 2.0 * math.tan(math.radians(hfov_deg) / 2.0) * height_m / math.cos(math.radians(tilt_deg))
        return cls(width_px, height_px, ground_width_m, heading_deg, tilt_deg, hfov_deg)


def ground_to_photo(geometry: PhotoGeometry) -> Matrix:
    """Return the homography from (east_m, north_m, 1) to photo pixels (x, y, w), pixel edges at whole numbers."""
    heading, tilt = math.radians(geometry.heading_deg), math.radians(geometry.tilt_deg)
    turn = np.array(
        [[math.cos(heading), -math.sin(heading), 0.0], [math.sin(heading), math.cos(heading), 0.0], [0.0, 0.0, 1.0]]
    )  # east, north -> right, forward
    distance, focal = geometry.distance_m, geometry.focal_px
    # A ground point (right, forward) lies at camera x = right, up = forward cos(tilt), depth = distance + forward sin(tilt).
    camera = np.array([[1.0, 0.0, 0.0], [0.0, math.cos(tilt), 0.0], [0.0, math.sin(tilt), distance]])
    project = np.array([[focal, 0.0, geometry.width_px / 2.0], [0.0, -focal, geometry.height_px / 2.0], [0.0, 0.0, 1.0]])
    return np.asarray(project @ camera @ turn)


def photo_to_ground(geometry: PhotoGeometry, x_px: float, y_px: float) -> tuple[float, float]:
    """Return the (east_m, north_m) offset of the ground seen at a photo pixel; ValueError above the horizon."""
    east, north, scale = np.linalg.solve(ground_to_photo(geometry), np.array([x_px, y_px, 1.0]))
    depth_sign = (ground_to_photo(geometry) @ np.array([east / scale, north / scale, 1.0]))[2] if scale else 0.0
    if scale == 0.0 or depth_sign <= 0.0:
        raise ValueError("the pixel shows sky, not ground")
    return float(east / scale), float(north / scale)


def canvas_to_ground(size_px: int, extent_m: float, centre_m: tuple[float, float] = (0.0, 0.0)) -> Matrix:
    """Return the affine map from canvas pixels (x, y, 1) to (east_m, north_m, 1) around `centre_m`."""
    step = extent_m / size_px
    return np.array([[step, 0.0, centre_m[0] - extent_m / 2.0], [0.0, -step, centre_m[1] + extent_m / 2.0], [0.0, 0.0, 1.0]])


def _centres(matrix: Matrix) -> Matrix:
    """Turn a map between pixel edges into OpenCV's map between pixel centres."""
    shift = np.array([[1.0, 0.0, 0.5], [0.0, 1.0, 0.5], [0.0, 0.0, 1.0]])
    back = np.array([[1.0, 0.0, -0.5], [0.0, 1.0, -0.5], [0.0, 0.0, 1.0]])
    return np.asarray(back @ matrix @ shift)


def warp(image: Image, target_to_source: Matrix, size_px: int | tuple[int, int], shrink: float = 1.0) -> tuple[Image, Mask]:
    """Sample `image` at `target_to_source @ (x, y, 1)` for a target of `size_px` (square, or (width, height)).

    `shrink` is how many source pixels fall on one target pixel; above 1.5 the source is first averaged down by area.
    Returns (H, W, 3) uint8 and an (H, W) mask that is False outside the source.
    """
    width, height = (size_px, size_px) if isinstance(size_px, int) else size_px
    if shrink > 1.5:
        small = (max(1, round(image.shape[1] / shrink)), max(1, round(image.shape[0] / shrink)))
        scale = np.diag([small[0] / image.shape[1], small[1] / image.shape[0], 1.0])
        image = np.asarray(cv2.resize(image, small, interpolation=cv2.INTER_AREA), np.uint8)
        target_to_source = scale @ target_to_source
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    matrix = _centres(target_to_source)
    warped = cv2.warpPerspective(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REPLICATE)
    x, y = np.arange(width)[None, :] + 0.5, np.arange(height)[:, None] + 0.5
    u, v, w = (target_to_source[k, 0] * x + target_to_source[k, 1] * y + target_to_source[k, 2] for k in range(3))
    with np.errstate(divide="ignore", invalid="ignore"):
        inside = (w > 0) & (u >= 0) & (v >= 0) & (u <= image.shape[1] * w) & (v <= image.shape[0] * w)
    # An array index by a mask would take longer than the warp.
    return np.asarray(cv2.copyTo(warped, inside.view(np.uint8)), np.uint8), np.asarray(inside, np.bool_)


def resized(picture: Image, size: tuple[int, int]) -> Image:
    """Bring an (h, w, 3) picture to (width, height) px: by area where its width shrinks, linearly where it grows; always a new array."""
    how = cv2.INTER_AREA if picture.shape[1] > size[0] else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(picture, size, interpolation=how), np.uint8)


def place_on_canvas(
    photo: Image, geometry: PhotoGeometry, size_px: int, extent_m: float, centre_m: tuple[float, float] = (0.0, 0.0)
) -> tuple[Image, Mask]:
    """Place a photo north up on a `size_px` canvas of `extent_m` metres centred on a ground offset; the mask is True where it shows."""
    matrix = ground_to_photo(geometry) @ canvas_to_ground(size_px, extent_m, centre_m)
    shrink = geometry.width_px / geometry.ground_width_m * extent_m / size_px
    return warp(photo, matrix, size_px, shrink)


@dataclass(frozen=True)
class DroneView:
    """The view of EgoTR's drone preset: a square canvas for photos, a square tile for imagery, both north up."""

    size_px: int = 160
    extent_m: float = 60.0
    mean: tuple[float, float, float] = (0.498, 0.498, 0.498)
    std: tuple[float, float, float] = (0.502, 0.502, 0.502)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return {"kind": "drone", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> DroneView:
        """Read what `to_dict` gave."""
        return cls(int(values["size_px"]), float(values["extent_m"]), tuple(values["mean"]), tuple(values["std"]))

    @property
    def digest(self) -> str:
        """A short hash of everything that shapes the model's input; an index refuses a model with another."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def canvas(self, photo: Image, geometry: PhotoGeometry, centre_m: tuple[float, float] = (0.0, 0.0)) -> tuple[Image, Mask]:
        """Place an (H, W, 3) photo on the (size_px, size_px) canvas; returns the canvas and its mask."""
        return place_on_canvas(photo, geometry, self.size_px, self.extent_m, centre_m)

    def tile_input(self, tile: Image) -> Image:
        """Resize a (P, P, 3) tile of `extent_m` metres to (size_px, size_px, 3) by area."""
        return resized(tile, (self.size_px, self.size_px))

    def normalise(self, images: Image, masks: Mask | None = None) -> Tensor:
        """Turn (B, S, S, 3) uint8 images into (B, 3, S, S) float32; masked pixels become 0, the mean."""
        return normalise(images, masks, self.mean, self.std)

    def normalise_tiles(self, tiles: Image) -> Tensor:
        """Turn (B, S, S, 3) uint8 tiles into (B, 3, S, S) float32; pixels of pure black, which is no imagery, become 0, the mean."""
        seen = (tiles[..., 0] | tiles[..., 1] | tiles[..., 2]) != 0  # ten times as quick as `any`
        return normalise(tiles, seen, self.mean, self.std)

    def normalise_on_device(self, tiles: Tensor) -> Tensor:
        """Do what `normalise_tiles` does on the device of (B, S, S, 3) uint8 tiles, but for the last bits."""
        mean, std = (torch.tensor(values, device=tiles.device) for values in (self.mean, self.std))
        seen = tiles.amax(dim=3, keepdim=True) != 0
        return torch.where(seen, (tiles.float() / 255.0 - mean) / std, 0.0).permute(0, 3, 1, 2)


def normalise(images: Image, masks: Mask | None, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """Return (x / 255 - mean) / std as (B, 3, H, W) float32 in channels-last memory, 0 where `masks` (B, H, W) is False."""
    count, height, width, channels = images.shape
    x = np.empty((count * height, width, channels), np.float32)
    if x.size:  # a byte has 256 values: looking them up takes a fifth of reckoning them, and gives the same numbers
        cv2.LUT(np.ascontiguousarray(images).reshape(count * height, width, channels), _normalised_bytes(mean, std), x)
        if masks is not None:
            x = cv2.copyTo(x, np.ascontiguousarray(masks).reshape(count * height, width).view(np.uint8))
    return torch.from_numpy(x.reshape(count, height, width, channels)).permute(0, 3, 1, 2)  # (B, 3, H, W), channels last


@lru_cache(maxsize=16)
def _normalised_bytes(mean: tuple[float, ...], std: tuple[float, ...]) -> NDArray[np.float32]:
    """Return (1, 256, 3): what each byte becomes."""
    x = torch.arange(256.0).view(256, 1)
    return ((x / 255.0 - torch.tensor(mean)) / torch.tensor(std)).numpy()[None]


@dataclass(frozen=True)
class ObjectQuery:
    """A click in a photo, as AttenGeo takes it."""

    canvas: Image  # (S, S, 3)
    mask: Mask  # (S, S)
    click_px: tuple[float, float]  # x, y on the canvas
    centre_m: tuple[float, float]  # (east, north) of the window's middle from where the photo lies
    sight_m: tuple[float, float] | None = None  # (east, north) of the end of the line on the ground that a street photo's click looks along


@dataclass(frozen=True)
class ObjectView:
    """The view of AttenGeo's drone preset: a photo canvas centred near the click and a window of imagery, at one scale."""

    photo_px: int = 160
    window_px: int = 256
    gsd_m: float = 0.1875
    mean: tuple[float, float, float] = (0.498, 0.498, 0.498)
    std: tuple[float, float, float] = (0.502, 0.502, 0.502)

    @property
    def photo_extent_m(self) -> float:
        """Side of the photo's canvas on the ground, in metres."""
        return self.photo_px * self.gsd_m

    @property
    def window_extent_m(self) -> float:
        """Side of the imagery window, in metres."""
        return self.window_px * self.gsd_m

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return {"kind": "drone-object", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> ObjectView:
        """Read what `to_dict` gave."""
        mean, std = tuple(values["mean"]), tuple(values["std"])
        return cls(int(values["photo_px"]), int(values["window_px"]), float(values["gsd_m"]), mean, std)

    def query(self, photo: Image, geometry: PhotoGeometry, point_px: tuple[float, float]) -> ObjectQuery:
        """Place the photo around a click; ValueError when the point shows sky."""
        centre_m = photo_to_ground(geometry, *point_px)
        canvas, mask = place_on_canvas(photo, geometry, self.photo_px, self.photo_extent_m, centre_m)
        return ObjectQuery(canvas, mask, (self.photo_px / 2.0, self.photo_px / 2.0), centre_m)

    def normalise(self, images: Image, masks: Mask | None = None) -> Tensor:
        """Turn (B, S, S, 3) uint8 images into (B, 3, S, S) float32; masked pixels become 0, the mean."""
        return normalise(images, masks, self.mean, self.std)
