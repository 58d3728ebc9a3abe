"""One question's photo as feature maps: made at the poses that registration asks for, each pose once."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.photo import Photo
from crossgeo.engine.placing import Offsets
from crossgeo.engine.pose import MIDDLE, Part, Pose
from crossgeo.kernels.correlation import seen_cells

STRIDES = (8, 16)  # px of the canvas
_CHUNK = 64  # canvases in memory at a time


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

    def photo_with_features(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Offsets | None = None
    ) -> tuple[NDArray[np.float32], list[Tensor], NDArray[np.bool_]]:
        """Describe a photo at P poses as (P, D) and return what `photo_features` does."""
        ...

    def photo_features(
        self, photo: Photo, poses: Sequence[Pose], centres_m: Offsets | None = None, extent_m: float | None = None
    ) -> tuple[list[Tensor], NDArray[np.bool_]]:
        """Return features (P, C, S / stride, S / stride) at each of STRIDES of P canvases, each around a ground offset, and masks.

        Canvases are `extent_m` wide on the ground, `canvas_m` unless given.
        """
        ...

    def scene_features(self, windows: NDArray[np.uint8]) -> list[Tensor]:
        """Return features of (B, W, W, 3) windows at the canvas's scale at each of STRIDES, (B, C, W / stride, W / stride)."""
        ...


@dataclass(frozen=True)
class Look:
    """What of a photo the canvas is centred on, and how wide it is on the ground."""

    part: Part = MIDDLE
    extent_m: float | None = None  # None: the model's own

    def offset_m(self, photo: Photo, pose: Pose) -> tuple[float, float]:
        """Return how far (east_m, north_m) the part's ground lies from the photo's place.

        ValueError where it is sky, or so near the horizon that the ground there shows nothing.
        """
        return pose.offset_m(photo, self.part)


@dataclass(frozen=True)
class Templates:
    """A photo's maps at P poses, for each of some strides: maps (P, C, s, s) and cells (P, s, s), 1 where seen."""

    poses: tuple[Pose, ...]
    strides: tuple[int, ...]
    maps: tuple[Tensor, ...]
    cells: tuple[Tensor, ...]

    @classmethod
    def of(cls, poses: Sequence[Pose], levels: Sequence[Tensor], masks: NDArray[np.bool_]) -> Templates:
        """Join what a describer returned for P poses at all STRIDES."""
        return cls(tuple(poses), STRIDES, tuple(levels), tuple(seen_cells(masks, stride) for stride in STRIDES))


class PhotoMaps:
    """The maps of one look at a photo, at every pose asked for so far."""

    def __init__(self, describer: DenseDescriber, photo: Photo, look: Look | None = None) -> None:
        self.photo, self.look = photo, look or Look()
        self.extent_m = self.look.extent_m or describer.canvas_m
        self._describer = describer
        self._made: dict[Pose, tuple[Templates, int]] = {}  # a batch and the pose's row in it

    def describe(self, poses: Sequence[Pose]) -> NDArray[np.float32]:
        """Return (P, D) descriptors, and keep the maps of the same pass; only canvases of the model's own extent can be described."""
        assert self.look.extent_m is None
        rows = []
        for start in range(0, len(poses), _CHUNK):
            part = poses[start : start + _CHUNK]
            described, levels, masks = self._describer.photo_with_features(self.photo, part, self._offsets(part))
            self._keep(Templates.of(part, levels, masks))
            rows.append(described)
        return np.concatenate(rows)

    def at(self, poses: Sequence[Pose], strides: tuple[int, ...] = STRIDES) -> Templates:
        """Return the maps at P poses; those that are missing are made together."""
        self.make(poses)
        made = [self._made[pose] for pose in poses]
        levels = [STRIDES.index(stride) for stride in strides]
        maps = tuple(torch.stack([batch.maps[level][row] for batch, row in made]) for level in levels)
        cells = tuple(torch.stack([batch.cells[level][row] for batch, row in made]) for level in levels)
        return Templates(tuple(poses), strides, maps, cells)

    def make(self, poses: Iterable[Pose]) -> None:
        """Make the maps at poses that are missing, for `at` to find."""
        missing = [pose for pose in dict.fromkeys(poses) if pose not in self._made]
        for start in range(0, len(missing), _CHUNK):
            part = missing[start : start + _CHUNK]
            self._keep(Templates.of(part, *self._describer.photo_features(self.photo, part, self._offsets(part), self.look.extent_m)))

    def _offsets(self, poses: Sequence[Pose]) -> Offsets:
        return [self.look.offset_m(self.photo, pose) for pose in poses]

    def _keep(self, batch: Templates) -> None:
        self._made.update({pose: (batch, row) for row, pose in enumerate(batch.poses)})
