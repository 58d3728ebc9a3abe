"""What people are told of a status and of an object that is missing, in words: one definition for terminals, pictures and pages."""

from __future__ import annotations

STATUS_NAMES = {
    "located": "located",
    "ambiguous": "ambiguous",
    "low_confidence": "low confidence",
    "outside_coverage": "outside coverage",
}
STATUS_WORDS = {
    "located": "located",
    "ambiguous": "ambiguous: several places fit about equally well",
    "low_confidence": "low confidence: the best place is not to be relied on",
    "outside_coverage": "outside coverage: nothing in this index looks like the photo",
}
FOUND_NOTHING = "none: there is no imagery under the point, it is out of reach, or it shows nothing that was recognised"
_NOT_LOOKED_FOR = {
    "low_confidence": "not looked for: the place is too uncertain; --anyway looks there all the same",
    "outside_coverage": "not looked for: there is no place to look at",
}


def no_object(status: str, places: bool, anyway: bool) -> str:
    """Return why a click has no object; `places`: the answer has any; `anyway`: doubtful ones were to be looked at, too."""
    looked = status in ("located", "ambiguous") or (anyway and places)
    return FOUND_NOTHING if looked else _NOT_LOOKED_FOR[status]
