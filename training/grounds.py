"""Grounds: orthophotos held in memory as metric arrays, with the part that may be trained on and the building outlines on them."""

from __future__ import annotations

from dataclasses import dataclass, field

import cv2
import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

Image = NDArray[np.uint8]
Outline = NDArray[np.float32]  # (V, 2) x, y in pixels of the ground


@dataclass(frozen=True)
class Ground:
    """An orthophoto, north up, at one GSD; `scenes` are aligned renderings of the same ground (other season, hour, traffic)."""

    name: str
    scenes: tuple[Image, ...]  # each (H, W, 3) RGB
    usable: NDArray[np.bool_]  # (H, W): valid imagery inside the part that may be used
    gsd_m: float
    outlines: tuple[Outline, ...] = ()
    real: bool = True
    crs: CRS | None = None  # metric, where the ground lies on earth
    origin_xy: tuple[float, float] = (0.0, 0.0)  # of its upper left corner in that CRS
    levels: tuple[tuple[Image, ...], ...] = field(default=(), compare=False)  # scenes at 1.5 x the GSD

    def level(self, scene: int, pixel_m: float) -> tuple[Image, float]:
        """Return the scene averaged down for sampling at about `pixel_m`, and its GSD in metres."""
        if pixel_m < 1.4 * self.gsd_m or not self.levels:
            return self.scenes[scene], self.gsd_m
        image = self.levels[0][scene]
        return image, self.gsd_m * self.scenes[scene].shape[1] / image.shape[1]


def make_ground(
    name: str, scenes: list[Image], usable: NDArray[np.bool_], gsd_m: float, outlines: list[Outline], *, real: bool,
    crs: CRS | None = None, origin_xy: tuple[float, float] = (0.0, 0.0),
) -> Ground:  # fmt: skip
    """Build a ground and its smaller copies."""
    small = []
    for scene in scenes:
        size = (round(scene.shape[1] / 1.5), round(scene.shape[0] / 1.5))
        small.append(np.asarray(cv2.resize(scene, size, interpolation=cv2.INTER_AREA), np.uint8))
    return Ground(name, tuple(scenes), usable, gsd_m, tuple(outlines), real, crs, origin_xy, (tuple(small),))


def usable_centres(ground: Ground, reach_m: float, step_m: float = 2.0) -> NDArray[np.float32]:
    """Return (N, 2) pixel positions whose square of +- `reach_m` is at least 97 % usable, on a lattice of `step_m`."""
    step = max(1, round(step_m / ground.gsd_m))
    side = 2 * round(reach_m / ground.gsd_m) + 1
    share = cv2.boxFilter(ground.usable.astype(np.float32), -1, (side, side), borderType=cv2.BORDER_CONSTANT)
    rows, columns = np.nonzero(share[::step, ::step] >= 0.97)
    return np.stack([columns * step, rows * step], axis=1).astype(np.float32)
