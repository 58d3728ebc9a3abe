"""Street photos for training: a camera stands in a town that can be looked at, and what it sees is rolled out as the engine's canvas.

Rays are followed from the canvas straight away, which is a panorama of endless resolution; it is then passed through the pixels of a real
photo (`through_photo`), whose far ground is coarse, and changed there as cameras change it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.models.street import StreetGeometry, directions_to_pixels
from crossgeo.models.street_view import canvas_directions, street_ahead_m
from crossgeo.models.views import DroneView
from crossgeo.training.augment import change_photo
from crossgeo.training.grounds import Ground, Image
from crossgeo.training.render import Mask, World

Float = NDArray[np.float64]


class Scenery(Protocol):
    """A ground that one can stand on; metres run east and north from the ground's lower left corner."""

    @property
    def ground(self) -> Ground:
        """Its orthophotos."""
        ...

    @property
    def places_m(self) -> Float:
        """(N, 2) points where a photo may be taken."""
        ...

    def look(self, origin_m: Float, directions: Float, rng: np.random.Generator) -> Image:
        """Return the colours (H, W, 3) seen from a point (3,) along (H, W, 3) directions (east, north, up), on a day drawn from `rng`."""
        ...


@dataclass(frozen=True)
class StreetErrors:
    """What the engine does not know of a street camera, and which cameras there are."""

    height_m: tuple[float, float] = (1.5, 3.0)
    height_error: float = 0.1  # standard deviation of ln(assumed / true height)
    heading_error_deg: float = 9.0  # half the step at which unknown headings are tried, and some more
    settled_share: float = 0.5  # of photos with only a third of both, as registration sees them
    tilt_error_deg: float = 0.8  # standard deviation of pitch and of roll
    panorama_share: float = 0.45
    hfov_deg: tuple[float, float] = (55.0, 125.0)  # of the others
    photo_px: tuple[int, int] = (900, 3600)  # a whole turn's pixels
    oversample: float = 1.4  # rays along a canvas's side, in its pixels


class StreetCameras:
    """Takes street photos in sceneries, for `sampling.SiteSampler`."""

    def __init__(self, sceneries: Sequence[Scenery], errors: StreetErrors | None = None) -> None:
        self.errors = errors or StreetErrors()
        self._of = {id(scenery.ground): scenery for scenery in sceneries}

    def sites(self, ground: Ground, view: DroneView) -> NDArray[np.float32]:
        """Return the (N, 2) pixels of a ground where a camera may stand with a canvas's worth of imagery around it."""
        places = self._of[id(ground)].places_m
        rows, columns = ground.usable.shape
        at = np.stack([places[:, 0] / ground.gsd_m, rows - places[:, 1] / ground.gsd_m], axis=1)
        margin = (view.extent_m / 2 + 5.0) / ground.gsd_m
        inside = ((at >= margin) & (at <= np.array([columns, rows]) - margin)).all(axis=1)
        return at[inside].astype(np.float32)

    def shoot(
        self, world: World, site_px: tuple[float, float], view: DroneView, rng: np.random.Generator
    ) -> tuple[Image, Mask, tuple[float, float]]:
        """Return the canvas of a photo taken at a site, its mask and how far (east_m, north_m) its middle lies from the camera."""
        errors, scenery, gsd_m = self.errors, self._of[id(world.ground)], world.ground.gsd_m
        settled = 1.0 / 3.0 if rng.random() < errors.settled_share else 1.0
        true_m = math.exp(rng.uniform(*np.log(errors.height_m)))
        assumed_m = true_m * math.exp(float(np.clip(rng.normal(0.0, settled * errors.height_error), -0.3, 0.3)))
        geometry = self._geometry(assumed_m, rng)
        centre_m = street_ahead_m(geometry)
        fine_px = round(view.size_px * errors.oversample)
        assumed = canvas_directions(fine_px, view.extent_m, assumed_m, centre_m)  # (F, F, 3), in the turned world
        turn = math.radians(settled * rng.uniform(-errors.heading_error_deg, errors.heading_error_deg))
        tilts = np.radians(rng.normal(0.0, errors.tilt_error_deg, 2))
        to_ground = world.to_pixels((0.0, 0.0), gsd_m)[:2, :2] * (gsd_m, gsd_m)  # turned east, north -> metres east, south
        directions = _tilted(_turned(assumed, turn), tilts) @ np.array(
            [[to_ground[0, 0], -to_ground[1, 0], 0.0], [to_ground[0, 1], -to_ground[1, 1], 0.0], [0.0, 0.0, 1.0]]
        )
        origin = np.array([site_px[0] * gsd_m, (world.ground.usable.shape[0] - site_px[1]) * gsd_m, true_m])
        seen = scenery.look(origin, directions, rng)
        px_per_rad = math.exp(rng.uniform(*np.log(errors.photo_px))) / (2.0 * math.pi)
        seen = through_photo(seen, view.extent_m, centre_m, assumed_m, px_per_rad, rng)
        canvas = np.asarray(cv2.resize(seen, (view.size_px, view.size_px), interpolation=cv2.INTER_AREA), np.uint8)
        _, _, mask = directions_to_pixels(geometry, canvas_directions(view.size_px, view.extent_m, assumed_m, centre_m))
        canvas[~mask] = 0
        return canvas, mask, centre_m

    def _geometry(self, height_m: float, rng: np.random.Generator) -> StreetGeometry:
        heading = float(rng.uniform(0.0, 360.0))
        if rng.random() < self.errors.panorama_share:
            return StreetGeometry(1024, 512, "panorama", heading, height_m=height_m)
        hfov = float(rng.uniform(*self.errors.hfov_deg))
        aspect = float(rng.choice([4 / 3, 3 / 2, 16 / 9, 1.0, 3 / 4]))
        pitch = float(rng.normal(0.0, 3.0))
        return StreetGeometry(1024, round(1024 / aspect), "perspective", heading, hfov, pitch, height_m=height_m)


