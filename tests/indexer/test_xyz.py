"""Folders of Web Mercator tiles: place from the name, finest zoom first, white no data."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.indexer.imagery import open_source
from crossgeo.indexer.xyz import tile_bounds, tile_key, white_regions

MERCATOR = CRS.from_epsg(3857)
X, Y, Z = 386700, 220240, 19
HALF_M = math.pi * 6378137.0


def save(folder: Path, key: tuple[int, int, int], rgb: NDArray[np.uint8], name: str = "OAM-{}-{}-{}.png", **more: Any) -> Path:
    """Write a tile under its name."""
    path = folder / name.format(*key)
    Image.fromarray(rgb).save(path, **more)
    return path


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("OAM-386683-220234-19.tif", (386683, 220234, 19)),
        ("1277168_1083840_21.png", (1277168, 1083840, 21)),
        ("area-7-386683-220234-19.JPG", (386683, 220234, 19)),
        ("386683-220234-19.geojson", None),
        ("5-5-2.png", None),
        ("photo.jpg", None),
    ],
)
def test_a_tile_is_known_by_its_name(name: str, key: Any) -> None:
    assert tile_key(Path(name)) == key


def test_a_tile_lies_where_the_web_mercator_scheme_has_it() -> None:
    west, _, _, north = tile_bounds(X, Y, Z)
    lat, lon = geodesy.to_lat_lon(MERCATOR, west, north)
    assert lon == pytest.approx(X / 2**Z * 360 - 180, abs=1e-9)
    assert lat == pytest.approx(math.degrees(math.atan(math.sinh(math.pi * (1 - 2 * Y / 2**Z)))), abs=1e-9)


def test_neighbouring_tiles_join_without_a_seam(tmp_path: Path, paint: Any) -> None:
    whole = paint(512, 512)
    for dx in (0, 1):
        for dy in (0, 1):
            save(tmp_path, (X + dx, Y + dy, Z), whole[dy * 256 : dy * 256 + 256, dx * 256 : dx * 256 + 256])
    source = open_source(tmp_path)
    west, _, _, north = tile_bounds(X, Y, Z)
    _, south, east, _ = tile_bounds(X + 1, Y + 1, Z)
    found, valid = source.read(MERCATOR, (west, south, east, north), (512, 512))
    assert source.kind == "xyz"
    assert valid.all()
    np.testing.assert_array_equal(found, whole)
    assert source.gsd_m == pytest.approx(2 * HALF_M / 2**Z / 256 * math.cos(math.radians(27.63)), rel=2e-3)


def test_the_finest_zoom_that_covers_a_place_is_used(tmp_path: Path) -> None:
    save(tmp_path, (X, Y, Z), np.full((256, 256, 3), 50, np.uint8))
    save(tmp_path, (2 * X, 2 * Y, Z + 1), np.full((256, 256, 3), 200, np.uint8))
    found, valid = open_source(tmp_path).read(MERCATOR, tile_bounds(X, Y, Z), (64, 64))
    assert valid.all()
    assert (found[:31, :31] == 200).all()
    assert (found[33:] == 50).all()


def test_overviews_far_below_the_finest_zoom_are_left_out(tmp_path: Path) -> None:
    save(tmp_path, (X, Y, Z), np.full((256, 256, 3), 50, np.uint8))
    save(tmp_path, (X // 8, Y // 8, Z - 3), np.full((256, 256, 3), 9, np.uint8))
    assert open_source(tmp_path).bounds == pytest.approx(tile_bounds(X, Y, Z))


def test_an_alpha_channel_is_a_mask(tmp_path: Path) -> None:
    rgba = np.full((256, 256, 4), 255, np.uint8)
    rgba[:, :128, 3] = 0
    save(tmp_path, (X, Y, Z), rgba)
    valid = open_source(tmp_path).read(MERCATOR, tile_bounds(X, Y, Z), (256, 256))[1]
    assert not valid[:, :128].any()
    assert valid[:, 128:].all()


def test_white_at_the_edge_of_a_jpeg_tile_is_no_data_but_a_bright_roof_is_not(tmp_path: Path, paint: Any) -> None:
    rgb = paint(256, 256)
    rgb[:90, :90] = 255
    rgb[150:200, 120:180] = 255  # a roof within
    save(tmp_path, (X, Y, Z), rgb, format="JPEG", quality=95)
    valid = open_source(tmp_path).read(MERCATOR, tile_bounds(X, Y, Z), (256, 256))[1]
    assert not valid[:90, :90].any()
    assert valid[100:, :].all()


def test_a_roof_that_is_only_nearly_white_is_kept_at_the_edge() -> None:
    rgb = np.full((256, 256, 3), 100, np.uint8)
    rgb[:90, :90] = np.random.default_rng(0).integers(250, 256, (90, 90, 3))
    assert not white_regions(rgb).any()


def test_white_in_a_png_is_imagery(tmp_path: Path) -> None:
    save(tmp_path, (X, Y, Z), np.full((256, 256, 3), 255, np.uint8))
    assert open_source(tmp_path).read(MERCATOR, tile_bounds(X, Y, Z), (16, 16))[1].all()


def test_tiles_whose_suffix_lies_are_read_by_content(tmp_path: Path, paint: Any) -> None:
    save(tmp_path, (X, Y, Z), paint(512, 512), "OAM-{}-{}-{}.tif", format="JPEG")
    source = open_source(tmp_path)
    assert source.kind == "xyz"
    assert source.read(MERCATOR, tile_bounds(X, Y, Z), (64, 64))[1].all()


def test_a_broken_tile_is_named(tmp_path: Path, paint: Any) -> None:
    save(tmp_path, (X, Y, Z), paint(256, 256))
    path = save(tmp_path, (X + 1, Y, Z), paint(256, 256))
    path.write_bytes(path.read_bytes()[:3000])
    with pytest.raises(InputError, match=f"{X + 1}"):
        open_source(tmp_path).read(MERCATOR, tile_bounds(X + 1, Y, Z), (64, 64))


def test_tiles_of_mixed_sizes_and_twins_are_refused(tmp_path: Path, paint: Any) -> None:
    save(tmp_path, (X, Y, Z), paint(256, 256))
    save(tmp_path, (X + 1, Y, Z), paint(512, 512))
    with pytest.raises(InputError, match="256 px"):
        open_source(tmp_path).read(MERCATOR, tile_bounds(X + 1, Y, Z), (64, 64))
    save(tmp_path, (X, Y, Z), paint(256, 256), "{}-{}-{}.jpg")
    with pytest.raises(InputError, match="same tile"):
        open_source(tmp_path)


def test_real_buildings_lie_on_their_polygons(geo_data: Path) -> None:
    """Zanzibar: roofs are paler than what lies 3 m around them, for most of the buildings labelled there."""
    source = open_source(geo_data / "oam_zanzibar")
    metric = CRS.from_epsg(32737)
    paler = []
    for feature in json.loads((geo_data / "oam_zanzibar" / "labels.geojson").read_text())["features"][:60]:
        ring = np.asarray(feature["geometry"]["coordinates"][0])
        xy = np.asarray([geodesy.from_lat_lon(metric, lat, lon) for lon, lat in ring])
        (x_min, y_min), (x_max, y_max) = xy.min(axis=0) - 4, xy.max(axis=0) + 4
        shape = round((y_max - y_min) / 0.2), round((x_max - x_min) / 0.2)
        rgb, valid = source.read(metric, (x_min, y_min, x_max, y_max), shape)
        if not valid.all():
            continue
        mask = np.zeros(shape, np.uint8)

        points = np.stack([(xy[:, 0] - x_min) / 0.2, (y_max - xy[:, 1]) / 0.2], axis=1)
        cv2.fillPoly(mask, [np.round(points).astype(np.int32)], 1)
        around = cv2.dilate(mask, np.ones((31, 31), np.uint8)) - cv2.dilate(mask, np.ones((5, 5), np.uint8))
        paler.append(rgb[mask == 1].mean() > rgb[around == 1].mean())
    assert len(paler) >= 40
    assert np.mean(paler) >= 0.8


def test_the_white_corners_of_banepa_are_no_data(geo_data: Path) -> None:
    source = open_source(geo_data / "oam_banepa" / "tiles_z19")
    assert source.read(MERCATOR, tile_bounds(386704, 220236, 19), (128, 128))[1].mean() < 0.03
    assert source.read(MERCATOR, tile_bounds(386704, 220237, 19), (128, 128))[1].mean() == pytest.approx(0.85, abs=0.03)
    assert source.read(MERCATOR, tile_bounds(386690, 220240, 19), (128, 128))[1].all()
