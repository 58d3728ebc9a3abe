"""Street photos of a town on disk: what other programs read from them, and that their truth is true."""

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from PIL.ExifTags import IFD
from shapely.geometry import Point, shape

from crossgeo import geodesy
from crossgeo.engine.photo import Photo
from crossgeo.errors import UsageError
from crossgeo.town.layout import Town
from crossgeo.town.scene import Scene
from crossgeo.town.street_camera import Panorama, StreetLens, StreetPose
from crossgeo.town.street_exif import taken_at
from crossgeo.town.street_write import write_street
from crossgeo.town.write import write_town

Json = dict


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Town]:
    folder = tmp_path_factory.mktemp("town") / "t"
    return folder, write_town(folder, 3, 160.0, photos=0, panoramas=3, street=4)


def _features(folder: Path, name: str) -> list[Json]:
    return json.loads((folder / name).read_text())["features"]


def _camera(facts: Json, town: Town) -> tuple[StreetPose, Panorama | StreetLens]:
    x, y = geodesy.from_lat_lon(town.crs, facts["camera_lat"], facts["camera_lon"])
    heading = facts["heading_deg"] - geodesy.grid_convergence_deg(town.crs, x, y)
    place = (x - town.origin_xy[0], y - town.origin_xy[1])
    pose = StreetPose(*place, facts["height_m"], heading, facts["pitch_deg"], facts["roll_deg"])
    size = (facts["width_px"], facts["height_px"])
    return pose, Panorama(size[1], size[0]) if facts["kind_of_photo"] == "panorama" else StreetLens(facts["hfov_deg"], *size)


def test_every_street_photo_has_its_truth_by_its_name_in_the_folder(written: tuple[Path, Town]) -> None:
    folder, _ = written
    places = [f["properties"] for f in _features(folder, "street.geojson")]
    assert [p["kind_of_photo"] for p in places] == ["panorama"] * 3 + ["street"] * 4
    for place in places:
        with Image.open(folder / place["file"]) as photo:
            assert photo.size == (place["width_px"], place["height_px"])
    assert len({p["file"] for p in places}) == 7
    counts = json.loads((folder / "town.json").read_text())
    assert (counts["photos"], counts["panoramas"], counts["street"]) == (0, 3, 4)


def test_the_engine_reads_back_where_and_how_each_photo_was_taken(written: tuple[Path, Town]) -> None:
    folder, _ = written
    for feature in _features(folder, "street.geojson"):
        facts = feature["properties"]
        exif = Photo.read(folder / facts["file"]).exif
        assert exif.lat == pytest.approx(facts["lat"], abs=1e-7)
        assert exif.lon == pytest.approx(facts["lon"], abs=1e-7)
        assert exif.heading_deg == pytest.approx(facts["heading_deg"], abs=0.01)
        if facts["kind_of_photo"] == "panorama":
            assert exif.panorama_deg == 360.0
            assert exif.fov_deg is None
        else:
            assert exif.panorama_deg is None
            assert exif.fov_deg == pytest.approx(facts["hfov_deg"], abs=2.5)  # the 35 mm equivalent is a whole number of millimetres


def test_panoramas_say_in_gpano_that_they_are_whole_spheres(written: tuple[Path, Town]) -> None:
    folder, _ = written
    with Image.open(folder / "panoramas" / "pano_0000.jpg") as photo:
        packet = photo.info["xmp"].decode()
        taken = photo.getexif().get_ifd(IFD.Exif)[0x9003]
    facts = _features(folder, "street.geojson")[0]["properties"]
    for line in ('ProjectionType="equirectangular"', 'FullPanoWidthPixels="1024"', 'FullPanoHeightPixels="512"'):
        assert f"GPano:{line}" in packet
    assert f'GPano:PoseHeadingDegrees="{facts["heading_deg"]:.2f}"' in packet
    assert taken.startswith("2024:")


def test_a_click_looks_at_the_object_that_it_names(written: tuple[Path, Town]) -> None:
    folder, town = written
    places = {f["properties"]["file"]: f["properties"] for f in _features(folder, "street.geojson")}
    clicks = _features(folder, "street_objects.geojson")
    assert len(clicks) >= 6
    assert {"building", "tree"} <= {f["properties"]["kind"] for f in clicks}
    for feature in clicks:
        facts, outline = feature["properties"], shape(feature["geometry"])
        pose, camera = _camera(places[facts["file"]], town)
        ray = camera.directions(pose)[int(facts["point_px"][1]), int(facts["point_px"][0])]
        steps = pose.origin + np.arange(0.0, 90.0, 0.1)[:, None] * ray
        near = steps[(steps[:, 2] > -0.3) & (steps[:, 2] < facts["height_m"] + 0.5)]
        around = outline.buffer(6e-6)
        inside = [Point(*reversed(town.to_lat_lon(x, y))).within(around) for x, y, _ in near]
        assert any(inside), facts
        assert shape(facts["box"]).buffer(1e-7).contains(outline)


