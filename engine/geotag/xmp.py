"""XMP packets (ISO 16684-1) spliced: what others wrote stays byte for byte, ours is one more description in the same RDF.

No XML of a stranger is expanded: a packet with a document type is refused.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from xml.parsers import expat
from xml.sax.saxutils import quoteattr

from crossgeo.engine.geotag.edits import Edit
from crossgeo.engine.geotag.facts import METHOD, PROGRAM, Facts

OURS = "urn:crossgeo:xmp:1:"
EXIF_SPACE = "http://ns.adobe.com/exif/1.0/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_POSITION = {"GPSLatitude", "GPSLongitude"}
_REPLACED = _POSITION | {
    "GPSVersionID", "GPSMapDatum", "GPSImgDirection", "GPSImgDirectionRef", "GPSProcessingMethod", "GPSHPositioningError",
    "GPSSatellites", "GPSStatus", "GPSMeasureMode", "GPSDOP", "GPSDestLatitude", "GPSDestLongitude", "GPSAreaInformation",
}  # fmt: skip
_ATTRIBUTE = re.compile(rb"""\s+([\w.-]+:[\w.-]+)\s*=\s*("[^"]*"|'[^']*')""")
_BEGIN, _END = '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?>', '<?xpacket end="w"?>'


@dataclass
class _Seen:
    """What stands in a packet."""

    insert_at: int = -1  # where the RDF ends
    about: str | None = None
    position: bool = False
    theirs: list[Edit] = field(default_factory=list)  # edits that take away what would speak against our position
    ours: list[Edit] = field(default_factory=list)  # and what was written before


def has_position(packet: bytes) -> bool:
    """Whether a packet tells a position; raise ValueError where it cannot be read."""
    return _look(packet).position


def edits(packet: bytes, facts: Facts, position: bool) -> list[Edit]:
    """Return the edits that write a place into a packet; with `position`, or where it tells one, its own `exif:GPS...` too.

    Raises ValueError, in words for people, for a packet that is no well-formed XMP in UTF-8.
    """
    seen = _look(packet)
    added = _description(facts, position or seen.position, seen.about or "")
    gone = [*seen.ours, *(seen.theirs if position or seen.position else [])]
    out = [*gone, Edit(seen.insert_at, seen.insert_at, added.encode())]
    return sorted(out, key=lambda edit: edit.start)


def new_packet(facts: Facts, position: bool) -> bytes:
    """Return a packet with a place and nothing else."""
    inside = _description(facts, position, "")
    body = (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk={quoteattr(PROGRAM)}>\n<rdf:RDF xmlns:rdf="{_RDF}">\n{inside}</rdf:RDF>\n</x:xmpmeta>'
    )
    return f"{_BEGIN}\n{body}\n{_END}".encode()


def _description(facts: Facts, position: bool, about: str) -> str:
    own = {
        "Program": PROGRAM, "Status": facts.status, "HeadingDegrees": f"{facts.heading_deg:.1f}", "RadiusMetres": f"{facts.radius_m:.1f}",
        "Score": f"{facts.score:.4f}", "PositionOf": facts.position_of, "Model": facts.model, "IndexGeneration": str(facts.generation),
    }  # fmt: skip
    rows = [f"crossgeo:{name}={quoteattr(value)}" for name, value in own.items()]
    spaces = f'xmlns:crossgeo="{OURS}"'
    if position:
        spaces += f' xmlns:exif="{EXIF_SPACE}"'
        rows += [f"exif:{name}={quoteattr(value)}" for name, value in _position(facts).items()]
    inside = "\n   ".join(rows)
    return f'<rdf:Description xmlns:rdf="{_RDF}" rdf:about={quoteattr(about)} {spaces}\n   {inside}/>\n'


def _position(facts: Facts) -> dict[str, str]:
    values = {
        "GPSVersionID": "2.3.0.0", "GPSLatitude": _minutes(facts.lat, "NS"), "GPSLongitude": _minutes(facts.lon, "EW"),
        "GPSMapDatum": "WGS-84", "GPSImgDirection": f"{facts.heading_hundredths}/100", "GPSImgDirectionRef": "T",
        "GPSProcessingMethod": METHOD, "GPSHPositioningError": f"{facts.radius_hundredths}/100",
    }  # fmt: skip
    if facts.looks_at is not None:
        values |= {"GPSDestLatitude": _minutes(facts.looks_at[0], "NS"), "GPSDestLongitude": _minutes(facts.looks_at[1], "EW")}
    if facts.altitude_m is not None:
        values |= {"GPSAltitude": f"{round(abs(facts.altitude_m) * 100.0)}/100", "GPSAltitudeRef": str(int(facts.altitude_m < 0.0))}
    return values


