"""Drone views rendered from orthophotos with exact geometry: the training pairs of both models.

The world may be turned and mirrored first, so that one orthophoto serves as many. One homography carries the orthophoto to the canvas:
canvas -> the geometry that the engine would assume -> photo pixels -> the true geometry -> ground.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.models.views import DroneView, ObjectView, PhotoGeometry, canvas_to_ground, ground_to_photo, photo_to_ground, warp
from crossgeo.training.augment import change_photo, change_tile
from crossgeo.training.grounds import Ground, Image, Outline, usable_centres

Mask = NDArray[np.bool_]
Matrix = NDArray[np.float64]
UNSEEN = 127  # AttenGeo's mean grey, what the engine fills unseen pixels with


@dataclass(frozen=True)
class Cameras:
    """The cameras that a model is trained for."""

    height_m: tuple[float, float] = (28.0, 120.0)
    hfov_deg: tuple[float, float] = (50.0, 86.0)
    tilt_deg: float = 35.0
    tilt_known: float = 0.4  # share of photos whose tilt the engine knows
    heading_error_deg: float = 9.0  # half the step at which unknown headings are tried, and some more
    scale_error: float = 0.16  # standard deviation of ln(assumed / true ground width)
    part_share: float = 0.4  # of canvases around a part of the photo, as the search tries them where a photo reaches past the imagery
    settled_share: float = 0.5  # of photos with only a third of both errors, as registration sees them
    width_px: int = 480

    def sites(self, ground: Ground, view: DroneView) -> NDArray[np.float32]:
        """Return the (N, 2) pixels of a ground that canvases may be centred on."""
        return usable_centres(ground, view.extent_m / 2 + 5.0)

    def shoot(
        self, world: World, site_px: tuple[float, float], view: DroneView, rng: np.random.Generator
    ) -> tuple[Image, Mask, tuple[float, float]]:
        """Return a canvas, its mask and how far (east_m, north_m) its middle lies from the site."""
        return (*render_view(world, site_px, view, self, rng), (0.0, 0.0))


# What is left once the photo is registered: AttenGeo's cameras.
REGISTERED = Cameras(heading_error_deg=4.0, scale_error=0.06, settled_share=0.0)


@dataclass(frozen=True)
class World:
    """A turned, mirrored, stretched copy of a ground, centred on a pixel of it."""

    ground: Ground
    scene_tile: int
    scene_photo: int
    turn_deg: float
    mirror: bool
    stretch: tuple[float, float] = (1.0, 1.0)  # east and north, of the turned world

    def to_pixels(self, centre_px: tuple[float, float], gsd_m: float) -> Matrix:
        """Return the affine map from (east_m, north_m, 1) around `centre_px` (of the ground's own GSD) to pixels at `gsd_m`."""
        angle = math.radians(self.turn_deg)
        east = -1.0 if self.mirror else 1.0
        wide, tall = self.stretch
        cos, sin = math.cos(angle), math.sin(angle)
        scale = self.ground.gsd_m / gsd_m
        return np.array(
            [
                [east * cos / gsd_m / wide, -sin / gsd_m / tall, centre_px[0] * scale],
                [-east * sin / gsd_m / wide, -cos / gsd_m / tall, centre_px[1] * scale],
                [0.0, 0.0, 1.0],
            ]
        )

    def offset_px(self, east_m: float, north_m: float) -> tuple[float, float]:
        """Return how far an offset in the turned world reaches in pixels of the ground."""
        matrix = self.to_pixels((0.0, 0.0), self.ground.gsd_m)
        return float(matrix[0, :2] @ (east_m, north_m)), float(matrix[1, :2] @ (east_m, north_m))


def random_world(ground: Ground, rng: np.random.Generator, stretch: float = 0.0) -> World:
    """Turn and mirror a ground at random and pick which scene is the imagery and which the photo.

    `stretch` is the standard deviation of the logarithms of its size and of its aspect ratio: few outlines make many buildings so.
    """
    tile = int(rng.integers(len(ground.scenes)))
    photo = int(rng.integers(len(ground.scenes)))
    turn_deg, mirror = float(rng.uniform(0, 360)) if rng.random() < 0.75 else 0.0, bool(rng.random() < 0.4)
    size, aspect = np.exp(np.clip(rng.normal(0.0, 1.0, 2), -2.0, 2.0) * stretch).tolist()
    return World(ground, tile, photo, turn_deg, mirror, (size * math.sqrt(aspect), size / math.sqrt(aspect)))


def random_geometry(rng: np.random.Generator, cameras: Cameras) -> PhotoGeometry:
    """Draw a camera over flat ground: height, lens, aspect, heading, tilt (many near nadir, as drones fly)."""
    height = math.exp(rng.uniform(*np.log(cameras.height_m)))
    hfov = rng.uniform(*cameras.hfov_deg)
    tilt = 0.0 if rng.random() < 0.25 else rng.uniform(0.0, cameras.tilt_deg)
    aspect = float(rng.choice([4 / 3, 3 / 2, 16 / 9, 1.0, 3 / 4]))
    height_px = round(cameras.width_px / aspect)
    return PhotoGeometry.from_height(cameras.width_px, height_px, height, rng.uniform(0, 360), tilt, hfov)


def assumed_geometry(true: PhotoGeometry, rng: np.random.Generator, cameras: Cameras) -> PhotoGeometry:
    """Return what the engine would take for the geometry: heading and scale a little off, the tilt often unknown."""
    known = rng.random() < cameras.tilt_known
    share = 1.0 / 3.0 if rng.random() < cameras.settled_share else 1.0
    tilt = float(np.clip(true.tilt_deg + rng.normal(0, 1.0), 0, 60)) if known else 0.0
    width = true.ground_width_m * math.exp(float(np.clip(rng.normal(0, share * cameras.scale_error), -0.3, 0.3)))
    heading = true.heading_deg + share * rng.uniform(-cameras.heading_error_deg, cameras.heading_error_deg)
    return PhotoGeometry(true.width_px, true.height_px, width, heading, tilt, true.hfov_deg if known else 70.0)


def render_canvas(
    world: World, centre_px: tuple[float, float], true: PhotoGeometry, assumed: PhotoGeometry, canvas_to_offset: Matrix, size_px: int
) -> tuple[Image, Mask]:
    """Render what the engine's canvas would show of a photo taken with `true` and placed with `assumed`; mask False off the photo."""
    pixel_m = float(canvas_to_offset[0, 0])
    image, gsd_m = world.ground.level(world.scene_photo, pixel_m)
    to_photo = ground_to_photo(assumed) @ canvas_to_offset
    matrix = world.to_pixels(centre_px, gsd_m) @ np.linalg.inv(ground_to_photo(true)) @ to_photo
    canvas, _ = warp(image, matrix / matrix[2, 2], size_px)
    x, y = np.meshgrid(np.arange(size_px) + 0.5, np.arange(size_px) + 0.5)
    u, v, w = (to_photo[k, 0] * x + to_photo[k, 1] * y + to_photo[k, 2] for k in range(3))
    inside = (w > 0) & (u >= 0) & (v >= 0) & (u <= true.width_px * w) & (v <= true.height_px * w)
    canvas[~inside] = 0
    return canvas, inside


def render_tile(world: World, centre_px: tuple[float, float], extent_m: float, size_px: int) -> Image:
    """Cut a north-up square of the turned world's imagery."""
    image, gsd_m = world.ground.level(world.scene_tile, extent_m / size_px)
    return warp(image, world.to_pixels(centre_px, gsd_m) @ canvas_to_ground(size_px, extent_m), size_px)[0]


def render_view(
    world: World, centre_px: tuple[float, float], view: DroneView, cameras: Cameras, rng: np.random.Generator
) -> tuple[Image, Mask]:
    """Render a canvas centred on `centre_px` of one drone photo, its middle or a part of it, as EgoTR's ground branch would get it."""
    true = random_geometry(rng, cameras)
    assumed = assumed_geometry(true, rng, cameras)
    share = rng.uniform(0.1, 0.9, 2) if rng.random() < cameras.part_share else np.array([0.5, 0.5])
    pixel = (float(share[0] * true.width_px), float(share[1] * true.height_px))
    shift = world.offset_px(*photo_to_ground(true, *pixel))
    photo_px = (centre_px[0] - shift[0], centre_px[1] - shift[1])
    canvas_map = canvas_to_ground(view.size_px, view.extent_m, photo_to_ground(assumed, *pixel))
    canvas, mask = render_canvas(world, photo_px, true, assumed, canvas_map, view.size_px)
    canvas = change_photo(canvas, rng)
    canvas[~mask] = 0
    return canvas, mask


def outline_box(world: World, centre_px: tuple[float, float], view: ObjectView, outline: Outline) -> NDArray[np.float32]:
    """Return the xyxy box in window pixels of an outline on the ground, the window being centred on `centre_px`."""
    window_to_px = world.to_pixels(centre_px, world.ground.gsd_m) @ canvas_to_ground(view.window_px, view.window_extent_m)
    points = np.concatenate([outline, np.ones((len(outline), 1))], axis=1) @ np.linalg.inv(window_to_px).T
    xy = points[:, :2]
    return np.asarray([*xy.min(axis=0), *xy.max(axis=0)], np.float32)


def point_inside(outline: Outline, rng: np.random.Generator) -> tuple[float, float]:
    """Draw a point inside an outline, a little off its rim where it is wide enough."""
    low, high = outline.min(axis=0), outline.max(axis=0)
    contour = outline.reshape(-1, 1, 2)
    margin = 0.15 * float(min(high - low))
    for attempt in range(60):
        x, y = rng.uniform(low, high)
        if cv2.pointPolygonTest(contour, (float(x), float(y)), True) > (margin if attempt < 30 else 0.0):
            return float(x), float(y)
    middle = outline.mean(axis=0)
    return float(middle[0]), float(middle[1])


@dataclass(frozen=True)
class ObjectSample:
    """One click: the photo's canvas with mask and click, the window of imagery and the truth in it."""

    photo: Image  # (photo_px, photo_px, 3)
    mask: Mask
    click_px: tuple[float, float]
    window: Image  # (window_px, window_px, 3)
    box: NDArray[np.float32]  # xyxy px; NaN where the click shows nothing that can be found
    sight_px: tuple[float, float, float, float] | None = None  # on the window: the line of sight of a street photo's click


def render_object(
    world: World,
    outline: Outline,
    view: ObjectView,
    cameras: Cameras,
    rng: np.random.Generator,
    place_error_m: float = 1.5,
    other_day: float = 0.0,
) -> ObjectSample:
    """Render a click on a building: a photo somewhere above it, and a window where the engine's registration would place the click.

    `other_day` is the share of windows whose light is changed as a photo's is, though half as much.
    """
    true = random_geometry(rng, cameras)
    click_ground = point_inside(outline, rng)
    reach_x, reach_y = rng.uniform(0.15, 0.85, 2)
    offset = photo_to_ground(true, reach_x * true.width_px, reach_y * true.height_px)  # click as seen from the photo's centre
    shift = world.offset_px(*offset)
    centre_px = (click_ground[0] - shift[0], click_ground[1] - shift[1])
    assumed = assumed_geometry(true, rng, cameras)
    click_photo = (reach_x * true.width_px, reach_y * true.height_px)
    believed = photo_to_ground(assumed, *click_photo)
    wander = rng.uniform(-0.2, 0.2, 2) * view.photo_extent_m if rng.random() < 0.5 else np.zeros(2)
    canvas_map = canvas_to_ground(view.photo_px, view.photo_extent_m, (believed[0] + wander[0], believed[1] + wander[1]))
    photo, mask = render_canvas(world, centre_px, true, assumed, canvas_map, view.photo_px)
    photo = change_photo(photo, rng)
    photo[~mask] = UNSEEN
    click = np.linalg.inv(canvas_map) @ (believed[0], believed[1], 1.0)
    error = world.offset_px(*rng.normal(0, place_error_m, 2).tolist())
    window_px = (click_ground[0] + error[0], click_ground[1] + error[1])
    window = change_tile(render_tile(world, window_px, view.window_extent_m, view.window_px), rng)
    if rng.random() < other_day:
        window = change_photo(window, rng, 0.5)
    return ObjectSample(photo, mask, (float(click[0]), float(click[1])), window, outline_box(world, window_px, view, outline))
