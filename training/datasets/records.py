"""Plain records that the writers take, pixels and all, from wherever they come."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgeo.training.pairs import Box, Point, Task


@dataclass(frozen=True)
class PanoramaRecord:
    """A north-aligned panorama with the aerial picture about its place."""

    id: str
    panorama: NDArray[np.uint8]  # (H, W, 3) RGB, north in the middle column
    aerial: NDArray[np.uint8]  # (S, S, 3) RGB, north up, the photo's place in the middle
    xy: Point  # metres in `crs`
    crs: str
    split: str
    aerial_gsd_m: float


@dataclass(frozen=True)
class ObjectRecord:
    """A click in a photo and the object's box in an aerial picture."""

    id: str
    photo: NDArray[np.uint8]  # (h, w, 3) RGB
    aerial: NDArray[np.uint8]  # (S, S, 3) RGB, north up
    click_px: Point  # x, y in the photo
    box_px: Box  # x0, y0, x1, y1 in the aerial
    quad_px: tuple[float, ...]  # x, y of four corners in the aerial
    kind: str
    split: str
    task: Task
    crs: str | None = None  # EPSG:n of a metric CRS; None where the aerial has no place
    aerial_centre_xy: Point | None = None  # on whole metres: the file's name carries it
    aerial_side_m: int = 300
    photo_xy: Point | None = None
