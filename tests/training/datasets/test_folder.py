"""Photos with positions and imagery of the ground become pairs; every photo that does not is named."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from PIL import Image
from rasterio.transform import from_origin

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.training.datasets.folder import read_folder
from crossgeo.training.datasets.pictures import Pictures

CRS = geodesy.parse_crs("EPSG:32645")
WEST, NORTH, GSD_M = 363_000.0, 3_057_600.0, 0.5


@pytest.fixture
def ortho(tmp_path: Path, blobs: Callable[[int, int, int], NDArray[np.uint8]]) -> Path:
    """Write 100 m of imagery; its south-eastern quarter holds none."""
    pixels, mask = blobs(1, 200, 200), np.full((200, 200), 255, np.uint8)
    mask[100:, 100:] = 0
    profile = {"driver": "GTiff", "width": 200, "height": 200, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    with rasterio.open(tmp_path / "ortho.tif", "w", transform=from_origin(WEST, NORTH, GSD_M, GSD_M), **profile) as file:
        file.write(pixels.transpose(2, 0, 1))
        file.write_mask(mask)
    return tmp_path / "ortho.tif"


def write_photo(
    path: Path,
    xy: tuple[float, float] | None,
    heading: float | None = None,
    reference: str = "T",
    xmp: bytes = b"",
    size: tuple[int, int] = (64, 48),
) -> None:
    """Write a grey photo taken at a place of the imagery's CRS."""
    exif = Image.Exif()
    gps = exif.get_ifd(0x8825)
    if xy is not None:
        lat, lon = geodesy.to_lat_lon(CRS, *xy)
        gps[1], gps[2], gps[3], gps[4] = "N", (lat, 0.0, 0.0), "E", (lon, 0.0, 0.0)
    if heading is not None:
        gps[16], gps[17] = reference, heading
    path.parent.mkdir(exist_ok=True)
    Image.new("RGB", size, (90, 90, 90)).save(path, exif=exif, xmp=xmp)


def test_a_photo_is_paired_with_the_ground_about_its_place(tmp_path: Path, ortho: Path) -> None:
    write_photo(tmp_path / "photos" / "a.jpg", (WEST + 30.0, NORTH - 40.0), heading=211.5)
    (pair,) = read_folder(tmp_path / "photos", ortho, window_m=20.0)
    assert (pair.id, pair.aerial, pair.crs, pair.window_m) == ("a.jpg", ortho, "EPSG:32645", 20.0)
    assert pair.xy == pytest.approx((WEST + 30.0, NORTH - 40.0), abs=0.2)  # EXIF rationals
    assert pair.aerial_gsd_m == pytest.approx(GSD_M, rel=1e-3)
    assert pair.heading_deg == pytest.approx(211.5)
    assert pair.aerial_id == "a.jpg"


def test_the_window_is_cut_from_the_imagery(tmp_path: Path, ortho: Path, blobs: Callable[[int, int, int], NDArray[np.uint8]]) -> None:
    write_photo(tmp_path / "photos" / "a.jpg", (WEST + 30.0, NORTH - 40.0))
    (pair,) = read_folder(tmp_path / "photos", ortho, window_m=20.0)
    with Pictures() as pictures:
        cut = pictures.aerial(pair)
        small = pictures.aerial(pair, 10)
    assert cut.shape == (40, 40, 3)
    assert np.abs(cut.astype(int) - blobs(1, 200, 200)[60:100, 40:80]).mean() < 8.0
    assert small.shape == (10, 10, 3)


def test_a_panorama_says_its_field_of_view_in_xmp(tmp_path: Path, ortho: Path) -> None:
    xmp = b'<x GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="33.0"/>'
    write_photo(tmp_path / "photos" / "a.jpg", (WEST + 30.0, NORTH - 40.0), xmp=xmp)
    (pair,) = read_folder(tmp_path / "photos", ortho)
    assert (pair.fov_deg, pair.heading_deg) == (360.0, 33.0)


def test_a_panorama_that_says_nothing_is_known_by_its_shape_and_a_cropped_one_by_its_horizon(tmp_path: Path, ortho: Path) -> None:
    at = (WEST + 30.0, NORTH - 40.0)
    cropped = (
        b'<x GPano:ProjectionType="equirectangular" GPano:FullPanoWidthPixels="400" GPano:CroppedAreaImageWidthPixels="400" '
        b'GPano:FullPanoHeightPixels="200" GPano:CroppedAreaImageHeightPixels="80" GPano:CroppedAreaTopPixels="80"/>'
    )
    write_photo(tmp_path / "photos" / "a.jpg", at, heading=10.0, size=(128, 64))
    write_photo(tmp_path / "photos" / "b.jpg", at, heading=10.0, size=(128, 26), xmp=cropped)
    write_photo(tmp_path / "photos" / "c.jpg", at, heading=10.0)
    whole, band, ordinary = read_folder(tmp_path / "photos", ortho)
    assert (whole.fov_deg, whole.horizon) == (360.0, 0.5)
    assert (band.fov_deg, band.horizon) == (360.0, 0.25)
    assert ordinary.fov_deg is None