def _turned(directions: Float, turn_rad: float) -> Float:
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    return np.asarray(directions @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]))


def _tilted(directions: Float, tilts_rad: Float) -> Float:
    """Turn directions by small angles about the east and north axes."""
    (a, b) = tilts_rad
    return np.asarray(directions + np.cross(np.array([a, b, 0.0]), directions))


def through_photo(
    canvas: Image, extent_m: float, centre_m: tuple[float, float], height_m: float, px_per_rad: float, rng: np.random.Generator
) -> Image:
    """Return the canvas as it comes back from a photo of `px_per_rad`, changed there by light, lens, noise and JPEG.

    The photo is the strip of a panorama below the horizon; its rows run from there downwards.
    """
    side, step_m = canvas.shape[0], extent_m / canvas.shape[0]
    reach_m = extent_m / 2.0 + math.hypot(*centre_m)
    nearest = math.atan2(height_m, 1.4 * reach_m)  # depression of the canvas's corners
    rows, columns = max(8, round((math.radians(75.0) - nearest) * px_per_rad)), round(2.0 * math.pi * px_per_rad)
    down = nearest + (np.arange(rows) + 0.5) / px_per_rad
    around = (np.arange(columns) + 0.5) / px_per_rad
    away = (height_m / np.tan(down))[:, None]  # (rows, 1)
    u = (away * np.sin(around) - centre_m[0]) / step_m + side / 2.0
    v = side / 2.0 - (away * np.cos(around) - centre_m[1]) / step_m
    photo = cv2.remap(canvas, (u - 0.5).astype(np.float32), (v - 0.5).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    photo = change_photo(np.asarray(photo, np.uint8), rng)
    photo = np.concatenate([photo, photo[:, :2]], axis=1)  # over the seam
    steps = np.arange(side) + 0.5
    east, north = np.meshgrid((steps - side / 2.0) * step_m + centre_m[0], (side / 2.0 - steps) * step_m + centre_m[1])
    x = np.mod(np.arctan2(east, north), 2.0 * math.pi) * px_per_rad
    y = (np.arctan2(height_m, np.hypot(east, north)) - nearest) * px_per_rad
    back = cv2.remap(photo, (x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.uint8)
