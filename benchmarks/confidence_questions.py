"""Photos of known places for judging confidence, hard ones among them, and their answers, kept in a journal a line each as they come."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ground_truth
import numpy as np

from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import Truth
from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import grid_convergence_deg
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.town.aerial import render_ortho
from crossgeo.town.camera import Camera
from crossgeo.town.drone import render_photo
from crossgeo.town.flight import draw_poses
from crossgeo.town.layout import make_town
from crossgeo.town.scene import draw_scene
from crossgeo.town.write import ortho_scene_of, write_ortho

TOWN_M, GSD_M = 400.0, 0.2
LEAST_SHARE, MOST_SHARE = 0.05, 0.7  # of a photo's width that is left of the narrowest cut and of the widest
HEIGHT_ERROR = 0.08  # standard deviation of ln(told / true height)


@dataclass(frozen=True)
class Asked:
    """A question that was answered: its name, its truth and the answer's JSON."""

    name: str
    lat: float
    lon: float
    record: dict[str, Any]


def asked(journal: Path, search: GeoSearch, truths: Iterable[Truth]) -> list[Asked]:
    """Ask about every photo, or take its answer from the journal, which grows by a line at a time."""
    done = {one.name: one for one in read(journal)} if journal.exists() else {}
    out = []
    with journal.open("a") as file:
        for truth in truths:
            assert isinstance(truth.photo, Photo)
            name = truth.photo.name
            if name not in done:
                done[name] = Asked(name, truth.lat, truth.lon, search.query(truth.photo, **truth.query).to_json())
                file.write(json.dumps(vars(done[name])) + "\n")
                file.flush()
                if len(done) % 10 == 0:
                    print(journal.stem, len(done), flush=True)
            out.append(done[name])
    return out


def read(journal: Path) -> list[Asked]:
    """Return what a journal holds; a last line that was cut short is dropped."""
    lines = journal.read_text().split("\n")[:-1]
    return [Asked(**json.loads(line)) for line in lines]


def town_index(seed: int, work: Path, describer: EgoTRDescriber) -> Path:
    """Return the index of a town's orthophoto, built unless it is there."""
    ortho, index = work / f"{seed}.tif", work / f"{seed}.geo"
    if not ortho.exists():
        town = make_town(seed, TOWN_M)
        write_ortho(ortho, town, render_ortho(town, ortho_scene_of(np.random.default_rng([seed, 61])), GSD_M), GSD_M)
    view = describer.tile_view
    build_index([ortho], index, describer.tiles, describer.identity, BuildOptions(tile_m=view.extent_m, tile_px=view.size_px))
    return index


def town_truths(seed: int, count: int) -> Iterator[Truth]:
    """Yield photos of a town from above, of known heading, cut down to hardly any ground or left whole; the told height errs."""
    town, camera, rng = make_town(seed, TOWN_M), Camera(), np.random.default_rng([seed, 97])
    for number, pose in enumerate(draw_poses(town, camera, count, rng)):
        share = math.exp(rng.uniform(math.log(LEAST_SHARE), math.log(MOST_SHARE)))
        height_m = pose.height_m * math.exp(HEIGHT_ERROR * rng.standard_normal())
        pixels = render_photo(town, pose, camera, draw_scene(rng))
        lat, lon = town.to_lat_lon(*pose.centre)
        x, y = town.to_crs(*pose.centre)
        heading_deg = (pose.heading_deg + grid_convergence_deg(town.crs, x, y)) % 360.0
        exif = PhotoExif(fov_deg=camera.hfov_deg, tilt_deg=pose.tilt_deg)
        photo = cut(Photo.from_pixels(pixels, f"{seed}-{number:03d}", exif), share)
        yield Truth(photo, lat, lon, query={"kind": "drone", "heading_deg": heading_deg, "height_m": height_m})


def rendered_truths(data: Path, count: int, seed: int) -> Iterator[Truth]:
    """Yield photos rendered from real imagery that no weights were trained on, of known heading, cut like those of towns."""
    rng = np.random.default_rng([seed, 98])
    for truth in ground_truth.rendered_truths(ground_truth.banepa(data, "held-out"), count, seed, camera_known=True):
        assert isinstance(truth.photo, Photo)
        share = math.exp(rng.uniform(math.log(LEAST_SHARE), math.log(MOST_SHARE)))
        height_m = (truth.photo.exif.height_m or 0.0) * math.exp(HEIGHT_ERROR * rng.standard_normal())
        query = {"kind": "drone", "heading_deg": truth.heading_deg, "height_m": height_m}
        yield Truth(cut(truth.photo, share), truth.lat, truth.lon, query=query)


def cut(photo: Photo, share: float) -> Photo:
    """Return the middle of a photo, a share of its width and height, as a narrower lens would have taken it."""
    height, width = photo.pixels.shape[:2]
    rows, columns = max(16, round(height * share)), max(16, round(width * share))
    top, left = (height - rows) // 2, (width - columns) // 2
    fov_deg = photo.exif.fov_deg
    assert fov_deg is not None
    narrower = math.degrees(2.0 * math.atan(columns / width * math.tan(math.radians(fov_deg) / 2.0)))
    pixels = photo.pixels[top : top + rows, left : left + columns]
    return Photo.from_pixels(np.ascontiguousarray(pixels), photo.name, replace(photo.exif, fov_deg=narrower))
