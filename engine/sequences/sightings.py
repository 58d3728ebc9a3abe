"""What records (answers' JSON) say of clicked objects: boxes, and rays where the camera's place and the bearing are known."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.sequences.rays import TWO_OF_THREE

Record = dict[str, Any]
Float = NDArray[np.float64]
BELIEVED = ("located",)
_SEMI_MAJOR_M, _ECCENTRICITY2 = 6_378_137.0, 0.00669437999014


@dataclass(frozen=True)
class Sighting:
    """One click that led to a box or a ray."""

    record: int
    point: int | None  # its number among several points of the photo
    box: Float | None  # (4, 2) corners, lon and lat
    confidence: float
    camera: tuple[float, float] | None  # lon, lat
    camera_sigma_m: float
    bearing_deg: float | None


def sightings_of(records: Sequence[Record], statuses: Sequence[str] = BELIEVED) -> Iterator[Sighting]:
    """Yield the sightings of records whose place is to be believed."""
    for number, record in enumerate(records):
        if record.get("status") not in statuses or not record.get("places"):
            continue
        place = record["places"][0]
        camera = place.get("camera")
        at = None if camera is None else (float(camera["lon"]), float(camera["lat"]))
        sigma_m = float(place["radius_m"]) / TWO_OF_THREE
        rows = (
            [(k, row.get("object")) for k, row in enumerate(record["objects"])] if "objects" in record else [(None, record.get("object"))]
        )
        for point, thing in rows:
            if thing:
                corners = np.array(thing["polygon"]["coordinates"][0][:4], np.float64)
                corners = np.roll(corners, -int(corners.sum(axis=1).argmin()), axis=0)  # all from the south-west, so that means are boxes
                bearing = thing.get("bearing_deg") if at is not None else None
                yield Sighting(number, point, corners, float(thing["confidence"]), at, sigma_m, bearing)
        kept = (record.get("sequence") or {}).get("bearing_deg")
        if kept is not None and at is not None:  # its object was looked for at a place that is not the first any more
            yield Sighting(number, None, None, 0.0, at, sigma_m, float(kept))


def metres_a_degree(lat: Float) -> Float:
    """Return the metres (..., 2) of a degree of longitude and of latitude at latitudes."""
    sine = np.sin(np.radians(lat))
    root = np.sqrt(1.0 - _ECCENTRICITY2 * sine**2)
    east = _SEMI_MAJOR_M / root * np.cos(np.radians(lat))
    north = _SEMI_MAJOR_M * (1.0 - _ECCENTRICITY2) / root**3
    return np.asarray(np.radians(np.stack([east, north], axis=-1)), np.float64)


def turned(degrees: Float) -> Float:
    """Return differences of longitudes the short way round."""
    return np.asarray((degrees + 180.0) % 360.0 - 180.0, np.float64)


class Plane:
    """Metres east and north around a place, true to a centimetre within some hundreds of metres."""

    def __init__(self, lon: float, lat: float) -> None:
        """Lay it at a place."""
        self.lon, self.lat = lon, lat
        self.metres = metres_a_degree(np.array(lat))

    def put(self, lon_lat: Float) -> Float:
        """Return (..., 2) lon and lat as metres."""
        return np.asarray(np.stack([turned(lon_lat[..., 0] - self.lon), lon_lat[..., 1] - self.lat], axis=-1) * self.metres, np.float64)

    def back(self, metres: Float) -> Float:
        """Return (..., 2) metres as lon and lat."""
        degrees = metres / self.metres + np.array([self.lon, self.lat])
        degrees[..., 0] = turned(degrees[..., 0])
        return np.asarray(degrees, np.float64)