def test_a_heading_against_magnetic_north_is_not_taken_for_a_true_one(tmp_path: Path, ortho: Path) -> None:
    write_photo(tmp_path / "photos" / "a.jpg", (WEST + 30.0, NORTH - 40.0), heading=100.0, reference="M")
    (pair,) = read_folder(tmp_path / "photos", ortho)
    assert pair.heading_deg is None and pair.magnetic_heading


def test_a_window_shows_all_imagery_there_is_the_earlier_over_the_later(tmp_path: Path, ortho: Path) -> None:
    profile = {"driver": "GTiff", "width": 200, "height": 200, "count": 3, "dtype": "uint8", "crs": "EPSG:32645"}
    grey, far = tmp_path / "grey.tif", tmp_path / "far.tif"
    for path, west in ((grey, WEST + 60.0), (far, WEST + 5000.0)):  # the first overlaps the eastern 40 m of what is there
        with rasterio.open(path, "w", transform=from_origin(west, NORTH, GSD_M, GSD_M), **profile) as file:
            file.write(np.full((3, 200, 200), 77, np.uint8))
    write_photo(tmp_path / "photos" / "a.jpg", (WEST + 90.0, NORTH - 30.0), heading=0.0)
    (pair,) = read_folder(tmp_path / "photos", [far, ortho, grey], window_m=40.0)
    assert (pair.aerial, pair.imagery) == (ortho, (ortho, grey))
    with Pictures() as pictures:
        window = pictures.aerial(pair, 80)  # 70 m to 110 m east of the corner, of which 100 m hold the first
        alone = pictures.aerial(replace(pair, imagery=()), 80)
    assert (window[:, 62:] == 77).all() and not alone[:, 62:].any()
    np.testing.assert_array_equal(window[:, :58], alone[:, :58])


def test_what_a_truth_geojson_says_counts_before_exif(tmp_path: Path, ortho: Path) -> None:
    photos = tmp_path / "photos"
    write_photo(photos / "a.jpg", None)
    write_photo(photos / "b.jpg", (WEST + 30.0, NORTH - 40.0), heading=10.0)
    write_photo(photos / "c.jpg", (WEST + 30.0, NORTH - 40.0), heading=10.0)
    places = {"a.jpg": (WEST + 20.0, NORTH - 25.0), "b.jpg": (WEST + 35.0, NORTH - 45.0)}
    rows = []
    for name, xy in places.items():
        lat, lon = geodesy.to_lat_lon(CRS, *xy)
        rows.append({"type": "Feature", "geometry": None, "properties": {"file": name, "lat": lat, "lon": lon, "heading_deg": 200.0}})
    (photos / "truth.geojson").write_text(json.dumps({"type": "FeatureCollection", "features": rows}))
    a, b, c = read_folder(photos, ortho)
    assert a.xy == pytest.approx(places["a.jpg"], abs=0.01) and a.heading_deg == 200.0
    assert b.xy == pytest.approx(places["b.jpg"], abs=0.01) and b.heading_deg == 200.0
    assert c.xy == pytest.approx((WEST + 30.0, NORTH - 40.0), abs=0.2) and c.heading_deg == 10.0
    (photos / "a.jpg").unlink()
    with pytest.raises(InputError, match=r"a\.jpg is not there"):
        read_folder(photos, ortho)


def test_photos_that_cannot_be_used_are_named_with_the_reason(tmp_path: Path, ortho: Path) -> None:
    write_photo(tmp_path / "photos" / "a.jpg", (WEST + 30.0, NORTH - 40.0))
    write_photo(tmp_path / "photos" / "b.jpg", None)
    write_photo(tmp_path / "photos" / "c.jpg", (WEST + 500.0, NORTH - 40.0))
    write_photo(tmp_path / "photos" / "d.jpg", (WEST + 80.0, NORTH - 80.0))
    (tmp_path / "photos" / "e.jpg").write_bytes((tmp_path / "photos" / "a.jpg").read_bytes()[:-300])
    found = read_folder(tmp_path / "photos", ortho)
    reasons = dict(found.left_out)
    assert [pair.id for pair in found] == ["a.jpg"]
    assert list(reasons) == ["b.jpg", "c.jpg", "d.jpg", "e.jpg"]
    assert "no position" in reasons["b.jpg"]
    assert "no imagery" in reasons["c.jpg"] and "no imagery" in reasons["d.jpg"]
    assert "damaged" in reasons["e.jpg"]


def test_a_folder_without_a_usable_photo_is_refused_with_the_first_reason(tmp_path: Path, ortho: Path) -> None:
    write_photo(tmp_path / "photos" / "b.jpg", None)
    with pytest.raises(InputError, match=r"b\.jpg: no position"):
        read_folder(tmp_path / "photos", ortho)


def test_real_drone_photos_lie_on_their_real_mosaic(geo_data: Path) -> None:
    folder = geo_data / "drone_brighton_beach"
    found = read_folder(folder / "photos", folder / "mosaic.tif", window_m=30.0)
    assert len(found) + len(found.left_out) == 18
    assert len(found) >= 12
    assert {pair.crs for pair in found} == {"EPSG:32615"}
    with Pictures() as pictures:
        assert pictures.aerial(found.pairs[0], 64).std() > 10.0
