"""EXIF (a TIFF in memory) given a GPS directory without moving what is there: offsets of maker notes stay true (EXIF 2.32, TIFF 6.0).

Directories that grow are written again at the end and pointed to; every other byte stays where it is.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from crossgeo.engine.geotag.edits import Edit
from crossgeo.engine.geotag.facts import METHOD, Facts

GPS_POINTER, EXIF_POINTER, MAKER_NOTE = 0x8825, 0x8769, 0x927C
LAT_REF, LAT, LON_REF, LON, ALTITUDE_REF, ALTITUDE = 1, 2, 3, 4, 5, 6
DIRECTION_REF, DIRECTION, DATUM = 0x10, 0x11, 0x12
DEST_LAT_REF, DEST_LAT, DEST_LON_REF, DEST_LON = 0x13, 0x14, 0x15, 0x16
METHOD_TAG, POSITIONING_ERROR = 0x1B, 0x1F
POSITION = {LAT, LON}
# What another receiver said of its own fix, which is not true of a place that takes the fix's place: satellites, status, mode, DOP,
# all of the destination, area, differential correction.
OF_ONE_FIX = {8, 9, 10, 11, *range(0x13, 0x1B), 0x1C, 0x1E}
_BYTE, _ASCII, _SHORT, _LONG, _RATIONAL, _UNDEFINED = 1, 2, 3, 4, 5, 7
_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_ENTRIES = 1000  # a directory of more is damaged


@dataclass(frozen=True)
class Value:
    """A tag's value: type, count and bytes in the file's order."""

    kind: int
    count: int
    data: bytes


@dataclass(frozen=True)
class Directory:
    """Entries of a directory as they stand in the file (12 bytes each) by tag, and the place of the next one."""

    start: int
    entries: dict[int, bytes]
    next: bytes


class Tiff:
    """A TIFF structure to be read and given a GPS directory; raises ValueError, in words for people, where it is damaged."""

    def __init__(self, data: bytes) -> None:
        """Look at the header and the first directory."""
        orders = {b"II*\0": "<", b"MM\0*": ">"}
        if data[:4] not in orders or len(data) < 8:
            raise ValueError("its EXIF is damaged")
        self.data, self.order = data, orders[data[:4]]
        self.first = self._directory(self._long(4))
        self.gps = self._gps()

    def has_position(self) -> bool:
        """Whether any of a position stands in the GPS directory."""
        return self.gps is not None and bool(POSITION & self.gps.entries.keys())

    def has_maker_note(self) -> bool:
        """Whether a maker's own data is there, which may point anywhere."""
        entry = self.first.entries.get(EXIF_POINTER)
        try:
            return entry is not None and MAKER_NOTE in self._directory(self._pointer(entry)).entries
        except ValueError:
            return True  # who knows

    def edits(self, facts: Facts) -> list[Edit]:
        """Return the edits that write a place: the GPS directory anew at the end, with all that others wrote and is still true."""
        kept = {} if self.gps is None else self.gps.entries
        if self.has_position():
            kept = {tag: entry for tag, entry in kept.items() if tag not in OF_ONE_FIX}
        elif DIRECTION in kept:  # a compass without a receiver: what it said stays
            facts_tags = {tag: value for tag, value in gps_values(facts, self.order).items() if tag not in (DIRECTION, DIRECTION_REF)}
            return self._with_gps(kept, facts_tags)
        return self._with_gps(kept, gps_values(facts, self.order))

    def _with_gps(self, kept: dict[int, bytes], values: dict[int, Value]) -> list[Edit]:
        end = len(self.data)
        tail = bytes(end % 2)  # directories begin at even offsets
        if self.gps is None:
            gps_at = end + len(tail) + _length(len(self.first.entries) + 1)
            entries = {**self.first.entries, GPS_POINTER: self._pack("HHLL", GPS_POINTER, _LONG, 1, gps_at)}
            edits = [Edit(4, 8, self._pack("L", end + len(tail)))]
            tail += _directory(self.order, end + len(tail), entries, {}, self.first.next)
        else:
            gps_at = end + len(tail)
            # The pointer's value lies in the last 4 bytes of its entry in the first directory, whose entries stand in their order.
            number = list(self.first.entries).index(GPS_POINTER)
            at = self.first.start + 2 + 12 * number + 8
            edits = [Edit(at, at + 4, self._pack("L", gps_at))]
        return [*edits, Edit(end, end, tail + _directory(self.order, gps_at, kept, values))]

    def _gps(self) -> Directory | None:
        entry = self.first.entries.get(GPS_POINTER)
        return None if entry is None else self._directory(self._pointer(entry))

    def _pointer(self, entry: bytes) -> int:
        _, kind, count, offset = struct.unpack(f"{self.order}HHLL", entry)
        if kind not in (_LONG, 13) or count != 1:
            raise ValueError("its EXIF is damaged")
        return int(offset)

    def _directory(self, start: int) -> Directory:
        many = int.from_bytes(self._bytes(start, 2), "little" if self.order == "<" else "big")
        if start < 8 or many > _ENTRIES:
            raise ValueError("its EXIF is damaged")
        rows = [self._bytes(start + 2 + 12 * number, 12) for number in range(many)]
        entries = {int(struct.unpack(f"{self.order}H", row[:2])[0]): row for row in rows}
        if len(entries) != many:
            raise ValueError("its EXIF names one tag twice")
        for row in rows:
            _, kind, count, offset = struct.unpack(f"{self.order}HHLL", row)
            if _SIZES.get(kind, 1) * count > 4 and offset >= len(self.data):
                raise ValueError("its EXIF is cut short")
        end = start + 2 + 12 * many
        return Directory(start, entries, self._bytes(end, 4) if end + 4 <= len(self.data) else bytes(4))

    def _bytes(self, start: int, count: int) -> bytes:
        found = self.data[start : start + count]
        if len(found) != count:
            raise ValueError("its EXIF is cut short")
        return found

    def _long(self, at: int) -> int:
        return int(struct.unpack(f"{self.order}L", self._bytes(at, 4))[0])

    def _pack(self, form: str, *values: int) -> bytes:
        return struct.pack(self.order + form, *values)


