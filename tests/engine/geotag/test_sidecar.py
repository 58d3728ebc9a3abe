"""Sidecars: ExifTool reads them, other programs' stay whole, and undoing leaves what was there."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from crossgeo.engine.geotag import ExifOptions, sidecar_of, undo_exif, write_exif, xmp
from crossgeo.engine.geotag.edits import apply
from crossgeo.engine.geotag.facts import CAMERA, Facts
from crossgeo.errors import InputError

Make = Callable[..., Path]
Record = Callable[..., dict[str, Any]]
DARKTABLE = b"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">
  <rdf:Description rdf:about="" xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:darktable="http://darktable.sf.net/" xmp:Rating="3">
   <darktable:history><rdf:Seq><rdf:li darktable:num="0"/></rdf:Seq></darktable:history>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def test_exiftool_reads_the_position_and_the_photo_is_not_touched(rich: Make, record: Record, exiftool: Any) -> None:
    photo = rich()
    old = photo.read_bytes()
    done = write_exif(photo, record(lat=-27.6351234, camera={"lat": -27.6351234, "lon": 85.5209876}))
    assert (done.state, done.target) == ("written", photo.with_name("rich.jpg.xmp"))
    assert photo.read_bytes() == old
    tags = exiftool(sidecar_of(photo))
    assert tags["XMP-exif:GPSLatitude"] == pytest.approx(-27.6351234, abs=1e-9)
    assert tags["XMP-exif:GPSLongitude"] == pytest.approx(85.5209876, abs=1e-9)
    assert (tags["XMP-exif:GPSImgDirection"], tags["XMP-exif:GPSImgDirectionRef"]) == (123.4, "T")
    assert (tags["XMP-exif:GPSHPositioningError"], tags["XMP-crossgeo:Status"]) == (2.54, "located")
    assert write_exif(photo, record(), ExifOptions(unsure=True)).state == "written", "a newer answer"
    assert write_exif(photo, record()).state == "same"
    assert undo_exif(photo) == [sidecar_of(photo)]
    assert not sidecar_of(photo).exists()


def test_another_programs_sidecar_stays_whole(rich: Make, record: Record, exiftool: Any) -> None:
    photo = rich()
    sidecar_of(photo).write_bytes(DARKTABLE)
    write_exif(photo, record())
    new = sidecar_of(photo).read_bytes()
    start, end = DARKTABLE.split(b"</rdf:RDF>")
    assert new.startswith(start)
    assert end in new
    tags = exiftool(sidecar_of(photo))
    assert (tags["XMP-xmp:Rating"], tags["XMP-exif:GPSImgDirection"]) == (3, 123.4)
    undo_exif(photo)
    assert sidecar_of(photo).read_bytes() == DARKTABLE


def test_a_position_in_the_photo_or_its_sidecar_is_kept_unless_told(rich: Make, record: Record, exiftool: Any) -> None:
    photo = rich(gps={1: "S", 2: (6.0, 2.0, 30.0), 3: "E", 4: (39.0, 14.0, 24.0)})
    assert write_exif(photo, record()).state == "kept"
    assert not sidecar_of(photo).exists()
    assert write_exif(photo, record(), ExifOptions(overwrite=True)).state == "written"
    plain = rich("plain.jpg")
    other = DARKTABLE.replace(
        b"xmp:Rating", b'xmlns:e="http://ns.adobe.com/exif/1.0/" e:GPSLatitude="6,2.5S" e:GPSLongitude="39,1E" xmp:Rating'
    )
    sidecar_of(plain).write_bytes(other)
    assert write_exif(plain, record()).state == "kept"
    write_exif(plain, record(), ExifOptions(overwrite=True))
    tags = exiftool(sidecar_of(plain))
    assert tags["XMP-exif:GPSLatitude"] == pytest.approx(27.6351234, abs=1e-9)
    assert tags["XMP-xmp:Rating"] == 3
    undo_exif(plain)
    assert sidecar_of(plain).read_bytes() == other


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_photos_of_other_formats_have_sidecars(record: Record, exiftool: Any, tmp_path: Path, name: str) -> None:
    photo, located = tmp_path / name, tmp_path / f"located-{name}"
    Image.new("RGB", (8, 8)).save(photo)
    assert write_exif(photo, record()).state == "written"
    Image.new("RGB", (8, 8)).save(located)
    position = ["-EXIF:GPSLatitude=12.5", "-EXIF:GPSLatitudeRef=N", "-EXIF:GPSLongitude=33.25", "-EXIF:GPSLongitudeRef=E"]
    subprocess.run(["exiftool", "-q", "-overwrite_original", *position, located], check=True)
    assert exiftool
    assert write_exif(located, record()).state == "kept"


def test_a_sidecar_that_is_no_xmp_or_was_changed_since_is_left_alone(rich: Make, record: Record) -> None:
    photo = rich()
    sidecar_of(photo).write_bytes(b"notes of mine")
    with pytest.raises(InputError, match=r"rich\.jpg\.xmp: its XMP is not well-formed; it was left"):
        write_exif(photo, record())
    assert sidecar_of(photo).read_bytes() == b"notes of mine"
    sidecar_of(photo).unlink()
    write_exif(photo, record())
    changed = sidecar_of(photo).read_bytes().replace(b"located", b"LOCATED")
    sidecar_of(photo).write_bytes(changed)
    with pytest.raises(InputError, match="changed by another program"):
        undo_exif(photo)
    assert sidecar_of(photo).read_bytes() == changed


def test_a_photo_that_is_not_to_be_written_into_has_a_sidecar_and_what_is_no_photo_has_none(rich: Make, record: Record) -> None:
    photo = rich()
    photo.write_bytes(photo.read_bytes()[:-40])
    assert write_exif(photo, record()).state == "written"
    photo.write_bytes(b"no photo")
    sidecar_of(photo).unlink()
    with pytest.raises(InputError, match=r"rich\.jpg: it is no image"):
        write_exif(photo, record())
    assert not sidecar_of(photo).exists()


@settings(max_examples=50, deadline=None)
@given(st.floats(-90, 90), st.floats(-180, 180), st.text(max_size=8))
def test_any_position_and_any_words_make_well_formed_packets(lat: float, lon: float, words: str) -> None:
    facts = Facts(lat, lon, 10.0, 2.5, "located", 0.5, words.replace("\x00", ""), 1, CAMERA)
    try:
        words.encode()
    except UnicodeEncodeError:
        return
    packet = xmp.new_packet(facts, position=True)
    if all(letter.isprintable() for letter in words):
        assert xmp.has_position(packet)


@pytest.mark.parametrize("inside", [
    "<d exif:GPSLatitude='1,2N' exif:GPSLongitude=\"3,4E\" a=\"b>c\" r:about=''/>",
    "<d r:about=''><exif:GPSLatitude a='>'>1,2N</exif:GPSLatitude><exif:GPSLongitude/><a>left</a></d>",
])  # fmt: skip
def test_what_would_contradict_is_taken_out_however_it_is_written(inside: str) -> None:
    inside = inside.replace("<d", "<r:Description").replace("</d", "</r:Description")
    packet = f'<r:RDF xmlns:r="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:exif="{xmp.EXIF_SPACE}">{inside}</r:RDF>'.encode()
    assert xmp.has_position(packet)
    facts = Facts(1.0, 2.0, 10.0, 2.5, "located", 0.5, "m", 1, CAMERA)
    new = apply(packet, xmp.edits(packet, facts, position=True))
    assert xmp.has_position(new)
    assert b"1,2N" not in new
    assert new.count(b"GPSLatitude") == 1
    assert (b"b>c" in new) == (b"b>c" in packet)
    assert (b"left" in new) == (b"left" in packet)
