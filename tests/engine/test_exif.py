"""What files say about their cameras, and what is not believed."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.photo import Photo


def photo_with(
    gps: dict[int, Any] | None = None,
    detail: dict[int, Any] | None = None,
    model: str | None = None,
    xmp: str | None = None,
    size: tuple[int, int] = (400, 300),
    orientation: int = 1,
) -> PhotoExif:
    exif = Image.Exif()
    exif[0x0112] = orientation
    if model:
        exif[0x0110] = model
    exif.get_ifd(0x8825).update(gps or {})
    exif.get_ifd(0x8769).update(detail or {})
    stream = io.BytesIO()
    Image.new("RGB", size).save(stream, "JPEG", exif=exif, **({"xmp": xmp.encode()} if xmp else {}))
    return Photo.read(stream.getvalue()).exif


def dji(**values: str) -> str:
    inside = " ".join(f'drone-dji:{name}="{value}"' for name, value in values.items())
    return f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:Description {inside}/></x:xmpmeta>'


SOUTH_EAST = {1: "S", 2: (6.0, 2.0, 30.0), 3: "E", 4: (39.0, 14.0, 24.0)}


def test_a_position_has_its_hemispheres() -> None:
    exif = photo_with(SOUTH_EAST)
    assert exif.lat == pytest.approx(-6.0416667, abs=1e-6)
    assert exif.lon == pytest.approx(39.24, abs=1e-6)


@pytest.mark.parametrize(
    "gps",
    [
        {2: (6.0, 2.0, 30.0), 4: (39.0, 14.0, 24.0)},  # no hemisphere
        {1: "N", 2: (96.0, 0.0, 0.0), 3: "E", 4: (39.0, 0.0, 0.0)},  # no such latitude
        {1: "N", 2: (0.0, 0.0, 0.0), 3: "E", 4: (0.0, 0.0, 0.0)},  # a receiver without a fix
        {1: "N", 2: (6.0, 2.0, 30.0)},  # half of it
    ],
)
def test_a_position_that_cannot_be_believed_is_none(gps: dict[int, Any]) -> None:
    exif = photo_with(gps)
    assert (exif.lat, exif.lon) == (None, None)


def test_a_heading_says_which_north() -> None:
    assert photo_with({16: "T", 17: 123.5}).heading_deg == pytest.approx(123.5)
    magnetic = photo_with({16: "M", 17: 123.5})
    assert (magnetic.heading_deg, magnetic.heading_is_magnetic) == (pytest.approx(123.5), True)
    assert photo_with({17: 123.5}).heading_deg is None


def test_a_drone_tells_its_height_heading_and_tilt() -> None:
    exif = photo_with(xmp=dji(RelativeAltitude="+38.20", GimbalYawDegree="-90.50", GimbalPitchDegree="-70.00"))
    assert exif.height_m == pytest.approx(38.2)
    assert exif.heading_deg == pytest.approx(269.5)
    assert exif.tilt_deg == pytest.approx(20.0)


def test_drone_values_written_as_elements_are_read_too() -> None:
    xmp = "<x:xmpmeta><drone-dji:RelativeAltitude>+12.5</drone-dji:RelativeAltitude></x:xmpmeta>"
    assert photo_with(xmp=xmp).height_m == pytest.approx(12.5)


def test_a_height_of_nothing_is_not_a_height() -> None:
    assert photo_with(xmp=dji(RelativeAltitude="+0.00")).height_m is None


def test_a_known_sensor_gives_the_field_of_view() -> None:
    exif = photo_with(detail={0x920A: 3.61, 0xA405: 20}, model="FC300S\0\0\0")
    assert exif.fov_deg == pytest.approx(81.0, abs=0.1)


def test_a_photo_held_upright_sees_less_across() -> None:
    lying = photo_with(detail={0x920A: 3.61}, model="FC300S", size=(400, 300))
    standing = photo_with(detail={0x920A: 3.61}, model="FC300S", size=(400, 300), orientation=6)
    assert lying.fov_deg == pytest.approx(81.0, abs=0.1)
    assert standing.fov_deg == pytest.approx(65.3, abs=0.2)  # 2 atan(0.75 tan(40.5))


def test_the_35_mm_equivalent_is_over_the_diagonal() -> None:
    assert photo_with(detail={0xA405: 24}).fov_deg == pytest.approx(71.6, abs=0.2)  # 4:3: 0.8 of the diagonal of 43.27 mm


def test_a_photo_cropped_to_another_shape_has_no_known_field_of_view() -> None:
    assert photo_with(detail={0xA405: 24, 0xA002: 4000, 0xA003: 2250}).fov_deg is None


def test_a_photo_without_metadata_claims_nothing() -> None:
    assert photo_with() == PhotoExif()


def test_the_brighton_drone_is_understood(geo_data: Path) -> None:
    photo = Photo.read(geo_data / "drone_brighton_beach" / "photos" / "DJI_0018.jpg")
    assert photo.exif.fov_deg == pytest.approx(81.0, abs=0.1)
    assert photo.exif.lat == pytest.approx(46.8426071, abs=1e-6)
    assert photo.exif.lon == pytest.approx(-91.9945599, abs=1e-6)
    assert photo.exif.height_m is None  # its altitude is above the sea


def test_street_photos_of_other_makers_are_understood(geo_data: Path) -> None:
    berlin = Photo.read(geo_data / "street_gps" / "opensfm_berlin" / "01.jpg").exif
    assert (berlin.lat, berlin.lon) == (pytest.approx(52.518917, abs=1e-5), pytest.approx(13.400294, abs=1e-5))
    arezzo = Photo.read(geo_data / "street_gps" / "exif_samples_arezzo" / "DSCN0029.jpg").exif
    assert arezzo.lat == pytest.approx(43.468243, abs=1e-5)
    assert arezzo.heading_deg is None  # its reference is empty
