"""The clicked objects of a made town (docs/formats.md, Towns) as CVOGL's records: photos cut about the click, aerials about the object."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from shapely.geometry import shape

from crossgeo import geodesy
from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError
from crossgeo.indexer.imagery import open_source
from crossgeo.models.views import resized
from crossgeo.training.datasets.cvogl import AERIAL_PX, PHOTO_PX
from crossgeo.training.datasets.pictures import WHOLE_PX
from crossgeo.training.datasets.records import ObjectRecord
from crossgeo.training.datasets.town_panoramas import ORTHO
from crossgeo.training.pairs import Point, Size, Task

SIDE_M = 300
FOLDERS: dict[Task, tuple[str, ...]] = {"drone": ("photos",), "street": ("street", "panoramas")}
_MARGIN_M = 5.0
_MARGIN_PX = 4


@dataclass(frozen=True)
class Clicked:
    """A click in a photo of a town."""

    id: str
    photo: Path
    click_px: Point
    kind: str
    outline_xy: NDArray[np.float64]  # (V, 2) metres in `crs`, as seen from straight above
    height_m: float
    crs: str


@dataclass(frozen=True)
class TownObject(Clicked):
    """A click with the aerial that is to be cut for it."""

    centre_xy: Point  # of the aerial, whole metres


def clicked(town: Path, task: Task) -> list[Clicked]:
    """Return the clicks of a town; raise InputError for a folder that is no town's, or one without clicks of the task."""
    if not (town / ORTHO).is_file():
        raise InputError(f"{town}: no {ORTHO}; is this a town that `geo town make` wrote?")
    source = open_source(town / ORTHO)
    crs = source.crs
    source.close()
    found: list[Clicked] = []
    for number, (facts, geometry) in enumerate(_features(town)):
        photo = next((path for name in FOLDERS[task] if (path := town / name / Path(facts["file"]).name).is_file()), None)
        if photo is None:
            continue  # another task's
        lon, lat = np.array(geometry.exterior.coords).T
        outline = np.stack(geodesy.transform(geodesy.parse_crs("EPSG:4326"), crs, lon, lat), axis=1)[:-1]
        (x, y), name = facts["point_px"], f"{photo.stem}-{number:05d}".replace("_", "-")
        click = (float(x), float(y))
        found.append(Clicked(name, photo, click, str(facts["kind"]), outline, float(facts["height_m"]), f"EPSG:{crs.to_epsg()}"))
    if not found:
        raise InputError(f"{town}: no clicks in {' or '.join(FOLDERS[task])}/; make the town with photos and objects of them")
    return found


def town_objects(town: Path, task: Task, seed: int = 0, side_m: int = SIDE_M) -> tuple[list[TownObject], list[tuple[str, str]]]:
    """Return the clicks of a town with a place for each aerial, drawn from the seed, and what is left out with the reason.

    Raises InputError as `clicked` does.
    """
    clicks, rng = clicked(town, task), np.random.default_rng(seed)
    source = open_source(town / ORTHO)
    bounds = source.bounds
    source.close()
    found: list[TownObject] = []
    left_out: list[tuple[str, str]] = []
    for click in clicks:
        centre = _place(click.outline_xy, bounds, side_m, rng)
        if centre is None:
            left_out.append((f"{click.photo.name} {click.kind}", f"no aerial of {side_m} m holds it and lies in the imagery"))
        else:
            found.append(TownObject(**vars(click), centre_xy=centre))
    return found, left_out


def object_records(
    town: Path, objects: Sequence[tuple[TownObject, str]], task: Task, prefix: str = "", side_m: int = SIDE_M, side_px: int = AERIAL_PX[0]
) -> Iterator[ObjectRecord]:
    """Yield the record of each object with its split; aerials lie along the grid of their CRS, as their names are read."""
    source = open_source(town / ORTHO)
    for item, split in objects:
        photo, click = about_click(Photo.read(item.photo, long_px=WHOLE_PX).pixels, item.click_px, PHOTO_PX[task])
        (x, y), half, scale = item.centre_xy, side_m / 2, side_px / side_m
        aerial = source.read(geodesy.parse_crs(item.crs), (x - half, y - half, x + half, y + half), (side_px, side_px))[0]
        outline_px = np.stack([item.outline_xy[:, 0] - (x - half), (y + half) - item.outline_xy[:, 1]], axis=1) * scale
        (x0, y0), (x1, y1) = outline_px.min(axis=0), outline_px.max(axis=0)
        box = (float(x0), float(y0), float(x1), float(y1))
        corners = cv2.boxPoints(cv2.minAreaRect(outline_px.astype(np.float32)))
        quad = tuple(float(v) for v in np.asarray(corners).ravel())
        yield ObjectRecord(
            prefix + item.id, photo, aerial, click, box, quad, item.kind, split, task, item.crs, item.centre_xy, side_m
        )  # fmt: skip
    source.close()


def about_click(photo: NDArray[np.uint8], click_px: Point, size: Size) -> tuple[NDArray[np.uint8], Point]:
    """Return the largest window of the shape of `size` that holds the click, near the middle where it can, scaled, and the click in it."""
    height, width = photo.shape[:2]
    cut_w = min(width, math.floor(height * size[0] / size[1]))
    cut_h = min(height, math.floor(cut_w * size[1] / size[0]))
    left = _start(click_px[0], cut_w, width)
    top = _start(click_px[1], cut_h, height)
    window = photo[top : top + cut_h, left : left + cut_w]
    scaled = resized(window, size)
    x, y = (click_px[0] - left) * size[0] / cut_w, (click_px[1] - top) * size[1] / cut_h
    return scaled, (float(min(math.floor(x), size[0] - 1)), float(min(math.floor(y), size[1] - 1)))


def _start(at: float, cut: int, whole: int) -> int:
    """Return where a window of `cut` starts that holds `at` with a margin and lies as near the middle of `whole` as it can."""
    margin = min(_MARGIN_PX, cut // 4)
    low, high = math.ceil(at + margin - cut), math.floor(at - margin)
    return int(min(max((whole - cut) // 2, low, 0), max(min(high, whole - cut), 0)))


def _place(outline: NDArray[np.float64], bounds: tuple[float, float, float, float], side_m: int, rng: np.random.Generator) -> Point | None:
    """Draw whole metres for the middle of an aerial that holds an outline and lies in the imagery; None where there are none."""
    middle = []
    for axis in (0, 1):
        low = max(outline[:, axis].max() + _MARGIN_M - side_m / 2, bounds[axis] + side_m / 2)
        high = min(outline[:, axis].min() - _MARGIN_M + side_m / 2, bounds[axis + 2] - side_m / 2)
        first, last = math.ceil(low), math.floor(high)
        if first > last:
            return None
        middle.append(float(rng.integers(first, last + 1)))
    return middle[0], middle[1]


def _features(town: Path) -> Iterator[tuple[dict[str, Any], Any]]:
    """Yield properties and polygon of every clicked object of a town."""
    for path in sorted(town.glob("*objects*.geojson")):
        try:
            for feature in json.loads(path.read_text(encoding="utf-8"))["features"]:
                facts = feature["properties"]
                _ = facts["file"], facts["kind"], facts["point_px"], facts["height_m"]
                yield facts, shape(feature["geometry"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); make the town again") from error