def _minutes(degrees: float, ends: str) -> str:
    """Degrees and minutes as XMP writes them: 46,50.5556426N."""
    ticks = round(abs(degrees) * 600_000_000.0)
    return f"{ticks // 600_000_000},{ticks % 600_000_000 / 10_000_000.0:.7f}{ends[degrees < 0.0]}"


def _look(packet: bytes) -> _Seen:
    """Read a packet as far as an edit needs."""
    if b"<!" in _without_comments(packet):
        raise ValueError("its XMP has a document type or the like, which is not read")
    try:
        packet.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ValueError("its XMP is not in UTF-8") from error
    seen, open_tags, prefixes = _Seen(), list[tuple[str, int]](), dict[str, set[str]]()
    parser = expat.ParserCreate("utf-8", namespace_separator=" ")
    rdf, described, about = f"{_RDF} RDF", f"{_RDF} Description", f"{_RDF} about"
    drop = {f"{EXIF_SPACE} {name}" for name in _REPLACED}

    def starts_space(prefix: str | None, space: str) -> None:
        prefixes.setdefault(space, set()).add(prefix or "")

    def opened(name: str, attributes: dict[str, str]) -> None:
        at = parser.CurrentByteIndex
        inside = [tag for tag, _ in open_tags]
        open_tags.append((name, at))
        if name == described and inside and inside[-1] == rdf:
            seen.about = attributes.get(about, seen.about)
            seen.position |= any(f"{EXIF_SPACE} {tag}" in attributes for tag in _POSITION)
            for gone, keys in ((seen.theirs, drop & attributes.keys()), (seen.ours, {key for key in attributes if key.startswith(OURS)})):
                split = [key.rsplit(" ", 1) for key in keys]
                names = {f"{prefix}:{name}".encode() for space, name in split for prefix in prefixes.get(space, ())}
                gone.extend(_attributes(packet, at, names))
        if len(inside) > 1 and inside[-2:] == [rdf, described]:
            seen.position |= name in {f"{EXIF_SPACE} {tag}" for tag in _POSITION}

    def closed(name: str) -> None:
        at = parser.CurrentByteIndex
        _, began = open_tags.pop()
        inside = [tag for tag, _ in open_tags]
        start_ends = _end_of_tag(packet, began)
        empty = packet[start_ends - 2 : start_ends] == b"/>"  # of such a tag the parser tells its end as the place where it is closed
        if name == rdf and not empty:
            seen.insert_at = at
        if inside[-2:] == [rdf, described] and (name in drop or name.startswith(OURS)):
            gone = seen.theirs if name in drop else seen.ours
            gone.append(Edit(began, start_ends if empty else _end_of_tag(packet, at), b""))

    parser.StartNamespaceDeclHandler, parser.StartElementHandler, parser.EndElementHandler = starts_space, opened, closed
    try:
        parser.Parse(packet.rstrip(b"\0"), True)
    except (expat.ExpatError, ValueError) as error:
        raise ValueError("its XMP is not well-formed") from error
    if seen.insert_at < 0:
        raise ValueError("its XMP holds no RDF that could be added to")
    return seen


def _without_comments(packet: bytes) -> bytes:
    return re.sub(rb"<!--.*?-->|<!\[CDATA\[.*?\]\]>", b"", packet, flags=re.DOTALL)


def _end_of_tag(packet: bytes, at: int) -> int:
    """Just past the `>` of a tag, whose values may hold others."""
    quote = b""
    while True:
        sign = packet[at : at + 1]
        if not quote and sign == b">":
            return at + 1
        if sign in (b'"', b"'"):
            quote = sign if not quote else b"" if quote == sign else quote
        at += 1


def _attributes(packet: bytes, at: int, names: Iterable[bytes]) -> list[Edit]:
    """The edits that take attributes out of a start tag."""
    wanted = set(names)
    found = _ATTRIBUTE.finditer(packet, at, _end_of_tag(packet, at))
    return [Edit(match.start(), match.end(), b"") for match in found if match[1] in wanted]
