"""Made towns become data sets: north is up and in the middle, boxes lie on their objects, and no ground is in two splits."""

import json
import math
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin
from typer.testing import CliRunner

from crossgeo import geodesy
from crossgeo.cli import app
from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError, UsageError
from crossgeo.indexer.imagery import open_source
from crossgeo.town.write import write_town as make_town_files
from crossgeo.training.datasets.check import check
from crossgeo.training.datasets.cvact import read_cvact
from crossgeo.training.datasets.cvogl import read_cvogl
from crossgeo.training.datasets.cvusa import read_cvusa
from crossgeo.training.datasets.from_town import write_from_towns
from crossgeo.training.datasets.sidecar import read_sidecar
from crossgeo.training.datasets.town_objects import about_click
from crossgeo.training.datasets.town_panoramas import PanoramaShape, to_north, true_north_up
from crossgeo.training.evaluation.protocols import Gallery, matches_of
from crossgeo.training.pairs import PairSet

CRS = geodesy.parse_crs("EPSG:32645")
WEST, NORTH, SIDE_M, GSD_M = 200_000.0, 3_057_600.0, 700.0, 1.0  # three degrees west of the zone's middle: grid north is 1.4 degrees off
Blobs = Callable[[int, int, int], NDArray[np.uint8]]


