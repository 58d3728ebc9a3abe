"""A town on disk: what other programs read from it."""

import json
from pathlib import Path

import numpy as np
import pytest
import rasterio
from PIL import Image
from PIL.ExifTags import IFD
from shapely.geometry import Point, box, shape

from crossgeo import geodesy
from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError, UsageError
from crossgeo.town.camera import Camera, Pose, project
from crossgeo.town.layout import Town
from crossgeo.town.write import write_town

CAMERA = Camera(60.0, 480, 360)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Town]:
    folder = tmp_path_factory.mktemp("town") / "t"
    return folder, write_town(folder, 3, 160.0, photos=4, camera=CAMERA)


def _features(folder: Path, name: str) -> list[dict]:
    return json.loads((folder / name).read_text())["features"]


def test_the_orthophoto_is_a_tiled_geotiff_that_lies_where_the_town_says(written: tuple[Path, Town]) -> None:
    folder, town = written
    with rasterio.open(folder / "ortho.tif") as ortho:
        assert ortho.crs.to_epsg() == town.crs.to_epsg()
        assert ortho.shape == (800, 800)
        assert ortho.profile["tiled"]
        assert tuple(ortho.bounds) == pytest.approx((*town.origin_xy, town.origin_xy[0] + 160.0, town.origin_xy[1] + 160.0))
        assert ortho.read().std() > 10.0


def test_truth_has_one_point_for_each_photo_with_position_height_heading_and_tilt(written: tuple[Path, Town]) -> None:
    folder, town = written
    features = _features(folder, "truth.geojson")
    assert [f["properties"]["file"] for f in features] == sorted(p.name for p in (folder / "photos").iterdir())
    for feature in features:
        facts = feature["properties"]
        assert feature["geometry"]["coordinates"] == [facts["lon"], facts["lat"]]
        x, y = geodesy.from_lat_lon(town.crs, facts["lat"], facts["lon"])
        assert 0.0 < x - town.origin_xy[0] < 160.0
        assert 0.0 < y - town.origin_xy[1] < 160.0
        reach = geodesy.distance_m(facts["lat"], facts["lon"], facts["camera_lat"], facts["camera_lon"])
        assert reach == pytest.approx(facts["height_m"] * np.tan(np.radians(facts["tilt_deg"])), rel=2e-3, abs=0.02)


def test_headings_are_against_true_north(written: tuple[Path, Town]) -> None:
    _, town = written
    turn = geodesy.grid_convergence_deg(town.crs, *town.to_crs(80.0, 80.0))
    assert town.true_heading_deg(80.0, 80.0, 33.0) == pytest.approx((33.0 + turn) % 360.0)
    assert abs(turn) > 0.01  # else the test above says nothing


def test_the_engine_reads_back_what_the_drone_wrote(written: tuple[Path, Town]) -> None:
    folder, _ = written
    for feature in _features(folder, "truth.geojson"):
        facts = feature["properties"]
        exif = Photo.read(folder / "photos" / facts["file"]).exif
        assert exif.lat == pytest.approx(facts["camera_lat"], abs=1e-7)
        assert exif.lon == pytest.approx(facts["camera_lon"], abs=1e-7)
        assert exif.heading_deg == pytest.approx(facts["heading_deg"], abs=0.01)
        assert exif.height_m == pytest.approx(facts["height_m"], abs=0.006)
        assert exif.tilt_deg == pytest.approx(facts["tilt_deg"], abs=0.006)
        assert exif.fov_deg == pytest.approx(CAMERA.hfov_deg, abs=1.5)  # the 35 mm equivalent is a whole number of millimetres


def test_exif_holds_the_plain_gps_tags_too(written: tuple[Path, Town]) -> None:
    folder, _ = written
    facts = _features(folder, "truth.geojson")[0]["properties"]
    with Image.open(folder / "photos" / facts["file"]) as image:
        gps, detail = image.getexif().get_ifd(IFD.GPSInfo), image.getexif().get_ifd(IFD.Exif)
        xmp = image.info["xmp"]
    assert gps[16] == "T"
    assert float(gps[17]) == pytest.approx(facts["heading_deg"], abs=0.01)
    assert float(gps[6]) > facts["height_m"]
    assert detail[0x920A] > 0.0
    assert detail[0xA405] == round(CAMERA.focal_px / 600.0 * 43.2666)
    assert f'drone-dji:GimbalPitchDegree="{facts["tilt_deg"] - 90.0:+.2f}"'.encode() in xmp


