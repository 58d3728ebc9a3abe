"""Photos cut to a field of view: columns of a panorama, as the published tests of limited views cut them, or the middle of a photo."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from crossgeo.models.street import DEFAULT_STREET_FOV_DEG, WIDEST_LENS_DEG, Projection, StreetGeometry, look_along, pyramid
from crossgeo.models.views import Image

WHOLE_DEG = 359.0  # a panorama of more closes
ASSUMED_FOV_DEG = DEFAULT_STREET_FOV_DEG  # of a photo that does not say its own, as a question takes it


@dataclass(frozen=True)
class Shot:
    """What a question shows of a photo."""

    pixels: Image  # (H, W, 3)
    projection: Projection
    fov_deg: float
    turned_deg: float  # from the middle of the photo to the middle of the shot, clockwise
    horizon: float = 0.5  # of a panorama: where its horizon lies, as a share of its height
    tilt_deg: tuple[float, float] = (0.0, 0.0)  # of a lens: pitch above the horizon, clockwise roll

    def geometry(self, heading_deg: float) -> StreetGeometry:
        """Return how the shot lies when its middle looks along a heading."""
        height_px, width_px = self.pixels.shape[:2]
        return StreetGeometry(width_px, height_px, self.projection, heading_deg, self.fov_deg, *self.tilt_deg, horizon=self.horizon)


def take_shot(
    pixels: Image,
    photo_fov_deg: float | None,
    fov_deg: float,
    towards_deg: float,
    horizon: float = 0.5,
    tilt_deg: tuple[float, float] = (0.0, 0.0),
) -> Shot:
    """Cut an (H, W, 3) photo to a field of view; one that shows less stays as it is. Without its own it is taken for `ASSUMED_FOV_DEG`.

    A panorama is cut around the column `towards_deg` clockwise from its middle, anything else in its middle, which leaves its tilt.
    """
    own_deg = ASSUMED_FOV_DEG if photo_fov_deg is None else photo_fov_deg
    projection: Projection = "panorama" if own_deg > WIDEST_LENS_DEG else "perspective"
    if fov_deg >= own_deg:
        return Shot(pixels, projection, own_deg, 0.0, horizon, tilt_deg if projection == "perspective" else (0.0, 0.0))
    width_px = pixels.shape[1]
    if projection == "perspective":
        kept = math.tan(math.radians(fov_deg) / 2.0) / math.tan(math.radians(own_deg) / 2.0)
        columns = max(1, round(width_px * kept))
        start = (width_px - columns) // 2
        return Shot(pixels[:, start : start + columns], projection, fov_deg, 0.0, tilt_deg=tilt_deg)
    turned_deg = towards_deg if own_deg > WHOLE_DEG else 0.0
    columns = max(1, round(width_px * fov_deg / own_deg))
    start = round(width_px * (0.5 + turned_deg / own_deg) - columns / 2)
    return Shot(np.take(pixels, np.arange(start, start + columns), axis=1, mode="wrap"), projection, fov_deg, turned_deg, horizon)


def through_lens(pixels: Image, fov_deg: float, towards_deg: float, horizon: float = 0.5) -> Image:
    """Take a photo of 4 : 3 with a level lens of `fov_deg` out of a whole panorama (H, W, 3).

    It looks at the column `towards_deg` clockwise from the panorama's middle. `horizon` is where the panorama's horizon lies, as a share of
    its height; what the panorama does not show is black.
    """
    height_px, width_px = pixels.shape[:2]
    width = max(4, round(width_px * fov_deg / 360.0))
    height = round(0.75 * width)
    focal = width / (2.0 * math.tan(math.radians(fov_deg) / 2.0))
    right, up = np.meshgrid(np.arange(width) + 0.5 - width / 2.0, height / 2.0 - np.arange(height) - 0.5)
    turn = math.radians(towards_deg)
    east, north = right * math.cos(turn) + focal * math.sin(turn), focal * math.cos(turn) - right * math.sin(turn)
    whole = StreetGeometry(width_px, height_px, "panorama", 0.0, 360.0, horizon=horizon)
    return look_along(pyramid(pixels), whole, np.stack([east, north, up], axis=-1))[0]
