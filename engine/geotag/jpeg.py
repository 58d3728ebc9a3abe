"""JPEG files taken apart without decoding: the segments before the picture, and where the picture ends (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from dataclasses import dataclass

SOI, EOI, SOS = 0xD8, 0xD9, 0xDA
APP0, APP1, APP2, APP11, APP15 = 0xE0, 0xE1, 0xE2, 0xEB, 0xEF
EXIF, XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
LONGEST = 65_533  # bytes that one segment holds
_FRAMES = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # start of frame
_ALONE = {0x01, *range(0xD0, 0xD8)}  # markers without a length: TEM, RST0 to RST7
_NEXT_MARKER = re.compile(rb"\xff+[^\x00\xd0-\xd7\xff]")  # what ends entropy-coded data


@dataclass(frozen=True)
class Part:
    """One marker segment: bytes `start` to `stop` of the file, its marker and length included."""

    marker: int
    start: int
    body: int  # where what it holds begins
    stop: int


@dataclass(frozen=True)
class Jpeg:
    """What a JPEG file is made of."""

    data: bytes
    head: tuple[Part, ...]  # the segments before the first scan
    scan: int  # where that begins
    end: int  # just past the end of the picture; what follows is other pictures or a maker's own

    def body(self, part: Part) -> bytes:
        """Return what a segment holds."""
        return self.data[part.body : part.stop]

    def find(self, marker: int, prefix: bytes) -> list[Part]:
        """Return the segments of a marker that begin with a prefix."""
        return [part for part in self.head if part.marker == marker and self.data.startswith(prefix, part.body)]


def parse(data: bytes) -> Jpeg:
    """Take a JPEG apart; raise ValueError, in words for people, where it is none, cut short or damaged in its structure."""
    if data[:2] != b"\xff\xd8":
        raise ValueError("it is no JPEG")
    head: list[Part] = []
    at, scan, framed = 2, None, False
    while True:
        part = _part(data, at)
        if part.marker == EOI:
            if scan is None:
                raise ValueError("it holds no picture")
            return Jpeg(data, tuple(head), scan, part.stop)
        if part.marker in _FRAMES:
            _check_frame(data[part.body : part.stop])
            framed = True
        at = part.stop
        if part.marker == SOS:
            if not framed:
                raise ValueError("its picture begins before its size is told")
            scan = part.start if scan is None else scan
            found = _NEXT_MARKER.search(data, at)
            if found is None:
                raise ValueError("it is cut short")
            at = found.start()
        elif scan is None:
            head.append(part)


def segment(marker: int, body: bytes) -> bytes:
    """Return a segment; raise ValueError where it does not fit into one."""
    if len(body) > LONGEST:
        raise ValueError(f"{len(body)} bytes do not fit into one segment of a JPEG, which holds {LONGEST}")
    return bytes((0xFF, marker)) + (len(body) + 2).to_bytes(2, "big") + body


def _part(data: bytes, at: int) -> Part:
    start = at
    if data[at : at + 1] != b"\xff":
        raise ValueError("it is cut short" if at >= len(data) else f"there is no marker where one must be, at byte {at}")
    while data[at : at + 1] == b"\xff":  # a marker may be preceded by any number of fill bytes
        at += 1
    if at >= len(data):
        raise ValueError("it is cut short")
    marker = data[at]
    if marker == EOI:
        return Part(marker, start, at + 1, at + 1)
    if marker in (0x00, SOI) or marker in _ALONE:
        raise ValueError(f"there is a marker {marker:#04x} where none may be, at byte {at}")
    length = int.from_bytes(data[at + 1 : at + 3], "big")
    if len(data) < at + 3 or at + 1 + length > len(data):
        raise ValueError("it is cut short")
    if length < 2:
        raise ValueError(f"the segment at byte {start} has no length")
    return Part(marker, start, at + 3, at + 1 + length)


def _check_frame(body: bytes) -> None:
    if len(body) < 9 or len(body) != 6 + 3 * body[5] or body[3:5] == b"\0\0":
        raise ValueError("its frame header is damaged")
