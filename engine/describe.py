"""Describing: photos at several poses and tiles of imagery become descriptors, through the view that belongs to the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import cv2
import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.photo import Photo
from crossgeo.engine.runtime import DenseRuntime, Runtime
from crossgeo.engine.runtime.torch import FeatureRuntime, Precision, TorchRuntime
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.models.checkpoint import load_egotr
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DEFAULT_HFOV_DEG, DroneView, PhotoGeometry

_CHUNK = 32  # canvases or tiles in memory at a time
_SCALES = 64  # of one photo that are kept


@dataclass(frozen=True)
class Pose:
    """How a photo may lie on the ground; the tilt is 0 where it is unknown (the weights are trained to bear it)."""

    heading_deg: float  # of the photo's upper edge, clockwise from grid north
    width_m: float  # of ground along the row through the photo's centre
    tilt_deg: float = 0.0
    fov_deg: float = DEFAULT_HFOV_DEG

    def geometry(self, photo: Photo) -> PhotoGeometry:
        """Return the view's geometry of the photo as decoded."""
        height_px, width_px = photo.pixels.shape[:2]
        return PhotoGeometry(width_px, height_px, self.width_m, self.heading_deg, self.tilt_deg, self.fov_deg)


class Describer(Protocol):
    """What the search needs of a model: two ways to make descriptors, and whose they are."""

    @property
    def identity(self) -> ModelIdentity:
        """Which weights and view; an index of others is refused."""
        ...

    @property
    def card(self) -> dict[str, Any]:
        """The card of the weights; `thresholds` in it decide the status."""
        ...

    def photo(self, photo: Photo, poses: Sequence[Pose]) -> NDArray[np.float32]:
        """Describe a photo at P poses as (P, D) unit vectors."""
        ...

    def tiles(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe (B, P, P, 3) uint8 RGB tiles as (B, D) unit vectors."""
        ...


def place_photo(
    view: DroneView,
    photo: Photo,
    poses: Sequence[Pose],
    centres_m: Sequence[tuple[float, float]] | None = None,
    shrunk: dict[float, Photo] | None = None,
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Place a photo on the view's canvas at P poses, each around a ground offset: (P, S, S, 3) canvases and (P, S, S) masks.

    As `view.canvas` of each pose, but the photo is brought down to the canvas's scale once a ground width and not once a pose;
    `shrunk` keeps what was brought down, by its width in pixels, for the next call about the same photo.
    """
    shrunk = {} if shrunk is None else shrunk
    placed = []
    for pose, centre_m in zip(poses, centres_m or [(0.0, 0.0)] * len(poses), strict=True):
        width_px = pose.width_m * view.size_px / view.extent_m
        if width_px not in shrunk:
            shrunk[width_px] = _shrink(photo, width_px)
        small = shrunk[width_px]
        placed.append(view.canvas(small.pixels, pose.geometry(small), centre_m))
    return np.stack([canvas for canvas, _ in placed]), np.stack([mask for _, mask in placed])


def _shrink(photo: Photo, width_px: float) -> Photo:
    """Average a photo down to about `width_px` across, where that is less than its width."""
    height, width = photo.pixels.shape[:2]
    if width <= 1.5 * width_px:  # as `views.warp`, which averages down only past this
        return photo
    size = (max(1, round(width_px)), max(1, round(height * width_px / width)))
    return replace(photo, pixels=np.asarray(cv2.resize(photo.pixels, size, interpolation=cv2.INTER_AREA), np.uint8))


class DroneDescriber:
    """EgoTR with its drone view: photos go through the ground branch, tiles through the aerial branch."""

    def __init__(
        self,
        view: DroneView,
        branches: tuple[DenseRuntime, Runtime],
        stems: tuple[FeatureRuntime, FeatureRuntime],
        identity: ModelIdentity,
        card: dict[str, Any],
    ) -> None:
        """Join a view with the ground and the aerial branch, and the stems of both for registration."""
        self.view, self.identity, self.card = view, identity, card
        self._ground, self._aerial = branches
        self._ground_stem, self._aerial_stem = stems
        self._last: tuple[NDArray[np.uint8], dict[float, Photo]] | None = None

    @property
    def canvas_px(self) -> int:
        """Side of the photo's canvas."""
        return self.view.size_px

    @property
    def canvas_m(self) -> float:
        """Side of the photo's canvas on the ground."""
        return self.view.extent_m

    @classmethod
    def load(cls, weights: str = "egotr-s-drone", precision: Precision = "auto", batch: int = 16) -> DroneDescriber:
        """Load weights by shipped name or path; raise WeightsError when they are missing or damaged."""
        model = load_egotr(weights)
        view = DroneView.from_dict(model.card["view"])
        ground, aerial = fold_branch(model.module.ground), fold_branch(model.module.aerial)
        branches = TorchRuntime(ground, batch, precision), TorchRuntime(aerial, batch, precision)
        stems = FeatureRuntime(ground.stem, precision), FeatureRuntime(aerial.stem, precision)
        return cls(view, branches, stems, ModelIdentity(model.identity[0], model.identity[1], view.digest), model.card)

    def photo(self, photo: Photo, poses: Sequence[Pose]) -> NDArray[np.float32]:
        """Describe a photo at P poses as (P, D) unit vectors."""
        rows = []
        for start in range(0, len(poses), _CHUNK):
            canvases, masks = self._place(self.view, photo, poses[start : start + _CHUNK])
            rows.append(self._ground.run(self.view.normalise(canvases, masks).numpy()))
        return np.concatenate(rows)

    def photo_with_features(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Sequence[tuple[float, float]] | None = None
    ) -> tuple[NDArray[np.float32], list[Tensor], NDArray[np.bool_]]:
        """Describe a photo at P poses as (P, D) unit vectors and return the stem's maps of the same pass, as `photo_features`."""
        canvases, masks = self._place(self.view, photo, poses, centres_m)
        rows, levels = self._ground.run_with_maps(self.view.normalise(canvases, masks))
        return rows, levels, masks

    def photo_features(
        self,
        photo: Photo,
        poses: Sequence[Pose],
        centres_m: Sequence[tuple[float, float]] | None = None,
        extent_m: float | None = None,
    ) -> tuple[list[Tensor], NDArray[np.bool_]]:
        """Return the stem's maps (P, C, S / stride, S / stride) of P canvases, each around a ground offset, and the masks (P, S, S).

        Canvases are `extent_m` wide on the ground, `canvas_m` unless given.
        Photos go through the ground branch's stem and windows through the aerial branch's, as `training/dense.py` trains them to agree.
        """
        view = self.view if extent_m is None else replace(self.view, extent_m=extent_m)
        canvases, masks = self._place(view, photo, poses, centres_m)
        return self._ground_stem.run(self.view.normalise(canvases, masks)), masks

    def _place(
        self, view: DroneView, photo: Photo, poses: Sequence[Pose], centres_m: Sequence[tuple[float, float]] | None = None
    ) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
        """`place_photo`, which one question asks for dozens of times: bringing a large photo down each time would be a sixth of it."""
        last = self._last
        if last is None or last[0] is not photo.pixels:
            last = self._last = (photo.pixels, {})
        if len(last[1]) > _SCALES:
            last[1].clear()
        return place_photo(view, photo, poses, centres_m, last[1])

    def scene_features(self, windows: NDArray[np.uint8]) -> list[Tensor]:
        """Return the stem's maps of (B, W, W, 3) uint8 RGB windows at the canvas's scale, (B, C, W / stride, W / stride) each."""
        return self._aerial_stem.run(self.view.normalise_tiles(windows))

    def tiles(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe (B, P, P, 3) uint8 RGB tiles, black where there is no imagery, as (B, D) unit vectors; what `build_index` calls."""
        rows = []
        for start in range(0, len(tiles), _CHUNK):
            inputs = np.stack([self.view.tile_input(tile) for tile in tiles[start : start + _CHUNK]])
            rows.append(self._aerial.run(self.view.normalise_tiles(inputs).numpy()))
        return np.concatenate(rows)
