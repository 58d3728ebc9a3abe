"""What the XML formats, KML and GPX, share: text that any parser takes, and what is said of a photo in words."""

from __future__ import annotations

import re
from xml.sax.saxutils import escape

from crossgeo.engine.output.rows import Record

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, section 2.2


def text(value: object) -> str:
    """Return a value as XML character data, fit for an attribute in double quotes; what XML cannot hold becomes U+FFFD."""
    return escape(_NOT_XML.sub("\ufffd", str(value)), {'"': "&quot;"})


def words(row: Record) -> str:
    """Return what a person wants to read of a flat row."""
    if "error_message" in row:
        return str(row["error_message"])
    said = [str(row["status"]).replace("_", " ")]
    if "radius_m" in row:
        said.append(f"within {row['radius_m']:g} m, heading {row['heading_deg']:.0f}°, score {row['score']:.3f}")
    if "object_width_m" in row:
        said.append(f"object {row['object_width_m']:.1f} x {row['object_height_m']:.1f} m, confidence {row['object_confidence']:.2f}")
    return "; ".join([*said, *([row["notes"]] if row.get("notes") else [])])
