"""Clicks in a made town's street photos with drone photos of the same objects (docs/formats.md, Towns), as G2D's records."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossgeo import geodesy
from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError
from crossgeo.models.views import PhotoGeometry, ground_to_photo, photo_to_ground
from crossgeo.training.datasets.cvogl import PHOTO_PX
from crossgeo.training.datasets.pictures import WHOLE_PX
from crossgeo.training.datasets.records import ObjectRecord
from crossgeo.training.datasets.town_objects import Clicked, about_click, clicked
from crossgeo.training.pairs import Box, Point

TRUTH, PHOTOS = "truth.geojson", "photos"
_MARGIN_PX = 4.0
_LEAST_PX = 12.0  # of a box, along its shorter side

Float = NDArray[np.float64]


@dataclass(frozen=True)
class DroneShot:
    """A drone photo and how it lies over the ground."""

    path: Path
    geometry: PhotoGeometry  # its heading against grid north
    centre_xy: Point  # the ground at the photo's centre
    camera_xy: Point
    height_m: float  # of the camera

    @property
    def reach_m(self) -> float:
        """How far from its centre, along the grid, the photo shows ground."""
        width, height = self.geometry.width_px, self.geometry.height_px
        corners = [photo_to_ground(self.geometry, x, y) for x, y in ((0, 0), (width, 0), (width, height), (0, height))]
        return float(np.abs(corners).max())

    def box_of(self, thing: Clicked) -> Box | None:
        """Return the box of an upright thing, its foot and its top both as wide as its outline; None where not all shows."""
        if thing.height_m >= self.height_m:
            return None
        camera, lift = np.array(self.camera_xy), self.height_m / (self.height_m - thing.height_m)
        top = camera + (thing.outline_xy - camera) * lift  # the ground that its top hides
        ground = np.concatenate([thing.outline_xy, top]) - self.centre_xy
        x, y, depth = ground_to_photo(self.geometry) @ np.concatenate([ground, np.ones((len(ground), 1))], axis=1).T
        if depth.min() <= 0.0:
            return None
        box = (float((x / depth).min()), float((y / depth).min()), float((x / depth).max()), float((y / depth).max()))
        right, bottom = self.geometry.width_px - _MARGIN_PX, self.geometry.height_px - _MARGIN_PX
        inside = min(box[:2]) >= _MARGIN_PX and box[2] <= right and box[3] <= bottom
        return box if inside and min(box[2] - box[0], box[3] - box[1]) >= _LEAST_PX else None


@dataclass(frozen=True)
class TownView(Clicked):
    """A click with the drone photo that the object is to be found in."""

    shot: DroneShot
    box_px: Box  # in the whole drone photo
    left_share: float  # where the square that is cut from it starts: 0 as far left as holds the box, 1 as far right

    @property
    def centre_xy(self) -> Point:
        """The ground at the middle of what is searched."""
        return self.shot.centre_xy


def town_views(town: Path, seed: int = 0) -> tuple[list[TownView], list[tuple[str, str]]]:
    """Return the clicks in street photos, each with one of the drone photos that show all of its object, drawn, and what is left out.

    Raises InputError for a folder that is no town's, or one without clicks in street photos or without drone photos.
    """
    clicks, rng = clicked(town, "street"), np.random.default_rng(seed)
    shots = drone_shots(town, clicks[0].crs)
    found: list[TownView] = []
    left_out: list[tuple[str, str]] = []
    for click in clicks:
        seen = [(shot, box) for shot in shots if (box := shot.box_of(click)) is not None and box[2] - box[0] <= _widest(shot)]
        if seen:
            shot, box = seen[int(rng.integers(len(seen)))]
            found.append(TownView(**vars(click), shot=shot, box_px=box, left_share=float(rng.random())))
        else:
            left_out.append((f"{click.photo.name} {click.kind}", "no drone photo shows all of it"))
    return found, left_out


def drone_shots(town: Path, crs: str) -> list[DroneShot]:
    """Return the drone photos of a town with their places in its CRS; raise InputError where there are none or their truth is damaged."""
    path, system = town / TRUTH, geodesy.parse_crs(crs)
    found = []
    try:
        for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
            facts = feature["properties"]
            photo = town / PHOTOS / Path(facts["file"]).name
            centre, camera = (geodesy.from_lat_lon(system, facts[f"{p}lat"], facts[f"{p}lon"]) for p in ("", "camera_"))
            heading_deg = facts["heading_deg"] - geodesy.grid_convergence_deg(system, *centre)
            taken = Photo.read(photo, long_px=64)
            geometry = PhotoGeometry.from_height(
                taken.width_px, taken.height_px, facts["height_m"], heading_deg, facts["tilt_deg"], facts["hfov_deg"]
            )
            found.append(DroneShot(photo, geometry, centre, camera, float(facts["height_m"])))
    except FileNotFoundError as error:
        raise InputError(f"{town}: no {TRUTH}; make the town with drone photos (`geo town make --photos`)") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); make the town again") from error
    if not found:
        raise InputError(f"{town}: no drone photos; make the town with some (`geo town make --photos`)")
    return found


def view_records(views: Sequence[tuple[TownView, str]], prefix: str = "") -> Iterator[ObjectRecord]:
    """Yield the record of each click with its split: the reference is a square as high as the drone photo, cut where it holds the box."""
    for item, split in views:
        photo, click = about_click(Photo.read(item.photo, long_px=WHOLE_PX).pixels, item.click_px, PHOTO_PX["street"])
        whole = Photo.read(item.shot.path, long_px=WHOLE_PX).pixels
        side, (x0, y0, x1, y1) = whole.shape[0], item.box_px
        first, last = max(0.0, x1 + _MARGIN_PX - side), min(x0 - _MARGIN_PX, whole.shape[1] - side)
        left = round(first + item.left_share * (last - first))
        box = (x0 - left, y0, x1 - left, y1)
        quad = (box[0], y0, box[2], y0, box[2], y1, box[0], y1)
        yield ObjectRecord(prefix + item.id, photo, whole[:, left : left + side], click, box, quad, item.kind, split, "street")


def _widest(shot: DroneShot) -> float:
    """Return how wide a box may be that the square cut from a photo holds."""
    return min(shot.geometry.width_px, shot.geometry.height_px) - 2.0 * _MARGIN_PX
