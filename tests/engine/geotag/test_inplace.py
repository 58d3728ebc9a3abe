"""Positions written into JPEGs: ExifTool reads them, nothing else changes, and undoing gives the old bytes."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossgeo.engine.camera import camera_of
from crossgeo.engine.geotag import ExifOptions, undo_exif, write_exif
from crossgeo.engine.geotag.jpeg import APP1, EXIF, parse
from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError

INPLACE = ExifOptions("inplace")
Make = Callable[..., Path]
Record = Callable[..., dict[str, Any]]
OWN = {"GPS", "XMP-crossgeo", "APP15"}  # groups of tags that we may change
# Where directories lie, how long the file is, and when it changed are no metadata of anybody.
OF_THE_FILE = {"ExifTool", "System", "File", "Composite"}


def scan_of(path: Path) -> bytes:
    jpeg = parse(path.read_bytes())
    return jpeg.data[jpeg.scan :]


def others(tags: dict[str, Any]) -> dict[str, Any]:
    """What ExifTool says of all that is not ours to change."""
    return {key: value for key, value in tags.items() if key.split(":")[0] not in OWN | OF_THE_FILE and not key.endswith("GPSInfo")}


def segments(path: Path) -> list[bytes]:
    jpeg = parse(path.read_bytes())
    return [jpeg.data[part.start : part.stop] for part in jpeg.head]


@pytest.mark.parametrize("big_endian", [False, True])
def test_exiftool_reads_what_was_written_and_all_that_was_there_before(
    rich: Make, record: Record, exiftool: Any, warnings_of: Any, big_endian: bool
) -> None:
    photo = rich(big_endian=big_endian)
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-IPTC:City=Banepa", "-EXIF:Artist=Somebody", photo], check=True)
    before, wrong, old, pixels = exiftool(photo), warnings_of(photo), photo.read_bytes(), scan_of(photo)
    assert write_exif(photo, record(), INPLACE).state == "written"
    after = exiftool(photo)
    assert others(after) == others(before)
    assert (after["GPS:GPSLatitude"], after["GPS:GPSLatitudeRef"]) == (pytest.approx(27.6351234, abs=2e-8), "N")
    assert (after["GPS:GPSLongitude"], after["GPS:GPSLongitudeRef"]) == (pytest.approx(85.5209876, abs=2e-8), "E")
    assert (after["GPS:GPSImgDirection"], after["GPS:GPSImgDirectionRef"]) == (123.4, "T")
    assert (after["GPS:GPSHPositioningError"], after["GPS:GPSMapDatum"]) == (2.54, "WGS-84")
    assert after["GPS:GPSProcessingMethod"] == "MANUAL"
    assert after["XMP-crossgeo:Status"] == "located"
    assert (after["XMP-crossgeo:HeadingDegrees"], after["XMP-crossgeo:RadiusMetres"]) == (123.4, 2.5)
    assert after["XMP-crossgeo:Program"].startswith("crossgeo ")
    assert warnings_of(photo) <= wrong
    assert scan_of(photo) == pixels
    assert undo_exif(photo) == [photo]
    assert photo.read_bytes() == old


def test_only_the_two_segments_change_and_one_is_added(rich: Make, record: Record) -> None:
    photo = rich()
    before = segments(photo)
    write_exif(photo, record(), INPLACE)
    after = segments(photo)
    changed = [part for part in before if part not in after]
    assert len(after) == len(before) + 1
    assert len(changed) == 2
    assert all(part[1] == APP1 for part in changed)
    exif = next(part for part in before if EXIF in part[:12])
    grown = next(part for part in after if EXIF in part[:12])
    # Every byte of the old EXIF stays where it is, but for its length and four bytes of an offset: maker notes count from its start.
    differ = [k for k in range(4, len(exif)) if exif[k] != grown[k]]
    assert set(differ) <= set(range(14, 18))


def test_the_reader_gets_back_what_was_written(rich: Make, record: Record) -> None:
    photo = rich()
    assert Photo.read(photo).exif.lat is None
    write_exif(photo, record(lat=-6.0416667, lon=-39.24, camera={"lat": -6.0416667, "lon": -39.24}, heading_deg=359.9), INPLACE)
    exif = Photo.read(photo).exif
    assert (exif.lat, exif.lon) == (pytest.approx(-6.0416667, abs=2e-8), pytest.approx(-39.24, abs=2e-8))
    assert (exif.heading_deg, exif.heading_is_magnetic) == (pytest.approx(359.9), False)


def test_an_answer_is_no_evidence_for_the_next_one(rich: Make, record: Record) -> None:
    photo = rich()
    write_exif(photo, record(), INPLACE)
    assert Photo.read(photo).exif.heading_is_answer
    assert camera_of(Photo.read(photo)).heading_deg is None
    own = rich("own.jpg", gps={16: "T", 17: 123.4})
    write_exif(own, record(heading_deg=88.0), INPLACE)
    assert not Photo.read(own).exif.heading_is_answer, "the camera's own compass is kept and believed"
    assert camera_of(Photo.read(own)).heading_deg == pytest.approx(123.4)


@pytest.mark.parametrize("has", ["nothing", "exif", "xmp"])
def test_what_is_missing_is_made(rich: Make, record: Record, exiftool: Any, warnings_of: Any, has: str) -> None:
    photo = rich()
    strip = {"nothing": ["-all="], "exif": ["-XMP:all="], "xmp": ["-EXIF:all="]}[has]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *strip, photo], check=True)
    old, wrong = photo.read_bytes(), warnings_of(photo)
    write_exif(photo, record(), INPLACE)
    tags = exiftool(photo)
    assert tags["GPS:GPSLatitude"] == pytest.approx(27.6351234, abs=2e-8)
    assert tags["XMP-crossgeo:Status"] == "located"
    assert warnings_of(photo) <= wrong
    Photo.read(photo)
    undo_exif(photo)
    assert photo.read_bytes() == old


def test_the_camera_of_a_drone_is_the_position_and_what_it_looks_at_the_destination(rich: Make, record: Record, exiftool: Any) -> None:
    photo = rich()
    write_exif(photo, record(camera={"lat": 27.6348, "lon": 85.5206}), INPLACE)
    tags = exiftool(photo)
    assert (tags["GPS:GPSLatitude"], tags["GPS:GPSDestLatitude"]) == (pytest.approx(27.6348, abs=2e-8), pytest.approx(27.6351234, abs=2e-8))
    assert tags["XMP-crossgeo:PositionOf"] == "camera"
    unknown = rich("unknown.jpg")
    write_exif(unknown, record(camera=None), INPLACE)
    tags = exiftool(unknown)
    assert tags["GPS:GPSLatitude"] == pytest.approx(27.6351234, abs=2e-8)
    assert tags["XMP-crossgeo:PositionOf"] == "ground at the photo's centre"


GPS = {1: "S", 2: (6.0, 2.0, 30.0), 3: "E", 4: (39.0, 14.0, 24.0), 5: b"\0", 6: 1411.5, 11: 1.7, 29: "2026:05:01"}
XMP_POSITION = "<exif:GPSLatitude xmlns:exif='http://ns.adobe.com/exif/1.0/'>6,2.5S</exif:GPSLatitude>"


@pytest.mark.parametrize("where", [{"gps": GPS}, {"xmp": XMP_POSITION}])
def test_a_position_that_is_there_is_kept_unless_told(rich: Make, record: Record, exiftool: Any, where: dict[str, Any]) -> None:
    photo = rich(**where)
    old = photo.read_bytes()
    kept = write_exif(photo, record(), INPLACE)
    assert kept.state == "kept"
    assert kept.reason
    assert photo.read_bytes() == old
    assert write_exif(photo, record(), ExifOptions("inplace", overwrite=True)).state == "written"
    tags = exiftool(photo)
    assert tags["GPS:GPSLatitude"] == pytest.approx(27.6351234, abs=2e-8)
    if "gps" in where:
        assert tags["GPS:GPSAltitude"] == 1411.5, "it does not know better"
        assert tags["GPS:GPSDateStamp"] == "2026:05:01"
        assert "GPS:GPSDOP" not in tags, "it was that of the receiver's fix"
    else:
        assert tags["XMP-exif:GPSLatitude"] == pytest.approx(27.6351234, abs=2e-8), "two positions in one file would contradict each other"
    undo_exif(photo)
    assert photo.read_bytes() == old


def test_only_what_is_believed_is_written_unless_told(rich: Make, record: Record) -> None:
    photo = rich()
    old = photo.read_bytes()
    assert write_exif(photo, record(status="ambiguous"), INPLACE).state == "unsure"
    assert write_exif(photo, {"photo": "p.jpg", "error": {"type": "InputError", "message": "p.jpg: cut short"}}, INPLACE).state == "unsure"
    assert photo.read_bytes() == old
    told = ExifOptions("inplace", unsure=True)
    assert write_exif(photo, record(status="outside_coverage", places=[]), told).state == "unsure"
    assert write_exif(photo, record(status="low_confidence"), told).state == "written"


def test_a_newer_answer_takes_the_place_of_ours_and_undo_still_leads_to_the_first_bytes(rich: Make, record: Record, exiftool: Any) -> None:
    photo = rich()
    old = photo.read_bytes()
    write_exif(photo, record(), INPLACE)
    once = photo.read_bytes()
    assert write_exif(photo, record(), INPLACE).state == "same"
    assert photo.read_bytes() == once
    assert write_exif(photo, record(heading_deg=200.0), INPLACE).state == "written"
    assert exiftool(photo)["GPS:GPSImgDirection"] == 200.0
    undo_exif(photo)
    assert photo.read_bytes() == old
    assert undo_exif(photo) == []


def test_what_another_program_changed_since_is_not_undone(rich: Make, record: Record) -> None:
    photo = rich()
    write_exif(photo, record(), INPLACE)
    subprocess.run(["exiftool", "-q", "-overwrite_original", "-XMP:Rating=2", photo], check=True)
    changed = photo.read_bytes()
    with pytest.raises(InputError, match="changed by another program"):
        undo_exif(photo)
    assert photo.read_bytes() == changed
    assert write_exif(photo, record(heading_deg=200.0), INPLACE).state == "kept", "the position may be a correction by hand"


def test_the_way_back_goes_along_when_the_photo_is_copied(rich: Make, record: Record, tmp_path: Path) -> None:
    photo = rich()
    old = photo.read_bytes()
    write_exif(photo, record(), INPLACE)
    copy = tmp_path / "copy.jpg"
    copy.write_bytes(photo.read_bytes())
    undo_exif(copy)
    assert copy.read_bytes() == old


def test_times_permissions_and_links_are_kept(rich: Make, record: Record, tmp_path: Path) -> None:
    photo = rich()
    photo.chmod(0o640)
    os.utime(photo, ns=(1_000_000_000, 1_700_000_000_123_456_789))
    link = tmp_path / "link.jpg"
    link.symlink_to(photo)
    write_exif(link, record(), INPLACE)
    assert link.is_symlink()
    assert (photo.stat().st_mtime_ns, photo.stat().st_mode & 0o777) == (1_700_000_000_123_456_789, 0o640)
    assert Photo.read(photo).exif.lat is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["link.jpg", "rich.jpg"]


def test_a_full_disk_leaves_the_photo_as_it_was(rich: Make, record: Record, room_for: Any) -> None:
    photo = rich()
    old = photo.read_bytes()
    with room_for(len(old) // 2), pytest.raises(Exception, match="rich"):
        write_exif(photo, record(), INPLACE)
    assert photo.read_bytes() == old
    assert len(list(photo.parent.iterdir())) == 1
