"""What a splice could break, or what is broken already: refused with a reason, and left as it is; and what is handled."""

from __future__ import annotations

import hashlib
import struct
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from crossgeo.engine.geotag import ExifOptions, inplace, undo_exif, write_exif
from crossgeo.engine.geotag.edits import Back, Edit, apply, way_back
from crossgeo.engine.geotag.facts import facts_of
from crossgeo.engine.geotag.jpeg import APP1, APP2, EXIF, XMP, parse, segment
from crossgeo.engine.geotag.mpf import pictures_of
from crossgeo.errors import InputError

INPLACE = ExifOptions("inplace", overwrite=True)
Make = Callable[..., Path]
Record = Callable[..., dict[str, Any]]


def spliced(photo: Path, extra: bytes, behind: bytes = EXIF, more: bytes = b"") -> bytes:
    """Put a segment behind another, and bytes behind the picture."""
    jpeg = parse(photo.read_bytes())
    at = jpeg.find(APP1, behind)[0].stop
    return jpeg.data[:at] + extra + jpeg.data[at:] + more


def refused(photo: Path, record: dict[str, Any], reason: str, data: bytes | None = None) -> None:
    if data is not None:
        photo.write_bytes(data)
    old = photo.read_bytes()
    with pytest.raises(InputError, match=reason):
        write_exif(photo, record, INPLACE)
    assert photo.read_bytes() == old
    assert [path.name for path in photo.parent.iterdir()] == [photo.name]


def with_second_picture(photo: Path) -> tuple[bytes, bytes]:
    """Return the photo as a camera's multi-picture file, and the second picture."""
    second = photo.read_bytes()[:2] + b"\xff\xfe\x00\x08second" + photo.read_bytes()[2:]
    size = len(segment(APP2, b"MPF\0" + bytes(8 + 2 + 24 + 4 + 32)))
    first_size = len(photo.read_bytes()) + size
    base = parse(photo.read_bytes()).find(APP1, XMP)[0].stop + 8
    entries = struct.pack(">LLLHH", 0x030000, first_size, 0, 0, 0) + struct.pack(">LLLHH", 0, len(second), first_size - base, 0, 0)
    rows = struct.pack(">HHLL", 0xB001, 4, 1, 2) + struct.pack(">HHLL", 0xB002, 7, 32, 38)
    index = segment(APP2, b"MPF\0MM\0*" + struct.pack(">LH", 8, 2) + rows + bytes(4) + entries)
    assert len(index) == size
    return spliced(photo, index, XMP, second), second


def test_the_index_of_further_pictures_stays_true(rich: Make, record: Record, exiftool: Any) -> None:
    photo = rich()
    data, second = with_second_picture(photo)
    photo.write_bytes(data)
    assert exiftool(photo)["MPF0:NumberOfImages"] == 2
    write_exif(photo, record(), INPLACE)
    jpeg = parse(photo.read_bytes())
    pictures = pictures_of(jpeg)
    assert pictures is not None
    (_, first_size, _), (_, second_size, offset) = pictures.entries
    assert first_size == jpeg.end
    assert jpeg.data[pictures.base + offset :][:second_size] == second
    got = subprocess.run(["exiftool", "-b", "-MPImage2", photo], capture_output=True, check=True).stdout
    assert got == second
    undo_exif(photo)
    assert photo.read_bytes() == data


def test_exif_behind_the_index_of_further_pictures_is_refused(rich: Make, record: Record) -> None:
    photo = rich()
    data, _ = with_second_picture(photo)
    jpeg = parse(data)
    exif = jpeg.find(APP1, EXIF)[0]
    index = jpeg.find(APP2, b"MPF\0")[0]
    moved = data[: exif.start] + data[exif.stop : index.stop] + data[exif.start : exif.stop] + data[index.stop :]
    refused(photo, record(), "behind the index of further pictures; write a sidecar", moved)
    refused(photo, record(), "index of further pictures is damaged", data.replace(b"MPF\0MM", b"MPF\0XX"))


def test_a_signed_photo_is_refused(rich: Make, record: Record) -> None:
    photo = rich()
    refused(photo, record(), "signed content credentials", spliced(photo, segment(0xEB, b"JP\0\1\0\0\0\1jumb c2pa")))


def test_a_hidden_second_picture_is_refused_where_a_maker_may_point_to_it(rich: Make, record: Record) -> None:
    photo = rich()
    plain = photo.read_bytes()
    refused(photo, record(), "hides a second picture", plain + plain)
    photo.write_bytes(plain + b"a maker's own data")
    write_exif(photo, record(), INPLACE)
    assert photo.read_bytes().endswith(b"a maker's own data")


