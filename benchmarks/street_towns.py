"""Held-out towns to be asked about: an orthophoto with its index, and photos taken at the same places with every lens, kept once taken."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.photo import Photo
from crossgeo.geodesy import grid_convergence_deg
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.town.aerial import render_ortho
from crossgeo.town.layout import ObjectKind, Town, make_town
from crossgeo.town.scene import Scene, draw_scene
from crossgeo.town.street_camera import Panorama, StreetLens, StreetPose
from crossgeo.town.street_photo import take_street_photo
from crossgeo.town.street_poses import draw_street_poses
from crossgeo.town.street_world import StreetWorld
from crossgeo.town.street_write import draw_street_clicks, object_feature
from crossgeo.town.write import ortho_scene_of, write_ortho

STRIDE_M = 10.0
GSD_M = 0.2
PHOTOS = 1000  # that each town has; the first so many are asked about
DAYS = 5  # of traffic
KNOWN: tuple[ObjectKind, ...] = ("building", "tree", "pond")  # what the shipped weights were taught to find
PITCH_DEG = (-2.0, 8.0)  # by which ordinary photos look up, beside the hand's shake, as `geo town make` draws it
LENSES: dict[str, Panorama | StreetLens] = {
    "360": Panorama(512, 1024), "90": StreetLens(90.0, 1024, 768), "70": StreetLens(70.0, 1024, 768),
}  # fmt: skip
VIEWS = (*LENSES, "180")  # the last is cut from the first
FOV_DEG = {view: float(view) for view in VIEWS}


@dataclass(frozen=True)
class Shot:
    """A photo, where it was taken, where it looks (true north), and what was clicked in it."""

    photo: Photo
    lat: float
    lon: float
    x: float  # m, in the index's CRS
    y: float
    heading_deg: float  # of the middle column, clockwise from true north
    grid_heading_deg: float
    point: tuple[float, float] | None
    box: dict[str, Any] | None  # GeoJSON polygon


class HeldOutTown:
    """One town of a seed; what it makes is kept in a folder."""

    def __init__(self, seed: int, size_m: float, work: Path) -> None:
        self.town: Town = make_town(seed, size_m)
        self.folder = work / f"{seed}-{size_m:g}"
        self.folder.mkdir(parents=True, exist_ok=True)
        self._poses = list(draw_street_poses(self.town, PHOTOS, np.random.default_rng([seed, 77])))

    @cached_property
    def world(self) -> StreetWorld:
        """The town to be looked at."""
        return StreetWorld(self.town)

    def index(self, describer: EgoTRDescriber) -> Path:
        """Return the index of the orthophoto, built unless it is there."""
        ortho, index = self.folder / "ortho.tif", self.folder / f"{describer.identity.sha256[:8]}.geo"
        if not ortho.exists():
            scene = ortho_scene_of(np.random.default_rng([self.town.seed, 61]))
            write_ortho(ortho, self.town, render_ortho(self.town, scene, GSD_M), GSD_M)
        view = describer.tile_view
        options = BuildOptions(tile_m=view.extent_m, tile_px=view.size_px, stride_m=STRIDE_M)
        build_index([ortho], index, describer.tiles, describer.identity, options)
        return index

    def shots(self, view: str, count: int) -> Iterator[Shot]:
        """Yield the first photos with a lens, each on a day of its own."""
        for number, pose in enumerate(self._poses[:count]):
            yield self._half(self._shot("360", number, pose)) if view == "180" else self._shot(view, number, pose)

    def _shot(self, lens: str, number: int, pose: StreetPose) -> Shot:
        path = self.folder / f"{number:04d}-{lens}.jpg"
        if not path.with_suffix(".json").exists():
            self._take(path, LENSES[lens], number, pose)
        fact = json.loads(path.with_suffix(".json").read_text())
        x, y = self.town.to_crs(pose.x, pose.y)
        turn = grid_convergence_deg(self.town.crs, x, y)
        photo = Photo.from_pixels(np.asarray(Image.open(path)), f"{self.town.seed}-{path.stem}")
        lat, lon = self.town.to_lat_lon(pose.x, pose.y)
        return Shot(photo, lat, lon, x, y, (pose.heading_deg + turn) % 360.0, pose.heading_deg, fact["point"], fact["box"])

    def _take(self, path: Path, lens: Panorama | StreetLens, number: int, pose: StreetPose) -> None:
        rng = np.random.default_rng([self.town.seed, number, lens.width_px])
        scene: Scene = replace(draw_scene(np.random.default_rng([self.town.seed, 5, number])), traffic_seed=number * DAYS // PHOTOS)
        if isinstance(lens, StreetLens):
            pose = replace(pose, pitch_deg=pose.pitch_deg + float(rng.uniform(*PITCH_DEG)))
        rgb, hits = take_street_photo(self.world, pose, lens, scene)
        clicks = draw_street_clicks(self.town, pose, hits, 1, rng, KNOWN)
        fact = object_feature(self.town, *clicks[0], path.name, GSD_M)["properties"] if clicks else {"point_px": None, "box": None}
        Image.fromarray(rgb).save(path, quality=90)
        path.with_suffix(".json").write_text(json.dumps({"point": fact["point_px"], "box": fact["box"]}))

    @staticmethod
    def _half(shot: Shot) -> Shot:
        """The middle half of a panorama."""
        quarter = shot.photo.width_px // 4
        pixels = np.ascontiguousarray(shot.photo.pixels[:, quarter : 3 * quarter])
        x = -1.0 if shot.point is None else shot.point[0] - quarter
        seen = shot.point is not None and 0.0 < x < 2.0 * quarter
        point, box = ((x, shot.point[1]), shot.box) if seen and shot.point is not None else (None, None)
        return replace(shot, photo=Photo.from_pixels(pixels, shot.photo.name), point=point, box=box)