def test_clicks_lie_on_their_objects_and_boxes_around_them(written: tuple[Path, Town]) -> None:
    folder, town = written
    places = {f["properties"]["file"]: f["properties"] for f in _features(folder, "truth.geojson")}
    clicked = _features(folder, "objects.geojson")
    assert len(clicked) >= 4
    for feature in clicked:
        facts, outline = feature["properties"], shape(feature["geometry"])
        assert outline.is_valid
        assert shape(facts["box"]).buffer(1e-7).contains(outline)
        assert 0.0 <= facts["point_px"][0] <= CAMERA.width_px
        assert 0.0 <= facts["point_px"][1] <= CAMERA.height_px
        x0, y0 = facts["box_px"][:2]
        west, north = town.origin_xy[0] + x0 * 0.2, town.origin_xy[1] + 160.0 - y0 * 0.2
        lat, lon = geodesy.to_lat_lon(town.crs, west, north)
        assert min(abs(lon - c[0]) + abs(lat - c[1]) for c in facts["box"]["coordinates"][0]) < 1e-6
        place = places[facts["file"]]
        x, y = geodesy.from_lat_lon(town.crs, place["camera_lat"], place["camera_lon"])
        heading = place["heading_deg"] - geodesy.grid_convergence_deg(town.crs, x, y)
        pose = Pose(x - town.origin_xy[0], y - town.origin_xy[1], place["height_m"], heading, place["tilt_deg"])
        ring = np.array([geodesy.from_lat_lon(town.crs, c[1], c[0]) for c in outline.exterior.coords]) - town.origin_xy
        seen = np.concatenate([project(pose, CAMERA, np.c_[ring, np.full(len(ring), z)]) for z in (0.0, facts["height_m"])])
        assert box(*seen.min(0), *seen.max(0)).buffer(2.0).contains(Point(facts["point_px"]))


def test_plain_photos_keep_their_place_to_themselves(tmp_path: Path) -> None:
    write_town(tmp_path / "t", 3, 160.0, photos=1, camera=CAMERA, plain=True)
    exif = Photo.read(tmp_path / "t" / "photos" / "photo_0000.jpg").exif
    assert (exif.lat, exif.lon, exif.heading_deg, exif.height_m, exif.tilt_deg) == (None,) * 5
    assert exif.fov_deg is not None
    assert _features(tmp_path / "t", "truth.geojson")[0]["properties"]["lat"]


def test_the_same_seed_writes_the_same_bytes(written: tuple[Path, Town], tmp_path: Path) -> None:
    folder, _ = written
    write_town(tmp_path / "again", 3, 160.0, photos=4, camera=CAMERA)
    for path in sorted(folder.rglob("*.*")):
        assert (tmp_path / "again" / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_progress_counts_photos(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    write_town(tmp_path / "t", 1, 100.0, photos=2, camera=Camera(60.0, 64, 48), progress=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 2), (2, 2)]


def test_an_existing_folder_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep")
    with pytest.raises(InputError, match="exists already"):
        write_town(tmp_path / "mine", 1, 100.0, photos=0)
    assert (tmp_path / "mine").read_text() == "keep"


def test_a_town_that_fails_half_way_leaves_nothing_behind(tmp_path: Path) -> None:
    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_town(tmp_path / "t", 1, 100.0, photos=2, camera=Camera(60.0, 64, 48), progress=stop)
    assert list(tmp_path.iterdir()) == []


def test_a_lens_too_wide_for_the_town_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="photos"):
        write_town(tmp_path / "t", 1, 100.0, photos=-1)


@pytest.mark.parametrize("name", ["note.txt/town", "n" * 300, "n" * 253])
def test_a_town_that_cannot_stand_where_it_was_asked_for_is_an_input_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "note.txt").write_text("mine")
    with pytest.raises(InputError):
        write_town(tmp_path / name, 3, 100.0, photos=0)
    assert [path.name for path in tmp_path.iterdir()] == ["note.txt"]