def test_extended_xmp_stays_and_a_position_in_it_is_refused(rich: Make, record: Record) -> None:
    photo = rich()
    long = b"http://ns.adobe.com/xmp/extension/\0" + b"0" * 32 + struct.pack(">LL", 20, 0)
    old = spliced(photo, segment(APP1, long + b"<x>something</x>"), XMP)
    photo.write_bytes(old)
    write_exif(photo, record(), INPLACE)
    assert b"<x>something</x>" in photo.read_bytes()
    undo_exif(photo)
    refused(photo, record(), "extended XMP", spliced(photo, segment(APP1, long + b"exif:GPSLatitude='1,2N'"), XMP))


def test_what_does_not_fit_is_refused(rich: Make, record: Record) -> None:
    photo = rich(xmp="<dc:description>" + "x" * 64_850 + "</dc:description>")
    refused(photo, record(), "XMP fills its segment")
    jpeg = parse(rich().read_bytes())
    exif = jpeg.find(APP1, EXIF)[0]
    full = jpeg.body(exif) + bytes(65_533 - len(jpeg.body(exif)))
    refused(photo, record(), "EXIF fills its segment", jpeg.data[: exif.start] + segment(APP1, full) + jpeg.data[exif.stop :])


@pytest.mark.parametrize(("old", "new", "reason"), [
    (b"rdf:RDF>", b"rdf:RXX>", "not well-formed"), (b"uuid:7", b"\xff\xfe:7", "UTF-8"),
    (b"<x:xmpmeta", b"<!DOCTYPE a><x:xmpmeta", "document type"), (b"Exif\0\0II", b"Exif\0\0IX", "EXIF is damaged"),
])  # fmt: skip
def test_damaged_metadata_is_refused(rich: Make, record: Record, old: bytes, new: bytes, reason: str) -> None:
    photo = rich()
    jpeg = parse(photo.read_bytes())
    pieces = [jpeg.data[:2]]
    for part in jpeg.head:
        body = jpeg.body(part)
        pieces.append(segment(part.marker, body.replace(old, new, 1) if part.marker == APP1 else body))
    refused(photo, record(), reason, b"".join(pieces) + jpeg.data[jpeg.scan :])


def test_two_segments_of_exif_are_refused(rich: Make, record: Record) -> None:
    photo = rich()
    jpeg = parse(photo.read_bytes())
    exif = jpeg.find(APP1, EXIF)[0]
    refused(photo, record(), "2 segments of EXIF", spliced(photo, jpeg.data[exif.start : exif.stop]))


def test_what_is_no_jpeg_or_not_there_is_refused(record: Record, tmp_path: Path) -> None:
    png = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(png)
    refused(png, record(), "no JPEG")
    with pytest.raises(InputError, match="no such file"):
        write_exif(tmp_path / "missing.jpg", record(), INPLACE)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 2}])
def test_a_jpeg_cut_anywhere_is_refused(rich: Make, record: Record, options: dict[str, Any]) -> None:
    data = rich(**options).read_bytes()
    facts = facts_of(record())
    assert facts is not None
    inplace.with_place(inplace.Taken.apart(data), facts)
    for length in [*range(0, len(data) - 1, 97), len(data) - 1]:
        with pytest.raises(ValueError, match=r"."):
            inplace.Taken.apart(data[:length])


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_a_jpeg_damaged_anywhere_is_refused_or_comes_back_exactly(rich: Make, record: Record, data: st.DataObject) -> None:
    photo = bytearray(rich().read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        photo[data.draw(st.integers(0, len(photo) - 1))] = data.draw(st.integers(0, 255))
    facts = facts_of(record())
    assert facts is not None
    try:
        taken = inplace.Taken.apart(bytes(photo))
        new = inplace.with_place(taken, facts)
    except ValueError:
        return
    assert inplace.Taken.apart(new).tiff is not None
    assert new[parse(new).scan :] == photo[taken.jpeg.scan :]
    assert inplace.without_place(new) == bytes(photo)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=40), st.lists(st.tuples(st.integers(0, 40), st.integers(0, 6), st.binary(max_size=6)), max_size=5))
def test_every_edit_has_its_way_back(data: bytes, drawn: list[tuple[int, int, bytes]]) -> None:
    edits, at = [], 0
    for start, length, new in sorted(drawn):
        if at <= start <= start + length <= len(data):
            edits.append(Edit(start, start + length, new))
            at = start + length
    changed, back = apply(data, edits), way_back(data, edits)
    assert Back.unpack(back.pack()).restore(changed) == data
    with pytest.raises(ValueError, match=r"."):
        back.restore(changed + b"x")


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
def test_a_damaged_way_back_is_an_error_in_words(data: bytes) -> None:
    with pytest.raises(ValueError, match="damaged"):
        Back.unpack(data)


def test_a_way_back_that_would_fill_the_memory_is_not_unpacked() -> None:
    huge = Back((Edit(0, 0, b"a" * 3_000_000),), "00" * 32, hashlib.sha256(b"").hexdigest()).pack()
    assert len(huge) < 65_000
    with pytest.raises(ValueError, match="damaged"):
        Back.unpack(huge)
