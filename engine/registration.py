"""Registration: a photo's feature map slid over the aerial one around a rival, which tells true rivals from false and places them finely.

The descriptor says which 60 m look alike; the features before it still know where in them each thing stands. Canvas and window go through
one stem, and their masked correlation at strides 8 and 16 peaks where the photo fits (Lewis 1995).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Protocol, runtime_checkable

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.describe import Pose
from crossgeo.engine.fine import Spot, peak_of_line
from crossgeo.engine.photo import Photo
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.kernels.correlation import masked_correlation, seen_cells
from crossgeo.models.views import photo_to_ground

STRIDES = (8, 16)  # px of the canvas
_CHUNK = 32  # canvases in memory at a time


@runtime_checkable
class DenseDescriber(Protocol):
    """What registration needs of a model."""

    @property
    def canvas_px(self) -> int:
        """Side of the photo's canvas."""
        ...

    @property
    def canvas_m(self) -> float:
        """Side of the photo's canvas on the ground."""
        ...

    def photo_features(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Sequence[tuple[float, float]] | None = None
    ) -> tuple[list[Tensor], NDArray[np.bool_]]:
        """Return features (P, C, S / stride, S / stride) at each of STRIDES of P canvases, each around a ground offset, and masks."""
        ...

    def scene_features(self, windows: NDArray[np.uint8]) -> list[Tensor]:
        """Return features of (B, W, W, 3) windows at the canvas's scale at each of STRIDES, (B, C, W / stride, W / stride)."""
        ...


@dataclass(frozen=True)
class RegistrationSettings:
    """How far and how finely a photo is slid, turned and scaled around a rival."""

    reach_px: int = 48  # to each side, a multiple of 16
    headings_deg: tuple[float, ...] = (-6.0, 0.0, 6.0)
    scales: tuple[float, ...] = (0.9, 1.0, 1.11)
    min_cells: float = 5.0  # of stride 16 that photo and imagery must share
    overlap_power: float = 0.25  # how much a fit loses that shares only part of the photo: little overlaps fit by chance


@dataclass(frozen=True)
class Fit:
    """How a photo fits at a rival: the best pose and offset, and the correlation there."""

    pose: Pose
    east_m: float
    north_m: float
    correlation: float  # mean of both strides, -1 to 1


@dataclass(frozen=True)
class PhotoMaps:
    """A photo's maps at the coarse stride, for every pose tried."""

    poses: tuple[Pose, ...]
    maps: Tensor  # (P, C, s, s)
    cells: Tensor  # (P, s, s), 1 where seen