def new_tiff(facts: Facts) -> bytes:
    """Return a TIFF structure with a place, and what each must have: 72 pixels an inch (nothing is known), JFIF's grid."""
    inch = struct.pack("<LL", 72, 1)
    values = {
        0x011A: Value(_RATIONAL, 1, inch), 0x011B: Value(_RATIONAL, 1, inch), 0x0128: Value(_SHORT, 1, b"\x02\0"),
        0x0213: Value(_SHORT, 1, b"\x01\0"),
    }  # fmt: skip
    gps_at = 8 + _length(len(values) + 1) + 2 * len(inch)
    pointer = {GPS_POINTER: struct.pack("<HHLL", GPS_POINTER, _LONG, 1, gps_at)}
    return b"II*\0\x08\0\0\0" + _directory("<", 8, pointer, values) + _directory("<", gps_at, {}, gps_values(facts, "<"))


def _length(entries: int) -> int:
    """Bytes of a directory without what stands behind it."""
    return 2 + 12 * entries + 4


def _directory(order: str, at: int, kept: dict[int, bytes], values: dict[int, Value], following: bytes = bytes(4)) -> bytes:
    """Return a directory at an offset, of entries as they are and of new values, which stand behind it where they are long."""
    entries, data = dict(kept), b""
    behind = at + _length(len({*kept, *values}))
    for tag, value in values.items():
        if len(value.data) <= 4:
            entries[tag] = struct.pack(f"{order}HHL", tag, value.kind, value.count) + value.data.ljust(4, b"\0")
        else:
            entries[tag] = struct.pack(f"{order}HHLL", tag, value.kind, value.count, behind + len(data))
            data += value.data + bytes(len(value.data) % 2)
    return struct.pack(f"{order}H", len(entries)) + b"".join(entries[tag] for tag in sorted(entries)) + following + data


def gps_values(facts: Facts, order: str) -> dict[int, Value]:
    """Return the GPS tags of a place, by tag."""

    def text(words: str) -> Value:
        data = words.encode("ascii") + b"\0"
        return Value(_ASCII, len(data), data)

    def fractions(*pairs: tuple[int, int]) -> Value:
        return Value(_RATIONAL, len(pairs), b"".join(struct.pack(f"{order}LL", *pair) for pair in pairs))

    def position(lat: float, lon: float, tags: tuple[int, int, int, int]) -> dict[int, Value]:
        return {
            tags[0]: text("N" if lat >= 0.0 else "S"), tags[1]: fractions(*_sexagesimal(lat)),
            tags[2]: text("E" if lon >= 0.0 else "W"), tags[3]: fractions(*_sexagesimal(lon)),
        }  # fmt: skip

    method = b"ASCII\0\0\0" + METHOD.encode("ascii")
    values = {
        0: Value(_BYTE, 4, bytes((2, 3, 0, 0))),
        **position(facts.lat, facts.lon, (LAT_REF, LAT, LON_REF, LON)),
        DIRECTION_REF: text("T"),
        DIRECTION: fractions((facts.heading_hundredths, 100)),
        DATUM: text("WGS-84"),
        METHOD_TAG: Value(_UNDEFINED, len(method), method),
        POSITIONING_ERROR: fractions((facts.radius_hundredths, 100)),
    }
    if facts.looks_at is not None:
        values |= position(*facts.looks_at, (DEST_LAT_REF, DEST_LAT, DEST_LON_REF, DEST_LON))
    if facts.altitude_m is not None:
        values[ALTITUDE_REF] = Value(_BYTE, 1, bytes((facts.altitude_m < 0.0,)))
        values[ALTITUDE] = fractions((round(abs(facts.altitude_m) * 100.0), 100))
    return values


def _sexagesimal(degrees: float) -> tuple[tuple[int, int], ...]:
    """Degrees, minutes and seconds as fractions, to a ten-thousandth of a second: 3 mm."""
    ticks = round(abs(degrees) * 36_000_000.0)
    return (ticks // 36_000_000, 1), (ticks // 600_000 % 60, 1), (ticks % 600_000, 10_000)
