"""Imagery of every kind and shape is read at the right place with the right colours and mask."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from numpy.typing import NDArray
from PIL import Image
from pyproj import CRS
from rasterio.enums import ColorInterp
from rasterio.warp import transform_bounds

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.indexer.imagery import open_source, open_sources

UTM = CRS.from_epsg(32645)
WEST_M, NORTH_M = 353400.0, 3058000.0
BOX = (WEST_M + 20.0, NORTH_M - 84.0, WEST_M + 84.0, NORTH_M - 20.0)  # 64 m, 128 px of 0.5 m
HERE = slice(40, 168)  # the same in pixels of the rasters below


def assert_close(found: NDArray[np.uint8], wanted: NDArray[np.uint8], mean: float, most: float) -> None:
    """Compare pictures by mean and 99th percentile of the absolute difference."""
    off = np.abs(found.astype(float) - wanted.astype(float))
    assert off.mean() <= mean
    assert np.percentile(off, 99) <= most


def test_pixels_on_the_same_grid_come_back_as_they_are(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    rgb = paint(200, 200)
    source = open_source(write_raster(tmp_path / "a.tif", rgb))
    found, valid = source.read(UTM, BOX, (128, 128))
    assert valid.all()
    np.testing.assert_array_equal(found, rgb[HERE, HERE])
    assert source.gsd_m == pytest.approx(0.5, rel=1e-3)


def test_halved_pixels_are_means_of_four(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    rgb = paint(200, 200)
    found, _ = open_source(write_raster(tmp_path / "a.tif", rgb)).read(UTM, BOX, (64, 64))
    assert_close(found, rgb[HERE, HERE].reshape(64, 2, 64, 2, 3).mean(axis=(1, 3)).round().astype(np.uint8), 0.6, 1.0)


def test_much_larger_pixels_are_still_means(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (200, 200, 3)).astype(np.uint8)
    found, _ = open_source(write_raster(tmp_path / "a.tif", rgb)).read(UTM, BOX, (8, 8))
    assert_close(found, rgb[HERE, HERE].reshape(8, 16, 8, 16, 3).mean(axis=(1, 3)).round().astype(np.uint8), 1.5, 4.0)


def test_smaller_pixels_run_straight_between_the_old_ones(tmp_path: Path, write_raster: Any) -> None:
    ramp = np.repeat(np.repeat(np.arange(200, dtype=np.uint8)[None, :, None], 200, 0), 3, 2)
    found, _ = open_source(write_raster(tmp_path / "a.tif", ramp)).read(UTM, BOX, (512, 512))
    wanted = (np.arange(512) + 0.5) / 4 - 0.5 + 40
    assert np.abs(found[100, :, 0] - wanted).max() <= 0.6


@pytest.mark.parametrize("crs", ["EPSG:4326", "EPSG:3857", "EPSG:32644", "EPSG:2193"])
def test_a_raster_in_any_crs_lies_where_it_says(tmp_path: Path, write_raster: Any, crs: str) -> None:
    lat, lon = (-41.29, 174.78) if crs == "EPSG:2193" else (27.63, 85.52)
    metric = geodesy.metric_crs_at(lat, lon)
    x, y = geodesy.from_lat_lon(metric, lat, lon)
    box = transform_bounds(metric.to_wkt(), crs, x - 60, y - 60, x + 60, y + 60)
    step = (box[2] - box[0]) / 400
    shape = math.ceil((box[3] - box[1]) / step), 400
    pixels = np.full((*shape, 3), 60, np.uint8)
    source_crs = geodesy.parse_crs(crs)
    spot_x, spot_y = geodesy.from_lat_lon(source_crs, lat, lon)
    row, col = int((box[3] - spot_y) / step), int((spot_x - box[0]) / step)
    pixels[row - 2 : row + 3, col - 2 : col + 3] = 250  # the middle of the mark is the place, to half a pixel of 0.3 m
    source = open_source(write_raster(tmp_path / "a.tif", pixels, crs, Affine(step, 0, box[0], 0, -step, box[3])))
    found, valid = source.read(metric, (x - 20, y - 20, x + 20, y + 20), (400, 400))
    assert valid.all()
    rows, cols = np.nonzero(found[..., 0] > 155)
    assert abs(cols.mean() + 0.5 - 200) <= 3  # pixels of 0.1 m
    assert abs(rows.mean() + 0.5 - 200) <= 3


@pytest.mark.parametrize("turn_deg", [30.0, 180.0])
def test_a_rotated_raster_is_turned_back(tmp_path: Path, write_raster: Any, paint: Any, turn_deg: float) -> None:
    turned = Affine.translation(WEST_M, NORTH_M) * Affine.rotation(turn_deg) * Affine.scale(0.5, -0.5) * Affine.translation(-200, -200)
    y, x = np.mgrid[0:400, 0:400]
    rgb = np.stack([x / 400 * 250, y / 400 * 250, np.full_like(x, 9)], axis=2).astype(np.uint8)  # colours name old pixels
    found, valid = open_source(write_raster(tmp_path / "a.tif", rgb, affine=turned)).read(
        UTM, (WEST_M - 30, NORTH_M - 30, WEST_M + 30, NORTH_M + 30), (120, 120)
    )
    assert valid.all()
    col, row = ~turned * (WEST_M + 20.25, NORTH_M + 9.75)
    at = found[40, 100].astype(float)
    assert at[:2] == pytest.approx([(col - 0.5) / 400 * 250, (row - 0.5) / 400 * 250], abs=1.5)


def test_a_south_up_raster_comes_out_north_up(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    rgb = paint(200, 200)
    source = open_source(write_raster(tmp_path / "a.tif", rgb[::-1], affine=Affine(0.5, 0, WEST_M, 0, 0.5, NORTH_M - 100)))
    np.testing.assert_array_equal(source.read(UTM, BOX, (128, 128))[0], rgb[HERE, HERE])


def test_the_internal_mask_is_honoured(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    mask = np.full((200, 200), 255, np.uint8)
    mask[:, :100] = 0
    rgb, valid = open_source(write_raster(tmp_path / "a.tif", paint(200, 200), mask=mask)).read(UTM, BOX, (128, 128))
    np.testing.assert_array_equal(valid[0], np.arange(128) >= 60)
    assert not rgb[:, :60].any()


def test_an_alpha_band_is_a_mask(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    alpha = np.full((200, 200, 1), 255, np.uint8)
    alpha[:100] = 0
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue, ColorInterp.alpha]
    path = write_raster(tmp_path / "a.tif", np.concatenate([paint(200, 200), alpha], axis=2), colorinterp=colours)
    np.testing.assert_array_equal(open_source(path).read(UTM, BOX, (128, 128))[1][:, 0], np.arange(128) >= 60)


def test_a_nodata_value_is_a_mask_and_does_not_bleed(tmp_path: Path, write_raster: Any) -> None:
    rgb = np.full((200, 200, 3), 200, np.uint8)
    rgb[:, :101] = 0
    found, valid = open_source(write_raster(tmp_path / "a.tif", rgb, nodata=0)).read(UTM, BOX, (64, 64))
    assert valid[:, 40:].all()
    assert not valid[:, :30].any()
    assert (found[valid] == 200).all()


def test_nan_is_no_data_whether_named_or_not(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    pixels = paint(200, 200).astype(np.float32)
    pixels[:100, :, 1] = np.nan
    for name, more in (("named.tif", {"nodata": math.nan}), ("plain.tif", {})):
        _, valid = open_source(write_raster(tmp_path / name, pixels, **more)).read(UTM, BOX, (128, 128))
        np.testing.assert_array_equal(valid[:, 5], np.arange(128) >= 60)


def test_sixteen_bits_are_stretched_by_robust_percentiles_alike_everywhere(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    rgb = paint(200, 200)
    deep = rgb.astype(np.uint16) * 20 + 1000
    deep[0, 0] = 65535  # one glint must not darken the rest
    source = open_source(write_raster(tmp_path / "a.tif", deep))
    found, _ = source.read(UTM, BOX, (128, 128))
    low, high = np.percentile(deep, (1, 99))
    assert_close(found, np.clip((deep[HERE, HERE] - low) * 255 / (high - low), 0, 255).astype(np.uint8), 1.5, 4)
    part, _ = source.read(UTM, (BOX[0], BOX[3] - 16, BOX[0] + 16, BOX[3]), (32, 32))
    np.testing.assert_array_equal(part, found[:32, :32])


def test_one_band_becomes_grey(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    grey = paint(200, 200)[..., :1]
    found, _ = open_source(write_raster(tmp_path / "a.tif", grey)).read(UTM, BOX, (128, 128))
    np.testing.assert_array_equal(found, np.repeat(grey[HERE, HERE], 3, axis=2))


def test_a_palette_is_looked_up_before_colours_are_mixed(tmp_path: Path, write_raster: Any) -> None:
    index = (np.indices((200, 200)).sum(axis=0) % 2 * 200).astype(np.uint8)[..., None]
    palette = {0: (10, 200, 30, 255), 100: (255, 0, 0, 255), 200: (30, 100, 10, 255)}
    path = write_raster(tmp_path / "a.tif", index, photometric="palette", palette=palette)
    found, _ = open_source(path).read(UTM, BOX, (64, 64))
    assert np.abs(found.astype(int) - [20, 150, 20]).max() <= 1


def test_outside_its_bounds_a_source_is_invalid(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    source = open_source(write_raster(tmp_path / "a.tif", paint(200, 200)))
    for box in ((WEST_M - 5000, NORTH_M, WEST_M - 4936, NORTH_M + 64), (0.0, -9e6, 64.0, -9e6 + 64)):
        rgb, valid = source.read(UTM, box, (16, 16))
        assert not valid.any()
        assert not rgb.any()
    assert not source.read(CRS.from_epsg(32610), BOX, (16, 16))[1].any()


def test_a_corrupt_strip_is_an_input_error_that_names_the_file(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    path = write_raster(tmp_path / "a.tif", paint(200, 200), compress="deflate")
    data = bytearray(path.read_bytes())
    data[3000:-1500] = bytes(len(data) - 4500)
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match=r"a\.tif"):
        open_source(path).read(UTM, BOX, (128, 128))


@pytest.mark.parametrize("data", [b"", b"hello", b"II*\0broken", b"\xff\xd8\xff\xe0cut"])
def test_what_is_not_an_image_is_refused_by_name(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "a.tif").write_bytes(data)
    with pytest.raises(InputError, match=r"a\.tif"):
        open_source(tmp_path / "a.tif")


def test_a_missing_path_and_an_empty_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        open_source(tmp_path / "none.tif")
    with pytest.raises(InputError, match="holds no imagery"):
        open_source(tmp_path)


def test_a_raster_without_crs_asks_for_one_and_takes_it(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    path = write_raster(tmp_path / "a.tif", paint(200, 200), crs=None)
    with pytest.raises(InputError, match="--source-crs"):
        open_source(path)
    assert open_source(path, "EPSG:32645").read(UTM, BOX, (128, 128))[1].all()


def test_a_crs_that_cannot_be_right_is_refused(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    path = write_raster(tmp_path / "a.tif", paint(50, 50), crs="EPSG:4326")  # metres called degrees
    with pytest.raises(InputError, match=r"a\.tif.*CRS"):
        open_source(path)


def test_a_file_with_a_foreign_driver_is_not_followed(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    write_raster(tmp_path / "secret.tif", paint(50, 50))
    path = tmp_path / "a.tif"
    path.write_text('<VRTDataset rasterXSize="50" rasterYSize="50"><VRTRasterBand dataType="Byte" band="1"/></VRTDataset>')
    with pytest.raises(InputError, match="not an image of a kind"):
        open_source(path)


@pytest.mark.parametrize(("image", "world"), [("a.png", "a.pgw"), ("a.jpg", "a.JGW"), ("a.png", "a.wld"), ("a.tif", "a.tfw")])
def test_a_plain_image_lies_where_its_world_file_puts_it(tmp_path: Path, paint: Any, image: str, world: str) -> None:
    rgb = paint(200, 200)
    Image.fromarray(rgb).save(tmp_path / image, **({"quality": 95, "subsampling": 0} if image.endswith("jpg") else {}))
    (tmp_path / world).write_text(f"0.5\n0\n0\n-0.5\n{WEST_M + 0.25}\n{NORTH_M - 0.25}\n")
    source = open_source(tmp_path / image, "EPSG:32645")
    assert source.kind == ("geotiff" if image.endswith("tif") else "worldfile")
    assert_close(source.read(UTM, BOX, (128, 128))[0], rgb[HERE, HERE], 3.0 if image.endswith("jpg") else 0.0, 12.0)


def test_a_plain_image_takes_the_crs_of_its_prj(tmp_path: Path, paint: Any) -> None:
    Image.fromarray(paint(200, 200)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text(f"0.5 0 0 -0.5 {WEST_M + 0.25} {NORTH_M - 0.25}")
    with pytest.raises(InputError, match="--source-crs"):
        open_source(tmp_path / "a.png")
    (tmp_path / "a.prj").write_text(UTM.to_wkt("WKT1_ESRI"))
    assert open_source(tmp_path / "a.png").read(UTM, BOX, (128, 128))[1].all()


@pytest.mark.parametrize("text", ["", "1 2 3", "0 0 0 0 5 5", "a b c d e f", "nan 0 0 1 2 3"])
def test_a_world_file_of_nonsense_is_refused_by_name(tmp_path: Path, paint: Any, text: str) -> None:
    Image.fromarray(paint(20, 20)).save(tmp_path / "a.png")
    (tmp_path / "a.pgw").write_text(text)
    with pytest.raises(InputError, match=r"a\.pgw"):
        open_source(tmp_path / "a.png", "EPSG:32645")


def test_a_plain_image_alone_has_no_position(tmp_path: Path, paint: Any) -> None:
    Image.fromarray(paint(20, 20)).save(tmp_path / "a.jpg")
    with pytest.raises(InputError, match=r"no position.*world file"):
        open_source(tmp_path / "a.jpg", "EPSG:32645")


def test_a_folder_of_geotiffs_is_several_sources_in_order_of_name(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    for name in ("b.tif", "a.tif", "site-2020-1-15.tif"):  # the last looks like a tile's name, but says where it lies itself
        write_raster(tmp_path / name, paint(50, 50))
    assert [s.path.name for s in open_sources([tmp_path])] == ["a.tif", "b.tif", "site-2020-1-15.tif"]
    with pytest.raises(InputError, match="3 rasters"):
        open_source(tmp_path)


def test_a_fingerprint_changes_with_the_pixels(tmp_path: Path, write_raster: Any, paint: Any) -> None:
    path = write_raster(tmp_path / "a.tif", paint(200, 200))
    first = open_source(path).fingerprint()
    assert open_source(path).fingerprint() == first
    write_raster(path, paint(200, 200, seed=5))
    assert open_source(path).fingerprint() != first
