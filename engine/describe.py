"""Describing: photos at several poses and tiles of imagery become descriptors, through the view that belongs to the weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from crossgeo.engine.photo import Photo
from crossgeo.engine.runtime import Runtime
from crossgeo.engine.runtime.torch import Precision, TorchRuntime
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.models.checkpoint import load_egotr
from crossgeo.models.fold import fold_branch
from crossgeo.models.views import DEFAULT_HFOV_DEG, DroneView, PhotoGeometry
from numpy.typing import NDArray

_CHUNK = 32  # canvases or tiles in memory at a time


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


class DroneDescriber:
    """EgoTR with its drone view: photos go through the ground branch, tiles through the aerial branch."""

    def __init__(self, view: DroneView, ground: Runtime, aerial: Runtime, identity: ModelIdentity, card: dict[str, Any]) -> None:
        self.view, self.identity, self.card = view, identity, card
        self._ground, self._aerial = ground, aerial

    @classmethod
    def load(cls, weights: str = "egotr-s-drone", precision: Precision = "auto", batch: int = 32) -> DroneDescriber:
        """Load weights by shipped name or path; raise WeightsError when they are missing or damaged."""
        model = load_egotr(weights)
        view = DroneView.from_dict(model.card["view"])
        branches = (fold_branch(branch) for branch in (model.module.ground, model.module.aerial))
        ground, aerial = (TorchRuntime(branch, batch, precision) for branch in branches)
        return cls(view, ground, aerial, ModelIdentity(model.identity[0], model.identity[1], view.digest), model.card)

    def photo(self, photo: Photo, poses: Sequence[Pose]) -> NDArray[np.float32]:
        """Describe a photo at P poses as (P, D) unit vectors."""
        rows = []
        for start in range(0, len(poses), _CHUNK):
            placed = [self.view.canvas(photo.pixels, pose.geometry(photo)) for pose in poses[start : start + _CHUNK]]
            canvases, masks = np.stack([canvas for canvas, _ in placed]), np.stack([mask for _, mask in placed])
            rows.append(self._ground.run(self.view.normalise(canvases, masks).numpy()))
        return np.concatenate(rows)

    def tiles(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe (B, P, P, 3) uint8 RGB tiles, black where there is no imagery, as (B, D) unit vectors; what `build_index` calls."""
        rows = []
        for start in range(0, len(tiles), _CHUNK):
            inputs = np.stack([self.view.tile_input(tile) for tile in tiles[start : start + _CHUNK]])
            rows.append(self._aerial.run(self.view.normalise(inputs).numpy()))
        return np.concatenate(rows)
