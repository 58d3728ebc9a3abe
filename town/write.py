"""Writing a town to disk: ortho.tif, drone and street photos with EXIF, their truth, and town.json (docs/formats.md)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin

from crossgeo.errors import UsageError
from crossgeo.indexer.files import new_folder
from crossgeo.town.aerial import render_ortho
from crossgeo.town.camera import Camera, Pose
from crossgeo.town.drone import take_photo
from crossgeo.town.drone_exif import drone_exif, drone_xmp
from crossgeo.town.exif import Tags
from crossgeo.town.flight import draw_clicks, draw_poses
from crossgeo.town.layout import Town, make_town
from crossgeo.town.memory import check_memory
from crossgeo.town.scene import Scene, draw_scene
from crossgeo.town.street_poses import dense_street_poses
from crossgeo.town.street_write import write_street
from crossgeo.town.truth import Json, object_feature, place_feature, write_features, write_json

_TAKEN = {
    "spring": "2024:04:18 10:00:00",
    "summer": "2024:07:09 10:00:00",
    "autumn": "2024:10:12 10:00:00",
    "winter": "2024:01:20 10:00:00",
}


def write_town(
    out: Path,
    seed: int,
    size_m: float = 600.0,
    photos: int = 40,
    objects_per_photo: int = 4,
    camera: Camera | None = None,
    gsd_m: float = 0.2,
    plain: bool = False,
    progress: Callable[[int, int], None] | None = None,
    panoramas: int = 0,
    street: int = 0,
    dense: int = 0,
) -> Town:
    """Make the town of a seed and write it to a new folder, which appears only once it is whole.

    photos, panoramas, street: how many drone photos, panoramas of 360 degrees and ordinary street photos;
    dense: how many panoramas to take besides, every 5 m along the streets of one corner;
    plain: leave position, altitude, heading and tilt out of the photos; the truth files hold them either way.
    progress: called with photos done and photos in all.
    Raises UsageError for arguments out of range, InputError when `out` exists or cannot be made, LimitError when the disk does not take it.
    """
    if min(photos, panoramas, street, dense, objects_per_photo) < 0:
        raise UsageError("the number of photos and of objects in each cannot be below 0")
    if panoramas + street + dense > 0:
        check_memory(size_m, gsd_m, street=True)
    total = photos + panoramas + street + dense
    count = (lambda done: progress(done, total)) if progress is not None else (lambda done: None)
    with new_folder(Path(out), "town") as folder:
        (folder / "photos").mkdir()
        return _write(folder, seed, size_m, photos, objects_per_photo, camera or Camera(), gsd_m, plain, count, (panoramas, street, dense))


def _write(
    folder: Path,
    seed: int,
    size_m: float,
    photos: int,
    objects_per_photo: int,
    camera: Camera,
    gsd_m: float,
    plain: bool,
    progress: Callable[[int], None],
    on_street: tuple[int, int, int],
) -> Town:
    panoramas, street, dense = on_street
    town = make_town(seed, size_m)
    drive = dense_street_poses(town, dense, np.random.default_rng([seed, 5153]))
    rng = np.random.default_rng([seed, 5150])
    ground_m = float(np.round(rng.uniform(2.0, 900.0), 1))
    ortho_scene = ortho_scene_of(rng)
    write_ortho(folder / "ortho.tif", town, render_ortho(town, ortho_scene, gsd_m), gsd_m)
    places: list[Json] = []
    objects: list[Json] = []
    for number, pose in enumerate(draw_poses(town, camera, photos, rng)):
        name = f"photo_{number:04d}.jpg"
        scene = draw_scene(rng)
        picture, hits = take_photo(town, pose, camera, scene)
        tags = _tags(town, pose, scene, ground_m)
        exif, xmp = drone_exif(tags, camera, plain), b"" if plain else drone_xmp(tags, pose)
        Image.fromarray(picture).save(folder / "photos" / name, quality=int(rng.integers(82, 96)), exif=exif, xmp=xmp)
        places.append(_place_feature(town, pose, camera, tags, name))
        clicks = draw_clicks(town, pose, camera, hits, objects_per_photo, rng)
        objects.extend(object_feature(town, click.item, click.point_px, name, gsd_m) for click in clicks)
        progress(number + 1)
    write_features(folder / "truth.geojson", places)
    write_features(folder / "objects.geojson", objects)
    if sum(on_street):
        write_street(
            folder, town, panoramas, street, objects_per_photo, ground_m, gsd_m, plain, lambda done: progress(photos + done), drive
        )
    kinds = [item.kind for item in town.objects]
    about = {
        "seed": seed, "size_m": town.size_m, "gsd_m": gsd_m, "style": town.style, "crs": f"EPSG:{town.crs.to_epsg()}",
        "origin_xy": list(town.origin_xy), "ground_m": ground_m, "simulated": True, "photos": photos,
        "panoramas": panoramas, "street": street, "dense": dense,
        "camera": {"hfov_deg": camera.hfov_deg, "width_px": camera.width_px, "height_px": camera.height_px},
        "objects": {kind: kinds.count(kind) for kind in sorted(set(kinds))},
    }  # fmt: skip
    write_json(folder / "town.json", about)
    return town


def ortho_scene_of(rng: np.random.Generator) -> Scene:
    """Draw the scene of an orthophoto: a clear day with the sun well up, little haze and noise."""
    scene = draw_scene(rng)
    season = "summer" if scene.season == "winter" else scene.season
    elevation = max(35.0, scene.sun_elevation_deg)
    return replace(
        scene, season=season, sun_elevation_deg=elevation, overcast=min(scene.overcast, 0.4), haze=0.3 * scene.haze, noise=0.5 * scene.noise
    )


def write_ortho(path: Path, town: Town, picture: NDArray[np.uint8], gsd_m: float) -> None:
    """Write an orthophoto (H, W, 3) as a tiled GeoTIFF, JPEG at quality 95, in the town's UTM zone, with a mask where it shows no land."""
    transform = from_origin(town.origin_xy[0], town.origin_xy[1] + town.size_m, gsd_m, gsd_m)
    rows, cols = picture.shape[:2]
    profile = {
        "driver": "GTiff", "height": rows, "width": cols, "count": 3, "dtype": "uint8", "crs": f"EPSG:{town.crs.to_epsg()}",
        "transform": transform, "tiled": True, "blockxsize": 256, "blockysize": 256,
        "compress": "jpeg", "photometric": "ycbcr", "jpeg_quality": 95,
    }  # fmt: skip
    with rasterio.Env(GDAL_TIFF_INTERNAL_MASK=True), rasterio.open(path, "w", **profile) as sink:
        sink.write(picture.transpose(2, 0, 1))
        if town.valid is not None:
            sink.write_mask(town.valid)


def _tags(town: Town, pose: Pose, scene: Scene, ground_m: float) -> Tags:
    heading_deg = town.true_heading_deg(pose.x, pose.y, pose.heading_deg)
    return Tags(*town.to_lat_lon(pose.x, pose.y), ground_m + pose.height_m, heading_deg, _TAKEN[scene.season])


def _place_feature(town: Town, pose: Pose, camera: Camera, tags: Tags, name: str) -> Json:
    lat, lon = town.to_lat_lon(*pose.centre)
    facts = {
        "file": name, "kind_of_photo": "drone", "lat": round(lat, 8), "lon": round(lon, 8),
        "camera_lat": round(tags.lat, 8), "camera_lon": round(tags.lon, 8),
        "height_m": round(pose.height_m, 3), "heading_deg": round(tags.heading_deg, 4), "tilt_deg": round(pose.tilt_deg, 4),
        "hfov_deg": round(camera.hfov_deg, 4),
    }  # fmt: skip
    return place_feature(facts)
