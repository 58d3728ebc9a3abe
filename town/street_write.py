"""Writing the street photos of a town: panoramas/, street/, dense/, street.geojson and street_objects.geojson (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path

import numpy as np
import shapely
from numpy.typing import NDArray
from PIL import Image

from crossgeo.errors import UsageError
from crossgeo.town.exif import Tags
from crossgeo.town.flight import inner_point
from crossgeo.town.layout import ObjectKind, Town, TownObject
from crossgeo.town.scene import Scene, draw_scene
from crossgeo.town.street_camera import Panorama, StreetLens, StreetPose
from crossgeo.town.street_exif import panorama_xmp, street_exif, taken_at
from crossgeo.town.street_photo import StreetHits, take_street_photo
from crossgeo.town.street_poses import draw_street_poses
from crossgeo.town.street_world import StreetWorld
from crossgeo.town.triangles import Kind
from crossgeo.town.truth import Json, object_feature, place_feature, write_features

PANORAMA = Panorama(512, 1024)
_SIZES_PX = ((1024, 768), (1024, 768), (1024, 576), (768, 1024))
_HFOV_DEG = (58.0, 96.0)  # of a photo across; upright ones see less
_DAYS = 12  # days on which street photos of a town are taken: each has its own traffic
_REACH_M = 70.0  # a person points at nothing farther
_MIN_PIXELS = 350
_TOO_NEAR_M = 3.0
_MET: dict[ObjectKind, Kind] = {"building": Kind.BUILDING, "tree": Kind.TREE, "car": Kind.CAR}  # of what rays meet


@dataclass(frozen=True)
class _Shot:
    """One photo that is to be taken."""

    name: str  # below the town's folder
    pose: StreetPose
    camera: Panorama | StreetLens
    scene: Scene
    clicked: bool = True  # whether objects in it are


def write_street(
    folder: Path,
    town: Town,
    panoramas: int,
    street: int,
    objects_per_photo: int = 4,
    ground_m: float = 0.0,
    gsd_m: float = 0.2,
    plain: bool = False,
    progress: Callable[[int], None] | None = None,
    dense: Sequence[Sequence[StreetPose]] = (),
) -> None:
    """Take street photos in a town and write them with their truth into an existing folder, one by one.

    ground_m: the ground's altitude; gsd_m: of the orthophoto, to which `box_px` counts;
    plain: leave position and heading out of the photos; progress: called with the photos done;
    dense: stretches of poses at which panoramas are taken besides, one after the other; nothing in them is clicked.
    Raises UsageError for counts below 0 and for a town without a street to stand on.
    """
    if panoramas < 0 or street < 0 or objects_per_photo < 0:
        raise UsageError("the number of photos and of objects in each cannot be below 0")
    rng = np.random.default_rng([town.seed, 5151])
    world = StreetWorld(town)
    places: list[Json] = []
    objects: list[Json] = []
    longest = max(panoramas, street, sum(len(stretch) for stretch in dense))
    digits = max(4, len(str(longest - 1)))  # CVACT's ids have one length
    for done, shot in enumerate(chain(_shots(world, panoramas, street, digits, rng), _drive(dense, digits, rng)), start=1):
        picture, hits = take_street_photo(world, shot.pose, shot.camera, shot.scene)
        tags = _tags(town, shot, ground_m, rng)
        path = folder / shot.name
        path.parent.mkdir(exist_ok=True)
        xmp = panorama_xmp(tags, shot.pose, shot.camera, plain) if isinstance(shot.camera, Panorama) else b""
        Image.fromarray(picture).save(path, quality=int(rng.integers(80, 95)), exif=street_exif(tags, shot.camera, plain), xmp=xmp)
        places.append(_place(shot, tags))
        if shot.clicked:
            own = np.random.default_rng([town.seed, 5152, done])  # what can be clicked moves no camera
            clicks = draw_street_clicks(town, shot.pose, hits, objects_per_photo, own)
            objects.extend(object_feature(town, item, point, shot.name, gsd_m) for item, point in clicks)
        if progress is not None:
            progress(done)
    write_features(folder / "street.geojson", places)
    write_features(folder / "street_objects.geojson", objects)


def _shots(world: StreetWorld, panoramas: int, street: int, digits: int, rng: np.random.Generator) -> Iterator[_Shot]:
    """Yield panoramas, then ordinary photos, on a few days in many lights; day after day, so that each day's cars are built once."""
    days = [int(day) for day in rng.integers(1 << 31, size=_DAYS)]
    for count, name in ((panoramas, "panoramas/pano"), (street, "street/street")):
        for number, pose in enumerate(draw_street_poses(world.town, count, rng)):
            scene = replace(draw_scene(rng), traffic_seed=days[number * _DAYS // count])
            if name.startswith("panoramas"):
                yield _Shot(f"{name}_{number:0{digits}d}.jpg", pose, PANORAMA, scene)
            else:
                yield _Shot(f"{name}_{number:0{digits}d}.jpg", *_framed(world, pose, rng), scene)


def _drive(dense: Sequence[Sequence[StreetPose]], digits: int, rng: np.random.Generator) -> Iterator[_Shot]:
    """Yield panoramas along stretches, each stretch at one time."""
    number = 0
    for stretch in dense:
        scene = draw_scene(rng)
        for pose in stretch:
            yield _Shot(f"dense/step_{number:0{digits}d}.jpg", pose, PANORAMA, scene, clicked=False)
            number += 1


def _framed(world: StreetWorld, pose: StreetPose, rng: np.random.Generator) -> tuple[StreetPose, StreetLens]:
    """Turn a camera to where a person would take a photo: along the street or across it, not into a wall at arm's length."""
    width, height = _SIZES_PX[int(rng.integers(len(_SIZES_PX)))]
    hfov_deg = float(rng.uniform(*_HFOV_DEG)) * min(1.0, width / height)
    lens = StreetLens(hfov_deg, width, height)
    small = StreetLens(hfov_deg, 24, round(24 * height / width))
    framed = pose
    for attempt in range(8):
        turn = float(rng.normal(0.0, 20.0)) if attempt == 0 and rng.uniform() < 0.5 else float(rng.uniform(0.0, 360.0))
        framed = replace(pose, heading_deg=(pose.heading_deg + turn) % 360.0, pitch_deg=pose.pitch_deg + float(rng.uniform(-2.0, 8.0)))
        _, hits = take_street_photo(world, framed, small, Scene(), 1)
        if np.median(np.hypot(hits.x - pose.x, hits.y - pose.y)) > _TOO_NEAR_M:
            break
    return framed, lens


def draw_street_clicks(
    town: Town,
    pose: StreetPose,
    hits: StreetHits,
    count: int,
    rng: np.random.Generator,
    kinds: Collection[ObjectKind] = ("building", "tree", "car", "pond"),
) -> list[tuple[TownObject, tuple[float, float]]]:
    """Return up to `count` clicks (object, point in pixel edges) on things of these kinds that a photo shows well and near.

    Of cars only those are clicked that nobody has moved since the orthophoto was taken.
    """
    near = np.hypot(hits.x - pose.x, hits.y - pose.y) < _REACH_M
    chosen: list[tuple[TownObject, tuple[float, float]]] = []
    named: dict[tuple[int, int], TownObject] = {}
    solid = {kind: met for kind, met in _MET.items() if kind in kinds}
    for item in town.objects:
        if item.kind in solid:
            named[int(solid[item.kind]), item.number] = item
    candidates: list[tuple[TownObject, NDArray[np.bool_]]] = []
    for kind in solid.values():
        of_kind = near & (hits.kind == kind)
        owners, pixels = np.unique(hits.owner[of_kind], return_counts=True)
        for owner, shown in zip(owners, pixels, strict=True):
            found = named.get((int(kind), int(owner)))
            if shown >= _MIN_PIXELS and found is not None:
                candidates.append((found, of_kind & (hits.owner == owner)))
    here = shapely.Point(pose.x, pose.y)
    ground = near & (hits.kind == Kind.GROUND)
    for item in town.objects:
        if item.kind == "pond" and "pond" in kinds and item.footprint.distance(here) < _REACH_M:
            candidates.append((item, ground & shapely.contains_xy(item.footprint, hits.x, hits.y)))
    for k in rng.permutation(len(candidates)):
        item, mask = candidates[int(k)]
        point = inner_point(mask, rng, _MIN_PIXELS)
        if len(chosen) < count and point is not None:
            chosen.append((item, point))
    return chosen


def _tags(town: Town, shot: _Shot, ground_m: float, rng: np.random.Generator) -> Tags:
    pose = shot.pose
    lat, lon = town.to_lat_lon(pose.x, pose.y)
    heading_deg = town.true_heading_deg(pose.x, pose.y, pose.heading_deg)
    return Tags(lat, lon, ground_m + pose.height_m, heading_deg, taken_at(shot.scene, lat, int(rng.integers(28))))


def _place(shot: _Shot, tags: Tags) -> Json:
    camera, pose = shot.camera, shot.pose
    kind, hfov_deg = ("panorama", 360.0) if isinstance(camera, Panorama) else ("street", round(camera.hfov_deg, 4))
    lat, lon = round(tags.lat, 8), round(tags.lon, 8)
    facts = {
        "file": shot.name, "kind_of_photo": kind, "lat": lat, "lon": lon, "camera_lat": lat, "camera_lon": lon,
        "height_m": round(pose.height_m, 3), "heading_deg": round(tags.heading_deg, 4), "pitch_deg": round(pose.pitch_deg, 4),
        "roll_deg": round(pose.roll_deg, 4), "hfov_deg": hfov_deg, "width_px": camera.width_px, "height_px": camera.height_px,
        "season": shot.scene.season,
    }  # fmt: skip
    return place_feature(facts)
