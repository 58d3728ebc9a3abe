"""Sidecars: an XMP file beside a photo, named after all of it (`photo.jpg.xmp`), with the way back in an instruction at its end."""

from __future__ import annotations

import base64
import binascii
import re

from crossgeo.engine.geotag import xmp
from crossgeo.engine.geotag.edits import Back, Edit, apply, way_back
from crossgeo.engine.geotag.facts import Facts

_UNDO = re.compile(rb"\n<\?crossgeo-undo ([A-Za-z0-9+/=]+)\?>\n?\Z")


def with_place(old: bytes | None, facts: Facts) -> bytes:
    """Return a sidecar with a place, new or from one that is there; raise ValueError where that is no XMP that could be added to."""
    if old is None:
        new = xmp.new_packet(facts, position=True)
        back = way_back(b"", [Edit(0, 0, new)])
    else:
        edits = xmp.edits(old, facts, position=True)
        new, back = apply(old, edits), way_back(old, edits)
    return new + b"\n<?crossgeo-undo " + base64.b64encode(back.pack()) + b"?>\n"


def without_place(data: bytes) -> bytes | None:
    """Return a sidecar as it was before a place was written, empty where there was none; None where none of ours was written.

    Raises ValueError where that is not known any more.
    """
    found = _UNDO.search(data)
    if found is None:
        return None
    try:
        packed = base64.b64decode(found[1], validate=True)
    except binascii.Error as error:
        raise ValueError("what would undo the writing is damaged") from error
    return Back.unpack(packed).restore(data[: found.start()])
