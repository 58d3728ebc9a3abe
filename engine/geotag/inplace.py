"""A place written into a JPEG: its EXIF and XMP segments are spliced, every other byte stays, and a segment of ours holds the way back."""

from __future__ import annotations

from dataclasses import dataclass

from crossgeo.engine.geotag import xmp
from crossgeo.engine.geotag.edits import Back, Edit, apply, way_back
from crossgeo.engine.geotag.facts import Facts
from crossgeo.engine.geotag.jpeg import APP0, APP1, APP11, APP15, EXIF, XMP, Jpeg, Part, parse, segment
from crossgeo.engine.geotag.mpf import Pictures, pictures_of
from crossgeo.engine.geotag.tiff import Tiff, new_tiff

UNDO = b"crossgeo undo 1\0"
_EXTENDED = b"http://ns.adobe.com/xmp/extension/\0"
_BY_SIDECAR = "; write a sidecar instead"


@dataclass(frozen=True)
class Taken:
    """A JPEG with its metadata found."""

    jpeg: Jpeg
    exif: Part | None
    tiff: Tiff | None
    packet: Part | None
    pictures: Pictures | None

    @classmethod
    def apart(cls, data: bytes) -> Taken:
        """Take a file apart; raise ValueError, in words for people, where it is damaged or has what two of cannot be told apart."""
        jpeg = parse(data)
        exif, packet = _only(jpeg, EXIF, "EXIF"), _only(jpeg, XMP, "XMP")
        tiff = None if exif is None else Tiff(jpeg.body(exif)[len(EXIF) :])
        return cls(jpeg, exif, tiff, packet, pictures_of(jpeg))

    def has_position(self) -> bool:
        """Whether EXIF or XMP tells a position; raise ValueError where the XMP cannot be read."""
        if self.tiff is not None and self.tiff.has_position():
            return True
        return (self.packet is not None and xmp.has_position(self.jpeg.body(self.packet)[len(XMP) :])) or self.extended_position

    @property
    def extended_position(self) -> bool:
        """Whether the part of the XMP that did not fit into one segment speaks of one."""
        return any(b"GPSLatitude" in self.jpeg.body(part) for part in self.jpeg.find(APP1, _EXTENDED))


def with_place(taken: Taken, facts: Facts) -> bytes:
    """Return the file with a place written; raise ValueError, in words for people, where that would harm what it holds."""
    jpeg = taken.jpeg
    _check_harmless(taken)
    at = 2
    for part in jpeg.head:
        if part.marker != APP0 or part.start != at:
            break
        at = part.stop  # readers of JFIF want its segments first
    edits = _exif_edits(taken, facts, at) + _xmp_edits(taken, facts, at if taken.exif is None else taken.exif.stop)
    behind = max([at, *(part.stop for part in (taken.exif, taken.packet) if part is not None)])
    undo_bytes = 0
    for _ in range(3):  # what the undo holds depends on how long it is only where a size is corrected
        grown = sum(len(edit.new) - (edit.stop - edit.start) for edit in edits) + undo_bytes
        all_edits = [*edits, *([] if taken.pictures is None else taken.pictures.grown(grown))]
        undo = segment(APP15, UNDO + way_back(jpeg.data, all_edits).pack())
        if len(undo) == undo_bytes or taken.pictures is None:
            # Spliced in last, so that it stands behind what is written at the same place.
            return apply(jpeg.data, [*all_edits, Edit(behind, behind, undo)])
        undo_bytes = len(undo)
    raise ValueError(f"the size of its first picture does not settle{_BY_SIDECAR}")


def without_place(data: bytes) -> bytes | None:
    """Return a file as it was before a place was written; None where none was. Raise ValueError where that is not known any more."""
    jpeg = parse(data)
    undos = jpeg.find(APP15, UNDO)
    if not undos:
        return None
    undo = undos[0]  # the latest stands first
    back = Back.unpack(jpeg.body(undo)[len(UNDO) :])
    return back.restore(apply(data, [Edit(undo.start, undo.stop, b"")]))


def _only(jpeg: Jpeg, prefix: bytes, name: str) -> Part | None:
    parts = jpeg.find(APP1, prefix)
    if len(parts) > 1:
        raise ValueError(f"it has {len(parts)} segments of {name}")
    return parts[0] if parts else None


def _check_harmless(taken: Taken) -> None:
    """Refuse what a splice would break, or may: signatures, offsets counted across it, an extended position that would contradict."""
    jpeg = taken.jpeg
    if any(b"c2pa" in jpeg.body(part) for part in jpeg.head if part.marker == APP11):
        raise ValueError(f"it carries signed content credentials, which any change would break{_BY_SIDECAR}")
    if taken.extended_position:
        raise ValueError(f"its position stands in the extended XMP, which is not edited{_BY_SIDECAR}")
    last = max((part.stop for part in (taken.exif, taken.packet) if part is not None), default=0)
    if taken.pictures is not None and last > taken.pictures.base:
        raise ValueError(f"its EXIF stands behind the index of further pictures{_BY_SIDECAR}")
    behind = jpeg.data[jpeg.end :].lstrip(b"\0")
    listed = taken.pictures is not None and any(start >= jpeg.end for start in taken.pictures.starts())
    if behind.startswith(b"\xff\xd8") and not listed and taken.tiff is not None and taken.tiff.has_maker_note():
        raise ValueError(f"it hides a second picture behind the first, to which the maker's notes may point{_BY_SIDECAR}")


def _exif_edits(taken: Taken, facts: Facts, at: int) -> list[Edit]:
    """The edits that write EXIF; a new segment goes to `at`."""
    if taken.exif is None or taken.tiff is None:
        return [Edit(at, at, segment(APP1, EXIF + new_tiff(facts)))]
    return _within(taken.jpeg, taken.exif, len(EXIF), taken.tiff.edits(facts), "EXIF")


def _xmp_edits(taken: Taken, facts: Facts, at: int) -> list[Edit]:
    if taken.packet is None:
        return [Edit(at, at, segment(APP1, XMP + xmp.new_packet(facts, position=False)))]
    own = xmp.edits(taken.jpeg.body(taken.packet)[len(XMP) :], facts, position=False)
    return _within(taken.jpeg, taken.packet, len(XMP), own, "XMP")


def _within(jpeg: Jpeg, part: Part, skipped: int, edits: list[Edit], name: str) -> list[Edit]:
    """Edits of what a segment holds, behind its prefix, as edits of the file; its length with them."""
    length = part.stop - part.body + 2 + sum(len(edit.new) - (edit.stop - edit.start) for edit in edits)
    if length > 0xFFFF:
        raise ValueError(f"its {name} fills its segment, and a place does not fit in{_BY_SIDECAR}")
    told = Edit(part.body - 2, part.body, length.to_bytes(2, "big"))
    return [told, *(edit.moved(part.body + skipped) for edit in edits)]
