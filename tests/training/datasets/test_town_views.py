"""Clicks in street photos of made towns become G2D: references are drone photos, and boxes lie on what they show."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin

from crossgeo import geodesy
from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError
from crossgeo.town.camera import Camera, Pose, project
from crossgeo.training.datasets.check import check
from crossgeo.training.datasets.cvogl import read_g2d
from crossgeo.training.datasets.from_town import write_from_towns

CRS = geodesy.parse_crs("EPSG:32645")
WEST, NORTH = 200_000.0, 3_057_600.0  # grid north is 1.4 degrees off
CAMERA = Camera(hfov_deg=70.0, width_px=400, height_px=300)
POSES = [Pose(100.0, -100.0, 60.0, 30.0, 15.0), Pose(105.0, -98.0, 90.0, 200.0, 5.0)]  # metres from the corner, north being up
WIDE, DEEP, TALL = 12.0, 8.0, 9.0
PLACES = [(110.0, -88.0), (300.0, -300.0)]  # of two houses, the second in no drone photo


def write_town(folder: Path, west: float) -> Path:
    """Write a town of two houses, both clicked from the street, the drone's photos red where they show the first."""
    (folder / "photos").mkdir(parents=True)
    (folder / "street").mkdir()
    profile = {"driver": "GTiff", "width": 8, "height": 8, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(folder / "ortho.tif", "w", transform=from_origin(west, NORTH, 50.0, 50.0), **profile) as file:
        file.write(np.full((3, 8, 8), 90, np.uint8))
    base = np.array([(-WIDE / 2, -DEEP / 2), (WIDE / 2, -DEEP / 2), (WIDE / 2, DEEP / 2), (-WIDE / 2, DEEP / 2)])
    truth: list[Any] = []
    for number, pose in enumerate(POSES):
        corners = np.concatenate([np.column_stack([base + PLACES[0], np.full(4, height)]) for height in (0.0, TALL)])
        picture = np.full((300, 400, 3), 60, np.uint8)
        cv2.fillConvexPoly(picture, cv2.convexHull(np.round(project(pose, CAMERA, corners)).astype(np.int32)), (255, 0, 0))
        Image.fromarray(picture).save(folder / "photos" / f"photo_{number}.jpg", quality=95)
        (lat, lon), (camera_lat, camera_lon) = (
            geodesy.to_lat_lon(CRS, west + x, NORTH + y) for x, y in (pose.centre, (pose.x, pose.y))
        )  # fmt: skip
        heading_deg = pose.heading_deg + geodesy.grid_convergence_deg(CRS, west + pose.x, NORTH + pose.y)
        facts = {
            "file": f"photo_{number}.jpg", "lat": lat, "lon": lon, "camera_lat": camera_lat, "camera_lon": camera_lon,
            "height_m": pose.height_m, "heading_deg": heading_deg, "tilt_deg": pose.tilt_deg, "hfov_deg": CAMERA.hfov_deg,
        }  # fmt: skip
        truth.append({"type": "Feature", "properties": facts, "geometry": None})
    (folder / "truth.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": truth}))
    things = []
    for number, (x, y) in enumerate(PLACES):
        Image.new("RGB", (512, 256), (30, 60, round(west / 100.0) % 256)).save(folder / "street" / f"street_{number}.jpg")
        facts = {"file": f"street/street_{number}.jpg", "kind": "building", "point_px": [200.0, 100.0], "height_m": TALL}
        outline = geodesy.geojson_polygon(CRS, [(west + x + a, NORTH + y + b) for a, b in base.tolist()])
        things.append({"type": "Feature", "properties": facts, "geometry": outline})
    (folder / "street_objects.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": things}))
    return folder


@pytest.fixture
def towns(tmp_path: Path) -> list[Path]:
    """Return three towns."""
    return [write_town(tmp_path / name, WEST + 3000.0 * k) for k, name in enumerate("abc")]


def test_boxes_lie_on_what_the_drone_photos_show(towns: list[Path], tmp_path: Path) -> None:
    counts, left_out = write_from_towns(towns, "g2d", tmp_path / "set")
    assert counts == {"train": 1, "val": 1, "test": 1}
    assert left_out == [("street_1.jpg building", "no drone photo shows all of it")] * 3
    assert check(tmp_path / "set", "g2d").problems == []
    for pair in read_g2d(tmp_path / "set"):
        picture = Photo.read(pair.aerial).pixels.astype(int)
        assert picture.shape == (300, 300, 3)
        rows, columns = np.nonzero((picture[..., 0] > 150) & (picture[..., 1] < 80))
        seen = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert pair.box_px == pytest.approx(seen, abs=2.0)
        assert (pair.task, pair.click_px, Photo.read(pair.photo).width_px) == ("street", (200.5, 100.5), 512)


@pytest.mark.parametrize("damage", [lambda path: path.unlink(), lambda path: path.write_text("{}")])
def test_a_town_without_drone_photos_is_refused(damage: Callable[[Path], Any], towns: list[Path], tmp_path: Path) -> None:
    damage(towns[1] / "truth.geojson")
    with pytest.raises(InputError, match=r"b.*: (no truth\.geojson|damaged)"):
        write_from_towns(towns, "g2d", tmp_path / "set")
    assert not (tmp_path / "set").exists()
