"""What of an answer is written into a photo's metadata, from its JSON (docs/formats.md, Answers)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from crossgeo import __version__

PROGRAM = f"crossgeo {__version__}"
METHOD = "MANUAL"  # of the four words that EXIF has for it (GPS, CELLID, WLAN, MANUAL) the one for none of the others
CAMERA, GROUND = "camera", "ground at the photo's centre"
BELIEVED = ("located",)


@dataclass(frozen=True)
class Facts:
    """A place to write: degrees of WGS 84, metres."""

    lat: float
    lon: float
    heading_deg: float  # of a drone photo's upper edge, of a street photo's middle column, clockwise from true north
    radius_m: float
    status: str
    score: float
    model: str
    generation: int
    position_of: str  # CAMERA, or GROUND of a drone photo whose camera's place is not known
    looks_at: tuple[float, float] | None = None  # (lat, lon) of the ground at a drone photo's centre, where the position is the camera's
    altitude_m: float | None = None  # above the sea, where the answer says so

    @property
    def heading_hundredths(self) -> int:
        """The heading in hundredths of a degree, 0 to 35,999."""
        return round(self.heading_deg * 100.0) % 36_000

    @property
    def radius_hundredths(self) -> int:
        """The radius in centimetres, rounded up, at least 1."""
        return max(1, math.ceil(self.radius_m * 100.0 - 1e-6))


def facts_of(record: dict[str, Any], unsure: bool = False) -> Facts | None:
    """Return what is to be written of an answer; None where it is not to be believed, or `unsure`, where it has no place at all."""
    places = record.get("places") or []
    if not places or (record["status"] not in BELIEVED and not unsure):
        return None
    place, camera = places[0], places[0].get("camera")
    here = (place["lat"], place["lon"])
    stood = here if camera is None else (camera["lat"], camera["lon"])
    return Facts(
        *stood,
        heading_deg=place["heading_deg"],
        radius_m=place["radius_m"],
        status=record["status"],
        score=place["score"],
        model=record["index"]["model"],
        generation=record["index"]["generation"],
        position_of=GROUND if camera is None else CAMERA,
        looks_at=None if stood == here else here,
        altitude_m=place.get("altitude_m"),
    )
