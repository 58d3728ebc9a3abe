"""The index of further pictures in one JPEG file (Multi-Picture Format, CIPA DC-007): what it says of sizes, and how that is corrected."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from crossgeo.engine.geotag.edits import Edit
from crossgeo.engine.geotag.jpeg import APP2, Jpeg

PREFIX = b"MPF\0"
_ENTRIES = 0xB002
_MOST = 1000


@dataclass(frozen=True)
class Pictures:
    """Where the index lies, which all its offsets count from, and its entries (size, offset), each with its place in the file."""

    base: int
    order: str
    entries: tuple[tuple[int, int, int], ...]  # at, size, offset

    def grown(self, by: int) -> list[Edit]:
        """Return the edit that corrects the size of the first picture once it has grown before its own index."""
        at, size, _ = self.entries[0]
        return [Edit(at + 4, at + 8, struct.pack(f"{self.order}L", size + by))] if size else []

    def starts(self) -> set[int]:
        """Return where in the file the further pictures begin."""
        return {self.base + offset for _, size, offset in self.entries if offset and size}


def pictures_of(jpeg: Jpeg) -> Pictures | None:
    """Return the index of a file's pictures; None where there is none. Raise ValueError where it is damaged."""
    parts = jpeg.find(APP2, PREFIX)
    if not parts:
        return None
    if len(parts) > 1:
        raise ValueError("it has two indexes of further pictures")
    body = jpeg.body(parts[0])[len(PREFIX) :]
    base = parts[0].body + len(PREFIX)
    try:
        order = {b"II*\0": "<", b"MM\0*": ">"}[body[:4]]
        (first,) = struct.unpack_from(f"{order}L", body, 4)
        (many,) = struct.unpack_from(f"{order}H", body, first)
        for number in range(min(many, _MOST)):
            tag, _, count, offset = struct.unpack_from(f"{order}HHLL", body, first + 2 + 12 * number)
            if tag == _ENTRIES and 16 <= count <= 16 * _MOST:
                rows = [struct.unpack_from(f"{order}LLL", body, offset + 16 * k) for k in range(count // 16)]
                return Pictures(base, order, tuple((base + offset + 16 * k, row[1], row[2]) for k, row in enumerate(rows)))
    except (KeyError, struct.error) as error:
        raise ValueError("its index of further pictures is damaged") from error
    raise ValueError("its index of further pictures is damaged")
