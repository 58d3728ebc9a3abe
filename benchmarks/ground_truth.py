"""The ground that accuracy is measured on and how views are rendered from it: what was trained on and what was held out, in one place."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from crossgeo import geodesy
from crossgeo.engine.evaluate import Truth
from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.photo import Photo
from crossgeo.models.views import PhotoGeometry, ground_to_photo, warp
from crossgeo.training.augment import change_photo
from crossgeo.training.ground_sources import load_grounds
from crossgeo.training.grounds import Ground, make_ground, usable_centres
from crossgeo.training.render import Cameras, World, point_inside, random_geometry

if TYPE_CHECKING:
    from crossgeo.town.layout import Town

# South of the upper edge of tile row 220245 (z19) and a margin: most of six of seventeen rows, and half of its labelled tiles.
BANEPA_HELD_OUT = (85.50, 27.60, 85.54, 27.6315)
CLEAR_M = 75.0  # from where training ended: its canvases and windows looked up to 25 m past the ground that they were centred on
TRAINING_TOWNS = tuple(range(101, 113))  # towns of 400 m in two scenes each
HELD_OUT_TOWN = 9001


def data_folder(given: str | None) -> Path:
    """Return the folder of real imagery: as given, or ../shared/data beside the project."""
    return Path(given) if given else Path(__file__).resolve().parents[2] / "shared" / "data"


def banepa(data: Path, part: Literal["train", "held-out"]) -> Ground:
    """Return the part of Banepa that may be trained on, or the part held out, with its OpenStreetMap buildings."""
    folder = data / "oam_banepa"
    outlines = sorted((folder / "labelled" / "train" / "osm").glob("*.geojson"))
    return load_grounds([folder / "tiles_z19"], outlines, held_out=[BANEPA_HELD_OUT], part=part)[0]


def zanzibar(data: Path) -> list[Ground]:
    """Return both parts of the Zanzibar imagery, all of it for training."""
    folder = data / "oam_zanzibar"
    return load_grounds([folder], [folder / "labels.geojson"])


def town_ground(seed: int, size_m: float = 400.0, gsd_m: float = 0.2) -> Ground:
    """Return the simulated town of a seed as a ground."""
    from crossgeo.town.layout import make_town

    return ground_of_town(make_town(seed, size_m, gsd_m))


def ground_of_town(town: Town) -> Ground:
    """Return a town as a ground with two scenes: other sun, season, weather and traffic on the same streets."""
    from crossgeo.town.aerial import render_ortho
    from crossgeo.town.scene import draw_scene

    rng, gsd_m = np.random.default_rng(town.seed), town.layers.gsd_m
    scenes = [render_ortho(town, draw_scene(rng), gsd_m) for _ in range(2)]
    rows = scenes[0].shape[0]
    corners = [thing.corners / gsd_m for thing in town.objects if thing.kind == "building"]
    outlines = [np.stack([c[:, 0], rows - c[:, 1]], axis=1).astype(np.float32) for c in corners]
    return make_ground(f"town-{town.seed}", scenes, np.ones(scenes[0].shape[:2], np.bool_), gsd_m, outlines, real=False)


def training_grounds(data: Path) -> list[Ground]:
    """Return all that the shipped drone weights were trained on."""
    return [banepa(data, "train"), *zanzibar(data), *(town_ground(seed) for seed in TRAINING_TOWNS)]


def rendered_photo(ground: Ground, centre_px: tuple[float, float], geometry: PhotoGeometry, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Render a whole drone photo (H, W, 3) of a ground, with another camera's light, blur, noise and JPEG."""
    world = World(ground, 0, len(ground.scenes) - 1, 0.0, False)
    pixel_m = geometry.ground_width_m / geometry.width_px
    image, gsd_m = ground.level(world.scene_photo, pixel_m)
    matrix = world.to_pixels(centre_px, gsd_m) @ np.linalg.inv(ground_to_photo(geometry))
    photo, _ = warp(image, matrix / matrix[2, 2], (geometry.width_px, geometry.height_px))
    return change_photo(photo, rng)


def rendered_truths(ground: Ground, count: int, seed: int, *, camera_known: bool, clicks: bool = False) -> Iterator[Truth]:
    """Yield rendered drone photos of unknown heading with their truth.

    `camera_known` gives height, field of view and tilt as drones write them; otherwise the photo comes bare. With `clicks` each photo
    has a point inside a building outline, somewhere in its middle 70 %.
    """
    crs = ground.crs
    assert crs is not None
    rng = np.random.default_rng(seed)
    cameras = Cameras(width_px=1024)
    first_row = _first_clear_row(ground)
    centres = usable_centres(ground, 45.0)
    centres = centres[centres[:, 1] >= first_row]
    outlines = [outline for outline in ground.outlines if outline[:, 1].min() >= first_row]
    order = rng.permutation(len(outlines)) if clicks else None
    for number in range(count):
        geometry = random_geometry(rng, cameras)
        point, polygon = None, None
        if order is not None:
            outline = outlines[order[number % len(order)]]
            inside = point_inside(outline, rng)
            share = rng.uniform(0.15, 0.85, 2)
            point = (float(share[0] * geometry.width_px), float(share[1] * geometry.height_px))
            offset = np.linalg.inv(ground_to_photo(geometry)) @ (*point, 1.0)
            east, north = offset[:2] / offset[2]
            at = (inside[0] - east / ground.gsd_m, inside[1] + north / ground.gsd_m)
            low, high = outline.min(axis=0), outline.max(axis=0)
            box = [(low[0], low[1]), (high[0], low[1]), (high[0], high[1]), (low[0], high[1])]
            polygon = geodesy.geojson_polygon(crs, [_to_crs(ground, corner) for corner in box])
        else:
            at = tuple(centres[rng.integers(len(centres))] + rng.uniform(-5.0, 5.0, 2))
        x, y = _to_crs(ground, at)
        lat, lon = geodesy.to_lat_lon(crs, x, y)
        height_m = geometry.distance_m * math.cos(math.radians(geometry.tilt_deg))
        exif = PhotoExif(fov_deg=geometry.hfov_deg, height_m=height_m, tilt_deg=geometry.tilt_deg) if camera_known else PhotoExif()
        photo = Photo.from_pixels(rendered_photo(ground, at, geometry, rng), f"{ground.name}-{seed}-{number}", exif)
        heading = (geometry.heading_deg + geodesy.grid_convergence_deg(crs, x, y)) % 360.0
        yield Truth(photo, lat, lon, heading, point, polygon)


def _first_clear_row(ground: Ground) -> float:
    """Return the pixel row from which on a ground lies CLEAR_M south of what was trained on in Banepa; other grounds lie far off."""
    assert ground.crs is not None
    _, _, east, north = BANEPA_HELD_OUT
    _, border_y = geodesy.from_lat_lon(ground.crs, north, east)
    return (ground.origin_xy[1] - border_y + CLEAR_M) / ground.gsd_m


def _to_crs(ground: Ground, at_px: tuple[float, float]) -> tuple[float, float]:
    return ground.origin_xy[0] + float(at_px[0]) * ground.gsd_m, ground.origin_xy[1] - float(at_px[1]) * ground.gsd_m
