"""Placing photos on canvases: the pixels of a photo at many poses, brought down to the canvas's scale once and not once a pose."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import DronePose, Pose, StreetPose
from crossgeo.models.street import look_along, pyramid
from crossgeo.models.street_view import canvas_directions
from crossgeo.models.views import Image, place_on_canvas

_SCALES = 64  # of one photo that are kept
Offsets = Sequence[tuple[float, float]]  # east_m, north_m from each pose's place
Own_contra = TypeVar("Own_contra", bound=Pose, contravariant=True)


class Placer(Protocol, Generic[Own_contra]):
    """Places a photo north up on canvases; one placer serves one kind of pose."""

    def place(
        self, photo: Photo, poses: Sequence[Own_contra], centres_m: Offsets, size_px: int, extent_m: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return (P, S, S, 3) canvases of `extent_m` metres at P poses, each around a ground offset, and their (P, S, S) masks."""
        ...


class _Shrunk(threading.local):
    """What a thread brought down of its last photo, by width: threads ask about photos of their own."""

    def __init__(self) -> None:
        self.of: NDArray[np.uint8] | None = None
        self.by_width: dict[float, Photo] = {}


class _Halved(threading.local):
    """A thread's last photo and its halvings."""

    def __init__(self) -> None:
        self.of: NDArray[np.uint8] | None = None
        self.levels: tuple[Image, ...] = ()


class DronePlacer:
    """Places photos from above by their homography; keeps what it brought down of each thread's last photo, by its width."""

    def __init__(self) -> None:
        self._kept = _Shrunk()

    def place(
        self, photo: Photo, poses: Sequence[DronePose], centres_m: Offsets, size_px: int, extent_m: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return canvases and masks; see `Placer`. Bringing a large photo down for each pose would be a sixth of a question's time."""
        placed = []
        for pose, centre_m in zip(poses, centres_m, strict=True):
            small = self.brought_down(photo, pose.width_m * size_px / extent_m)
            placed.append(place_on_canvas(small.pixels, pose.geometry(small), size_px, extent_m, centre_m))
        return np.stack([canvas for canvas, _ in placed]), np.stack([mask for _, mask in placed])

    def brought_down(self, photo: Photo, width_px: float) -> Photo:
        """Return a photo about as wide as it is on a canvas, or as it is where it is no wider."""
        kept = self._kept
        if kept.of is not photo.pixels or len(kept.by_width) > _SCALES:
            kept.of, kept.by_width = photo.pixels, {}
        if width_px not in kept.by_width:
            kept.by_width[width_px] = _shrink(photo, width_px)
        return kept.by_width[width_px]


class StreetPlacer:
    """Places photos from the street by rolling them out over the ground; keeps the halvings of each thread's last photo."""

    def __init__(self) -> None:
        self._kept = _Halved()

    def place(
        self, photo: Photo, poses: Sequence[StreetPose], centres_m: Offsets, size_px: int, extent_m: float
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """Return canvases and masks; see `Placer`."""
        kept = self._kept
        if kept.of is not photo.pixels:
            kept.of, kept.levels = photo.pixels, pyramid(photo.pixels)
        placed = [
            look_along(kept.levels, pose.geometry(photo), canvas_directions(size_px, extent_m, pose.height_m, centre_m))
            for pose, centre_m in zip(poses, centres_m, strict=True)
        ]
        return np.stack([canvas for canvas, _ in placed]), np.stack([mask for _, mask in placed])


def _shrink(photo: Photo, width_px: float) -> Photo:
    """Average a photo down to about `width_px` across, where that is less than its width."""
    height, width = photo.pixels.shape[:2]
    if width <= 1.5 * width_px:  # as `views.warp`, which averages down only past this
        return photo
    size = (max(1, round(width_px)), max(1, round(height * width_px / width)))
    return replace(photo, pixels=np.asarray(cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA), np.uint8))