def test_cars_are_no_truth_because_they_have_moved(written: tuple[Path, Town]) -> None:
    folder, _ = written
    assert {f["properties"]["kind"] for f in _features(folder, "street_objects.geojson")} <= {"building", "tree", "car", "pond"}


def test_a_photo_is_neither_black_nor_burnt(written: tuple[Path, Town]) -> None:
    folder, _ = written
    for path in sorted((folder / "street").iterdir()):
        grey = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        assert 50 < grey.mean() < 220
        assert grey.std() > 15


def test_plain_street_photos_keep_their_place_to_themselves(tmp_path: Path) -> None:
    write_town(tmp_path / "t", 3, 120.0, photos=0, panoramas=1, street=1, plain=True)
    for name in ("panoramas/pano_0000.jpg", "street/street_0000.jpg"):
        exif = Photo.read(tmp_path / "t" / name).exif
        assert (exif.lat, exif.lon, exif.heading_deg) == (None, None, None)
    assert Photo.read(tmp_path / "t" / "panoramas" / "pano_0000.jpg").exif.panorama_deg == 360.0


def test_the_same_seed_writes_the_same_street_photos_and_progress_counts_all(written: tuple[Path, Town], tmp_path: Path) -> None:
    folder, _ = written
    seen: list[tuple[int, int]] = []
    write_town(tmp_path / "t", 3, 160.0, photos=0, panoramas=3, street=4, progress=lambda done, total: seen.append((done, total)))
    assert seen == [(k, 7) for k in range(1, 8)]
    for path in (*folder.glob("panoramas/*"), *folder.glob("street*/*"), folder / "street_objects.geojson"):
        assert (tmp_path / "t" / path.relative_to(folder)).read_bytes() == path.read_bytes(), path.name


def test_dense_panoramas_lie_in_a_folder_of_their_own_and_change_nothing_else(town: Town, tmp_path: Path) -> None:
    drive = [[StreetPose(60.0, 60.0, 2.5, 30.0), StreetPose(62.5, 64.3, 2.5, 30.0)], [StreetPose(80.0, 80.0, 2.5, 0.0)]]
    for name, dense in (("without", []), ("with", drive)):
        (tmp_path / name).mkdir()
        write_street(tmp_path / name, town, 1, 0, dense=dense)
    assert (tmp_path / "with/panoramas/pano_0000.jpg").read_bytes() == (tmp_path / "without/panoramas/pano_0000.jpg").read_bytes()
    assert (tmp_path / "with/street_objects.geojson").read_bytes() == (tmp_path / "without/street_objects.geojson").read_bytes()
    places = [feature["properties"] for feature in _features(tmp_path / "with", "street.geojson")]
    assert [place["file"] for place in places[1:]] == [f"dense/step_{number:04d}.jpg" for number in range(3)]
    for place, pose in zip(places[1:], [*drive[0], *drive[1]], strict=True):
        exif = Photo.read(tmp_path / "with" / place["file"]).exif
        assert exif.panorama_deg == 360.0
        assert (exif.lat, exif.lon) == pytest.approx(town.to_lat_lon(pose.x, pose.y), abs=1e-7)


def test_a_town_too_small_for_dense_panoramas_is_refused_before_any_photo(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="larger town"):
        write_town(tmp_path / "t", 3, 120.0, dense=5)
    assert not (tmp_path / "t").exists()


def test_counts_below_nothing_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="below 0"):
        write_town(tmp_path / "t", 3, 120.0, panoramas=-1)
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize(
    ("lat", "azimuth_deg", "season", "month", "hour"),
    [(50.0, 180.0, "summer", 7, 12), (-30.0, 0.0, "summer", 1, 12), (50.0, 120.0, "spring", 4, 8), (-30.0, 60.0, "winter", 7, 8)],
)
def test_the_date_fits_season_and_sun_on_either_half_of_the_earth(
    lat: float, azimuth_deg: float, season: str, month: int, hour: int
) -> None:
    taken = taken_at(Scene(sun_azimuth_deg=azimuth_deg, season=season), lat, 3)
    assert taken == f"2024:{month:02d}:04 {hour:02d}:00:00"
