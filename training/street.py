"""Street photos for training: a camera stands in a town that can be looked at, and what it sees is shown as the engine shows it.

That is rolled out over the ground for EgoTR, turned towards a click for AttenGeo. Rays are followed from those pixels straight away, as of
a photo of endless resolution; it is then brought to the pixels of a real one, whose far ground is coarse (`through_photo`), and changed as
cameras change it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.models.panorama import sphere_directions
from crossgeo.models.street import StreetGeometry, directions_to_pixels
from crossgeo.models.street_view import StreetObjectView, canvas_directions, street_ahead_m
from crossgeo.models.views import DroneView
from crossgeo.training.augment import change_photo
from crossgeo.training.grounds import Ground, Image, Outline
from crossgeo.training.render import Mask, World

Float = NDArray[np.float64]


@dataclass(frozen=True)
class Thing:
    """Something that can be clicked in a street photo."""

    kind: str
    outline: Outline  # from above, px of the ground


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

    @property
    def things(self) -> Sequence[Thing]:
        """What can be clicked there."""
        ...

    def hit(self, origin_m: Float, directions: Float) -> NDArray[np.int32]:
        """Return which thing is met first from a point (3,) along each of (N, 3) directions, -1 where none."""
        ...

    def look(self, origin_m: Float, directions: Float, rng: np.random.Generator) -> NDArray[np.uint8]:
        """Return the colours (N, 3) seen from a point (3,) along (N, 3) directions (east, north, up), on a day drawn from `rng`."""
        ...


@dataclass(frozen=True)
class StreetErrors:
    """What the engine does not know of a street camera, and which cameras there are."""

    height_m: tuple[float, float] = (1.5, 3.0)
    height_error: float = 0.1  # standard deviation of ln(assumed / true height)
    heading_error_deg: float = 9.0  # half the step at which unknown headings are tried, and some more
    settled_share: float = 0.5  # of photos with only a third of both, as registration sees them
    tilt_error_deg: float = 0.9  # standard deviation of pitch and of roll from what the engine takes them to be; it tries pitches by steps
    panorama_share: float = 0.45
    hfov_deg: tuple[float, float] = (55.0, 125.0)  # of the others
    coarse_share: float = 0.35  # of photos whose own pixels are coarser than the canvas where it lies far from the camera
    photo_px: tuple[int, int] = (600, 1300)  # a whole turn's pixels, of those
    pitch_deg: tuple[float, float] = (2.5, 3.0)  # mean and standard deviation of how far above the horizon a photo looks
    strength: float = 0.6  # of changes by the camera; the day has changed the light already
    oversample: float = 1.15  # rays along a canvas's side, in its pixels


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
        heading = float(rng.uniform(0.0, 360.0))
        shot = self.aim(world, site_px, heading, rng)
        centre_m = street_ahead_m(shot.geometry)
        return (*shot.canvas(view.size_px, view.extent_m, centre_m, rng), centre_m)

    def aim(self, world: World, site_px: tuple[float, float], heading_deg: float, rng: np.random.Generator) -> Shot:
        """Set a camera up at a site, looking along a heading of the turned world, and draw what the engine gets wrong about it."""
        errors = self.errors
        settled = 1.0 / 3.0 if rng.random() < errors.settled_share else 1.0
        true_m = math.exp(rng.uniform(*np.log(errors.height_m)))
        assumed_m = true_m * math.exp(float(np.clip(rng.normal(0.0, settled * errors.height_error), -0.3, 0.3)))
        turn = math.radians(settled * rng.uniform(-errors.heading_error_deg, errors.heading_error_deg))
        tilts = np.radians(rng.normal(0.0, errors.tilt_error_deg, 2))
        geometry = self._geometry(heading_deg, assumed_m, rng)
        return Shot(self._of[id(world.ground)], world, site_px, geometry, true_m, turn, (float(tilts[0]), float(tilts[1])), errors)

    def _geometry(self, heading: float, height_m: float, rng: np.random.Generator) -> StreetGeometry:
        if rng.random() < self.errors.panorama_share:
            return StreetGeometry(1024, 512, "panorama", heading, height_m=height_m)
        hfov = float(rng.uniform(*self.errors.hfov_deg))
        aspect = float(rng.choice([4 / 3, 3 / 2, 16 / 9, 1.0, 3 / 4]))
        pitch = float(rng.normal(*self.errors.pitch_deg))
        return StreetGeometry(1024, round(1024 / aspect), "perspective", heading, hfov, pitch, height_m=height_m)


class PanoramaCameras:
    """Takes the same photos for the paper's presets: on a panorama's canvas instead of the ground."""

    def __init__(self, cameras: StreetCameras, size_hw: tuple[int, int]) -> None:
        self.cameras, self.size_hw = cameras, size_hw

    def sites(self, ground: Ground, view: DroneView) -> NDArray[np.float32]:
        """Return the (N, 2) pixels of a ground where a camera may stand."""
        return self.cameras.sites(ground, view)

    def shoot(
        self, world: World, site_px: tuple[float, float], view: DroneView, rng: np.random.Generator
    ) -> tuple[Image, Mask, tuple[float, float]]:
        """Return the canvas (H, W, 3) of a photo taken at a site, its mask, and (0, 0): its tile lies around the camera."""
        shot = self.cameras.aim(world, site_px, float(rng.uniform(0.0, 360.0)), rng)
        return (*shot.panorama(self.size_hw, rng), (0.0, 0.0))


@dataclass(frozen=True)
class Shot:
    """A camera set up in a scenery, as it stands and as the engine takes it to stand."""

    scenery: Scenery
    world: World
    site_px: tuple[float, float]
    geometry: StreetGeometry  # as assumed, in the turned world
    true_height_m: float
    turn_rad: float  # how far the true heading lies from the assumed one
    tilts_rad: tuple[float, float]
    errors: StreetErrors

    @property
    def origin_m(self) -> Float:
        """Where the camera is, in the scenery's metres."""
        gsd_m, rows = self.world.ground.gsd_m, self.world.ground.usable.shape[0]
        return np.array([self.site_px[0] * gsd_m, (rows - self.site_px[1]) * gsd_m, self.true_height_m])

    def rays(self, directions: Float) -> Float:
        """Return the scenery's directions of (..., 3) directions that the engine assumes in the turned world."""
        gsd_m = self.world.ground.gsd_m
        to_px = self.world.to_pixels((0.0, 0.0), gsd_m)[:2, :2] * gsd_m  # turned east, north -> metres east, south
        to_local = np.array([[to_px[0, 0], -to_px[1, 0], 0.0], [to_px[0, 1], -to_px[1, 1], 0.0], [0.0, 0.0, 1.0]])
        return np.asarray(_tilted(_turned(directions, self.turn_rad), self.tilts_rad) @ to_local)

    def panorama(self, size_hw: tuple[int, int], rng: np.random.Generator) -> tuple[Image, Mask]:
        """Return the photo on the paper's north-aligned canvas (H, W, 3), a whole sphere, and its mask."""
        directions = sphere_directions(*size_hw)
        shown = directions_to_pixels(self.geometry, directions)[2]
        seen = np.zeros((*size_hw, 3), np.uint8)
        seen[shown] = self.scenery.look(self.origin_m, self.rays(directions[shown]), rng)
        seen = change_photo(seen, rng, self.errors.strength)
        seen[~shown] = 0
        return seen, shown

    def towards(self, view: StreetObjectView, direction: Float, rng: np.random.Generator) -> tuple[Image, Mask]:
        """Return the crop (S, S, 3) that the engine would make of the photo around a click along `direction` (3,), and its mask."""
        size_px, errors = view.photo_px, self.errors
        assumed = view.directions(direction, round(size_px * errors.oversample))  # (F, F, 3)
        seen = self._seen(assumed, rng)
        if rng.random() < errors.coarse_share:
            px_per_rad = math.exp(rng.uniform(*np.log(errors.photo_px))) / (2.0 * math.pi)
            own_px = round(2.0 * math.tan(math.radians(view.look_deg) / 2.0) * px_per_rad)
            seen = np.asarray(cv2.resize(seen, (own_px, own_px), interpolation=cv2.INTER_AREA), np.uint8)
        seen = change_photo(seen, rng, errors.strength)
        crop = np.asarray(cv2.resize(seen, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)
        mask = directions_to_pixels(self.geometry, view.directions(direction))[2]
        crop[~mask] = 0
        return crop, mask

    def canvas(self, size_px: int, extent_m: float, centre_m: tuple[float, float], rng: np.random.Generator) -> tuple[Image, Mask]:
        """Return the canvas (S, S, 3) that the engine would make of the photo, around an offset from the camera, and its mask."""
        errors, height_m = self.errors, self.geometry.height_m
        fine_px = round(size_px * errors.oversample)
        assumed = canvas_directions(fine_px, extent_m, height_m, centre_m)  # (F, F, 3)
        seen = self._seen(assumed, rng)
        if rng.random() < errors.coarse_share:
            px_per_rad = math.exp(rng.uniform(*np.log(errors.photo_px))) / (2.0 * math.pi)
            seen = through_photo(seen, extent_m, centre_m, height_m, px_per_rad, errors.strength, rng)
        else:
            seen = change_photo(seen, rng, errors.strength)
        canvas = np.asarray(cv2.resize(seen, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8)
        mask = directions_to_pixels(self.geometry, canvas_directions(size_px, extent_m, height_m, centre_m))[2]
        canvas[~mask] = 0
        return canvas, mask

    def _seen(self, assumed: Float, rng: np.random.Generator) -> Image:
        """What the photo shows along (F, F, 3) directions as the engine assumes them; their mean colour where it does not look."""
        shown = directions_to_pixels(self.geometry, assumed)[2]
        colours = self.scenery.look(self.origin_m, self.rays(assumed[shown]), rng)
        seen = np.full((*shown.shape, 3), colours.mean(axis=0) if len(colours) else 0.0, np.float64).astype(np.uint8)
        seen[shown] = colours
        return seen


def _turned(directions: Float, turn_rad: float) -> Float:
    cos, sin = math.cos(turn_rad), math.sin(turn_rad)
    return np.asarray(directions @ np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]]))


def _tilted(directions: Float, tilts_rad: tuple[float, float]) -> Float:
    """Turn directions by small angles about the east and north axes."""
    return np.asarray(directions + np.cross(np.array([*tilts_rad, 0.0]), directions))


def through_photo(
    canvas: Image,
    extent_m: float,
    centre_m: tuple[float, float],
    height_m: float,
    px_per_rad: float,
    strength: float,
    rng: np.random.Generator,
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
    photo = change_photo(np.asarray(photo, np.uint8), rng, strength)
    photo = np.concatenate([photo, photo[:, :2]], axis=1)  # over the seam
    steps = np.arange(side) + 0.5
    east, north = np.meshgrid((steps - side / 2.0) * step_m + centre_m[0], (side / 2.0 - steps) * step_m + centre_m[1])
    x = np.mod(np.arctan2(east, north), 2.0 * math.pi) * px_per_rad
    y = (np.arctan2(height_m, np.hypot(east, north)) - nearest) * px_per_rad
    back = cv2.remap(photo, (x - 0.5).astype(np.float32), (y - 0.5).astype(np.float32), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(back, np.uint8)