def write_ortho(folder: Path, blobs: Blobs, west: float = WEST, code: str = "EPSG:32645") -> NDArray[np.uint8]:
    """Write a town's orthophoto, 700 m wide."""
    folder.mkdir(exist_ok=True)
    pixels, count = blobs(1, int(SIDE_M), int(SIDE_M)), int(SIDE_M)
    profile = {"driver": "GTiff", "width": count, "height": count, "count": 3, "dtype": "uint8", "crs": code}
    with rasterio.open(folder / "ortho.tif", "w", transform=from_origin(west, NORTH, GSD_M, GSD_M), **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
    (folder / "town.json").write_text(json.dumps({"seed": 7, "simulated": True}))
    return pixels


def write_panorama(path: Path, xy: tuple[float, float], heading_deg: float, code: str = "EPSG:32645") -> None:
    """Write a dark panorama with a white stripe where true north is."""
    exif = Image.Exif()
    gps = exif.get_ifd(0x8825)
    lat, lon = geodesy.to_lat_lon(geodesy.parse_crs(code), *xy)
    for tag, value in ((2, lat), (4, lon)):
        minutes = value % 1.0 * 60.0
        gps[tag] = (math.floor(value), math.floor(minutes), round(minutes % 1.0 * 60.0, 4))
    gps[1], gps[3] = "N", "E"
    pixels = np.zeros((128, 256, 3), np.uint8)
    north = round(128 - heading_deg / 360.0 * 256) % 256
    pixels[:, [north - 1, north % 256]] = 255
    xmp = f'<x GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="{heading_deg}"/>'.encode()
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(pixels).save(path, exif=exif, xmp=xmp, quality=95)


@pytest.fixture
def town(tmp_path: Path, blobs: Blobs) -> Path:
    """Write a town with a grid of panoramas, two of them at its rim."""
    write_ortho(tmp_path / "town", blobs)
    places = [(x, y) for x in range(100, 601, 50) for y in range(100, 601, 250)] + [(20, 350), (350, 690)]
    for number, (x, y) in enumerate(places):
        path = tmp_path / "town" / "panoramas" / f"pano_{number:04d}.jpg"
        write_panorama(path, (WEST + x, NORTH - y), 37.0 * number % 360.0)
    return tmp_path / "town"


def test_a_town_becomes_a_whole_cvact_with_held_out_ground(tmp_path: Path, town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(write_from_towns.__globals__["SHAPES"], "cvact", PanoramaShape((256, 128), 64, 40.0))
    counts, left_out = write_from_towns([town], "cvact", tmp_path / "set", cell_m=200.0)
    report = check(tmp_path / "set")
    found = read_cvact(tmp_path / "set")
    assert report.problems == []
    assert sum(counts.values()) + len(left_out) == 35
    assert {name for name, why in left_out if "leave the imagery" in why} == {"pano_0033.jpg", "pano_0034.jpg"}
    assert (counts["train"], counts["val"]) == (len(found.split("train")), len(found.split("val")))
    sidecar = read_sidecar(tmp_path / "set")
    assert sidecar is not None and sidecar.source == "simulated: towns that crossgeo made from the seeds 7"


@pytest.mark.parametrize(("layout", "read"), [("cvact", read_cvact), ("cvusa", read_cvusa)])
def test_towns_of_several_zones_keep_their_places(
    layout: str, read: Callable[[Path], PairSet], tmp_path: Path, town: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(write_from_towns.__globals__["SHAPES"], layout, PanoramaShape((256, 128), 64, 40.0))
    other = tmp_path / "other"
    write_ortho(other, blobs, code="EPSG:32646")
    write_panorama(other / "panoramas" / "pano_0000.jpg", (WEST + 300.0, NORTH - 200.0), 10.0, "EPSG:32646")
    counts, _ = write_from_towns([town, other], layout, tmp_path / "set")
    assert sum(counts.values()) == 34 and counts["train"] == 33
    found = read(tmp_path / "set")
    assert {pair.crs for pair in found.split("train")} == {"EPSG:32645"}
    (last,) = (pair for pair in found if pair.crs == "EPSG:32646")
    assert last.id == "t01-pano_0000" and last.split != "train"
    assert last.xy == pytest.approx((WEST + 300.0, NORTH - 200.0), abs=0.1)
    assert check(tmp_path / "set").problems == []


def write_dense(town: Path, west: float = WEST) -> list[tuple[float, float]]:
    """Write panoramas every 5 m along a street of 100 m in the middle of a town; return their places."""
    places = [(west + 300.0 + 5.0 * step + 0.2 * (step % 2), NORTH - 350.0) for step in range(21)]
    for step, xy in enumerate(places):
        write_panorama(town / "dense" / f"step_{step:04d}.jpg", xy, 90.0)
    return places


def test_the_dense_panoramas_of_a_town_are_the_test_and_none_of_their_ground_is_trained_on(
    tmp_path: Path, town: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(write_from_towns.__globals__["SHAPES"], "cvact", PanoramaShape((256, 128), 64, 40.0))
    places = write_dense(town)
    counts, left_out = write_from_towns([town], "cvact", tmp_path / "set")
    assert counts == {"train": 30, "val": 3, "test": 18}
    assert [why for _, why in left_out].count("its aerial overlaps held-out ground") == 3  # those on the street itself
    found = read_cvact(tmp_path / "set")
    test, train = ([pair.xy for pair in found.split(name)] for name in ("test", "train"))
    np.testing.assert_allclose(test, places, atol=0.1)  # EXIF
    assert [pair.id for pair in found.split("val")] == ["step_0000", "step_0010", "step_0020"]
    assert np.abs(np.array(train)[:, None] - np.array(test)[None]).max(axis=2).min() > 40.0 * 1.05
    report = check(tmp_path / "set")
    assert report.problems == []
    assert report.counts["CVACT test photos with another within 5 m"] > 10


def test_a_hit_in_the_dense_test_is_another_by_metres_than_by_id(tmp_path: Path, town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(write_from_towns.__globals__["SHAPES"], "cvact", PanoramaShape((256, 128), 64, 40.0))
    write_dense(town)
    write_from_towns([town], "cvact", tmp_path / "set")
    test = read_cvact(tmp_path / "set", "test")
    gallery = Gallery.of(test)
    by_id, by_metres = (matches_of(name, test, gallery) for name in ("id", "5m"))
    assert len(by_id.indices) == 21
    assert len(by_metres.indices) == 21 + 20  # steps are 5.2 and 4.8 m long: each pair of neighbours 4.8 m apart is right for both


def test_the_dense_panoramas_of_the_last_of_several_towns_are_the_test_and_all_others_train(
    tmp_path: Path, town: Path, blobs: Blobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(write_from_towns.__globals__["SHAPES"], "cvact", PanoramaShape((256, 128), 64, 40.0))
    other = tmp_path / "other"
    write_ortho(other, blobs, WEST + 2000.0)
    write_panorama(other / "panoramas" / "pano_0000.jpg", (WEST + 2300.0, NORTH - 200.0), 10.0)
    write_dense(other, WEST + 2000.0)
    counts, left_out = write_from_towns([town, other], "cvact", tmp_path / "set")
    assert counts == {"train": 33, "val": 3, "test": 18}
    assert len(left_out) == 2  # at the rim
    assert {pair.id[:8] for pair in read_cvact(tmp_path / "set").split("test")} == {"t01-step"}


def test_a_test_that_is_not_dense_is_said_to_be_none(tmp_path: Path, town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(write_from_towns.__globals__["SHAPES"], "cvact", PanoramaShape((256, 128), 64, 40.0))
    asked = ["data", "write", "--layout", "cvact", "--town", str(town), "--cell-m", "200", "--out"]
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "set")])
    assert done.exit_code == 0 and "geo town make --dense" in done.stderr
    write_dense(town)
    done = CliRunner().invoke(app, [*asked, str(tmp_path / "dense")])
    assert done.exit_code == 0 and "--dense" not in done.stderr


@pytest.mark.slow
def test_a_made_town_becomes_a_cvact_with_a_dense_test(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(write_from_towns.__globals__["SHAPES"], "cvact", PanoramaShape((256, 128), 64, 24.0))
    make_town_files(tmp_path / "town", 3, 200.0, photos=0, panoramas=6, dense=5)
    counts, _ = write_from_towns([tmp_path / "town"], "cvact", tmp_path / "set")
    assert counts["train"] > 0 and (counts["val"], counts["test"]) == (1, 4)
    xy = np.array([pair.xy for pair in read_cvact(tmp_path / "set", "test")])
    steps = np.linalg.norm(np.diff(xy, axis=0), axis=1)
    assert (np.abs(steps - 5.0) < 0.7).sum() >= 2
    assert check(tmp_path / "set").problems == []


def test_written_panoramas_have_true_north_in_the_middle(tmp_path: Path, town: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(write_from_towns.__globals__["SHAPES"], "cvact", PanoramaShape((256, 128), 64, 40.0))
    write_from_towns([town], "cvact", tmp_path / "set", cell_m=200.0)
    for pair in read_cvact(tmp_path / "set"):
        brightness = Photo.read(pair.photo).pixels.mean(axis=(0, 2))
        assert abs(np.average(np.arange(256) + 0.5, weights=brightness**2) - 128.0) <= 1.0


def test_the_band_about_the_horizon_is_kept() -> None:
    rows = np.repeat(np.linspace(0, 255, 100).astype(np.uint8)[:, None], 200, axis=1)
    band = to_north(np.stack([rows] * 3, axis=2), 0.0, (200, 40))
    assert band.shape == (40, 200, 3)
    assert np.array_equal(band[:, 0, 0], rows[30:70, 0])


def test_a_picture_that_is_not_the_whole_sphere_is_refused() -> None:
    with pytest.raises(InputError, match="twice as wide"):
        to_north(np.zeros((100, 300, 3), np.uint8), 0.0, (200, 40))


def test_aerials_have_true_north_up_and_not_the_grids(tmp_path: Path) -> None:
    place = (WEST + 350.0, NORTH - 350.0)
    lat, lon = geodesy.to_lat_lon(CRS, *place)
    x, y = geodesy.from_lat_lon(CRS, lat + 200.0 / 110_800.0, lon)
    assert abs(x - place[0]) > 4.0  # else the test says nothing
    pixels = np.zeros((700, 700, 3), np.uint8)
    cv2.circle(pixels, (round(x - WEST), round(NORTH - y)), 4, (255, 255, 255), -1)
    profile = {"driver": "GTiff", "width": 700, "height": 700, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(tmp_path / "o.tif", "w", transform=from_origin(WEST, NORTH, 1.0, 1.0), **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
    aerial = true_north_up(open_source(tmp_path / "o.tif"), "EPSG:32645", place, 500.0, 500)
    rows, columns = np.nonzero(aerial[..., 0] > 128)
    assert columns.mean() + 0.5 == pytest.approx(250.0, abs=0.8)
    assert rows.mean() + 0.5 == pytest.approx(50.0, abs=1.5)


def write_objects(folder: Path, west: float = WEST) -> None:
    """Write drone photos with clicks on squares painted into the orthophoto."""
    (folder / "photos").mkdir()
    features = []
    for number, (x, y) in enumerate([(150, 150), (350, 350), (560, 500), (693, 693)]):
        name = f"photo_{number:04d}.jpg"
        Image.new("RGB", (400, 300), (60, 60 + round((west - WEST) / 20.0), 60)).save(folder / "photos" / name)
        outline = [(west + x + a, NORTH - y - b) for a, b in ((-6, -4), (6, -4), (6, 4), (-6, 4))]
        facts = {"file": name, "kind": "building", "point_px": [380.0 - 100 * number, 150.0], "height_m": 5.0}
        features.append({"type": "Feature", "properties": facts, "geometry": geodesy.geojson_polygon(CRS, outline)})
    (folder / "objects.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": features}))


@pytest.fixture
def two_towns(tmp_path: Path, blobs: Blobs) -> list[Path]:
    """Write two towns 2 km apart whose objects are red in the orthophoto."""
    towns = [tmp_path / "one", tmp_path / "two"]
    for town, west in zip(towns, (WEST, WEST + 2000.0), strict=True):
        write_ortho(town, blobs, west)
        write_objects(town, west)
        for photo in (town / "photos").iterdir() if west > WEST else ():  # no two towns show the same
            cv2.imwrite(str(photo), np.asarray(cv2.imread(str(photo)))[:, ::-1] // 2)
        with rasterio.open(town / "ortho.tif", "r+") as file:
            for x, y in ((150, 150), (350, 350), (560, 500)):
                window = rasterio.windows.Window(x - 6, y - 4, 12, 8)
                file.write(np.stack([np.full((8, 12), v, np.uint8) for v in (255, 0, 0)]), window=window)
    return towns


def test_several_towns_become_a_cvogl_whose_boxes_lie_on_their_objects(tmp_path: Path, two_towns: list[Path]) -> None:
    counts, left_out = write_from_towns(two_towns, "cvogl-drone", tmp_path / "set")
    assert counts == {"train": 3, "val": 0, "test": 3}
    assert [name for name, _ in left_out] == ["photo_0003.jpg building"] * 2  # 7 m from the rim: no aerial holds it with a margin
    report = check(tmp_path / "set")
    assert report.problems == []
    for pair in read_cvogl(tmp_path / "set", "drone"):
        aerial = Photo.read(pair.aerial).pixels.astype(int)
        red = (aerial[..., 0] > 180) & (aerial[..., 1] < 70) & (aerial[..., 2] < 70)
        x0, y0, x1, y1 = (round(v) for v in pair.box_px)
        assert aerial.shape == (1024, 1024, 3)
        assert red[y0 + 5 : y1 - 5, x0 + 5 : x1 - 5].mean() > 0.9
        assert (x1 - x0, y1 - y0) == pytest.approx((12 * 1024 / 300, 8 * 1024 / 300), abs=2)
        lat, lon = pair.lat_lon_of(((pair.box_px[0] + pair.box_px[2]) / 2, (pair.box_px[1] + pair.box_px[3]) / 2))
        x, y = geodesy.from_lat_lon(CRS, lat, lon)
        assert min(math.hypot((x - WEST) % 2000.0 - a, NORTH - y - b) for a, b in ((150, 150), (350, 350), (560, 500))) < 0.1


def test_ground_too_small_to_hold_any_out_is_refused(tmp_path: Path, two_towns: list[Path]) -> None:
    with pytest.raises(InputError, match="too few for 3 splits"):
        write_from_towns(two_towns[:1], "cvogl-drone", tmp_path / "set", cell_m=5000.0)
    path = two_towns[1] / "objects.geojson"
    path.write_text(json.dumps({"features": json.loads(path.read_text())["features"][3:]}))
    with pytest.raises(InputError, match="too little ground"):
        write_from_towns(two_towns, "cvogl-drone", tmp_path / "set")
    assert not (tmp_path / "set").exists()


@pytest.mark.parametrize("click", [(0.0, 0.0), (399.9, 299.9), (200.0, 10.0), (390.0, 150.0)])
@pytest.mark.parametrize("size", [(256, 256), (512, 256)])
def test_the_cut_photo_shows_the_click_where_it_says(click: tuple[float, float], size: tuple[int, int]) -> None:
    photo = np.zeros((300, 400, 3), np.uint8)
    cv2.circle(photo, (int(click[0]), int(click[1])), 3, (255, 255, 255), -1)
    cut, (x, y) = about_click(photo, click, size)
    assert cut.shape == (size[1], size[0], 3)
    assert cut[int(y), int(x)].mean() > 200


def test_towns_without_what_a_layout_needs_are_refused(tmp_path: Path, two_towns: list[Path]) -> None:
    with pytest.raises(InputError, match="panoramas"):
        write_from_towns(two_towns, "cvusa", tmp_path / "set")
    with pytest.raises(InputError, match="no clicks in street or panoramas"):
        write_from_towns(two_towns, "cvogl-street", tmp_path / "set")
    with pytest.raises(UsageError, match="vigor"):
        write_from_towns(two_towns, "vigor", tmp_path / "set")