class Registration:
    """Fits photos to the imagery of an index."""

    def __init__(self, index: GeoIndex, describer: DenseDescriber, settings: RegistrationSettings | None = None) -> None:
        self.settings = settings or RegistrationSettings()
        self._index, self._describer = index, describer

    def maps(self, photo: Photo, poses: Sequence[Pose]) -> PhotoMaps:
        """Return the photo's coarse maps at every pose tried; a rival's pose is chosen by them: descriptors hardly tell turns apart."""
        parts, cells = [], []
        for start in range(0, len(poses), _CHUNK):
            levels, masks = self._describer.photo_features(photo, poses[start : start + _CHUNK])
            parts.append(levels[-1])
            cells.append(seen_cells(masks, STRIDES[-1]))
        return PhotoMaps(tuple(poses), torch.cat(parts), torch.cat(cells))

    def register(self, photo: Photo, spots: Sequence[Spot], maps: PhotoMaps | None = None, shrink: float = 1.0) -> list[Spot]:
        """Return the spots moved to where the photo fits, in the given order.

        With `maps` each spot first takes the pose that fits best of all; `shrink` narrows the turns and scales then tried around it.
        """
        return [self._register_one(photo, spot, maps, shrink) for spot in spots]

    def _register_one(self, photo: Photo, spot: Spot, maps: PhotoMaps | None, shrink: float) -> Spot:
        placed = replace(spot, fit=0.0)
        if maps is not None:
            scene, valid = self._scene(spot.segment, spot.x, spot.y)
            surface = self._surface(STRIDES[-1], maps.maps, maps.cells, scene[-1][0], valid)
            fit = self._best(surface, STRIDES[-1], maps.poses)
            if fit is not None:
                placed = replace(placed, x=spot.x + fit.east_m, y=spot.y + fit.north_m, pose=fit.pose)
        poses = self._poses(placed.pose, shrink)
        levels, masks = self._describer.photo_features(photo, poses)
        fit = self._fit(levels, masks, self._scene(placed.segment, placed.x, placed.y), poses)
        if fit is None:
            return placed
        return replace(placed, x=placed.x + fit.east_m, y=placed.y + fit.north_m, pose=fit.pose, fit=fit.correlation)

    def register_click(self, photo: Photo, click_px: tuple[float, float], spot: Spot, shrink: float = 1.0) -> Spot:
        """Return the spot with position and pose corrected so that the ground around a click (decoded pixels) fits best.

        Away from the photo's centre an unknown tilt, a turned lens or a slope moves the ground; this takes up what it moved. A spot whose
        click shows sky, or around which too little of the photo is seen, comes back as it was.
        """
        poses = self._poses(spot.pose, shrink)
        try:
            offsets = [photo_to_ground(pose.geometry(photo), *click_px) for pose in poses]
            east_m, north_m = photo_to_ground(spot.pose.geometry(photo), *click_px)
        except ValueError:
            return spot
        levels, masks = self._describer.photo_features(photo, poses, offsets)
        fit = self._fit(levels, masks, self._scene(spot.segment, spot.x + east_m, spot.y + north_m), poses)
        if fit is None:
            return spot
        at_east, at_north = offsets[poses.index(fit.pose)]
        return replace(spot, x=spot.x + east_m + fit.east_m - at_east, y=spot.y + north_m + fit.north_m - at_north, pose=fit.pose)

    def _scene(self, segment: Segment, x: float, y: float) -> tuple[list[Tensor], NDArray[np.bool_]]:
        size_px = self._describer.canvas_px + 2 * self.settings.reach_px
        size_m = self._describer.canvas_m * size_px / self._describer.canvas_px
        rgb, valid = self._index.read_window(segment, x, y, size_m, size_px)
        return self._describer.scene_features(rgb[None]), valid

    def _fit(
        self, levels: Sequence[Tensor], masks: NDArray[np.bool_], scene: tuple[list[Tensor], NDArray[np.bool_]], poses: Sequence[Pose]
    ) -> Fit | None:
        total: Tensor | None = None
        for stride, templates, ground in zip(STRIDES, levels, scene[0], strict=True):
            part = self._surface(stride, templates, seen_cells(masks, stride), ground[0], scene[1])
            if total is not None:
                part = total + F.interpolate(part.unsqueeze(1), size=total.shape[1:], mode="bilinear", align_corners=True)[:, 0]
            total = part
        assert total is not None
        return self._best(total / len(STRIDES), STRIDES[0], poses)

    def _surface(self, stride: int, templates: Tensor, cells: Tensor, scene: Tensor, valid: NDArray[np.bool_]) -> Tensor:
        """Correlate P maps with a scene at each shift, (P, s, s): less where little of the photo overlaps, 0 where too little does."""
        surfaces, overlaps = masked_correlation(templates, cells, scene[None], seen_cells(valid[None], stride))
        part, overlap = surfaces[0], overlaps[0]
        least = self.settings.min_cells * (STRIDES[-1] / stride) ** 2
        share = overlap / cells.sum(dim=(1, 2)).clamp_min(1.0)[:, None, None]
        return torch.where(overlap >= least, part * share.clamp(0.0, 1.0) ** self.settings.overlap_power, torch.zeros_like(part))

    def _best(self, surface: Tensor, stride: int, poses: Sequence[Pose]) -> Fit | None:
        table = surface.numpy()
        pose, row, column = np.unravel_index(int(table.argmax()), table.shape)
        if table[pose, row, column] <= 0.0:
            return None
        return self._at_peak(table[pose], int(row), int(column), stride, poses[int(pose)])

    def _at_peak(self, table: NDArray[np.float32], row: int, column: int, stride: int, pose: Pose) -> Fit:
        size = table.shape[0]

        def score(r: int, c: int) -> float | None:
            return float(table[r, c]) if 0 <= r < size and 0 <= c < size else None

        right = peak_of_line(score(row, column - 1), score(row, column), score(row, column + 1))
        down = peak_of_line(score(row - 1, column), score(row, column), score(row + 1, column))
        cell_m = stride * self._describer.canvas_m / self._describer.canvas_px
        middle = (size - 1) / 2.0
        return Fit(pose, (column + right - middle) * cell_m, (middle - row - down) * cell_m, float(table[row, column]))

    def _poses(self, pose: Pose, shrink: float) -> list[Pose]:
        return [
            replace(pose, heading_deg=(pose.heading_deg + turn * shrink) % 360.0, width_m=pose.width_m * (1.0 + (scale - 1.0) * shrink))
            for turn, scale in product(self.settings.headings_deg, self.settings.scales)
        ]
