"""Answers: where a photo was taken, which object was clicked, how sure we are; their one JSON (docs/formats.md, Answers)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from crossgeo.engine.evidence import Evidence
from crossgeo.engine.pose import Pose
from crossgeo.errors import GeoError
from crossgeo.indexer.grid import Bounds

Status = Literal["located", "ambiguous", "low_confidence", "outside_coverage"]


@dataclass(frozen=True)
class Place:
    """A place where a photo may have been taken: the ground at a drone photo's centre, the camera of a street photo.

    A photo has several, best first, in `Answer.places`. Angles are degrees, lengths metres of ground.

    ```python
    place = answer.places[0]
    print(f"{place.lat:.6f}, {place.lon:.6f}, {place.radius_m:.0f} m, looking {place.heading_deg:.0f} degrees from north")
    ```
    """

    lat: float  # WGS 84 degrees
    lon: float  # WGS 84 degrees
    radius_m: float  # nine of ten true places lie within it where there is a probability, else two of three
    heading_deg: float  # of a drone photo's upper edge, of a street photo's middle column, clockwise from true north
    score: float  # -1 to 1: a third of the descriptors' cosine and two of how far all of the photo agrees (fine.Spot.merit)
    tile: int  # id in the index of the tile that led here
    pose: Pose  # as matched, against grid north; this alone is not in the JSON
    camera: tuple[float, float] | None = None  # (lat, lon) of the camera: of a drone where its tilt and height are known
    source: str | None = None  # the imagery that shows there; None where there is none
    vintage: str | None = None  # when that was taken, where its index says so
    probability: Mapping[float, float] | None = None  # of lying within 5, 10, 25, 50 m of the truth; of a calibrated index's best place

    def to_json(self) -> dict[str, Any]:
        """Return the place as the answer's JSON writes it."""
        return {
            "lat": round(self.lat, 7),
            "lon": round(self.lon, 7),
            "radius_m": round(self.radius_m, 1),
            "heading_deg": round(self.heading_deg, 1) % 360.0,
            "camera": None if self.camera is None else {"lat": round(self.camera[0], 7), "lon": round(self.camera[1], 7)},
            "score": round(self.score, 4),
            "probability": None if self.probability is None else {f"{m:g}": round(p, 4) for m, p in self.probability.items()},
            "tile": self.tile,
            "source": self.source,
            "vintage": self.vintage,
        }


@dataclass(frozen=True)
class FoundObject:
    """The clicked object on the aerial image, as a box along the grid of the index's CRS; `Answer.found`.

    ```python
    if answer.found is not None:
        print(answer.found.polygon["coordinates"][0], answer.found.width_m, answer.found.height_m)
    ```
    """

    lat: float  # of the box's centre
    lon: float  # of the box's centre
    box_px: tuple[float, float, float, float]  # x0, y0, x1, y1 in the window of imagery that was read, pixel edges, x right, y down
    polygon: dict[str, Any]  # GeoJSON Polygon, lon and lat
    width_m: float  # east-west
    height_m: float  # north-south
    confidence: float  # 0 to 1
    bearing_deg: float | None = None  # of the click from the best place's camera, clockwise from true north (sights.bearing_deg)

    def to_json(self) -> dict[str, Any]:
        """Return the object as the answer's JSON writes it."""
        return {
            "lat": round(self.lat, 7),
            "lon": round(self.lon, 7),
            "box_px": [round(edge, 1) for edge in self.box_px],
            "polygon": self.polygon,
            "width_m": round(self.width_m, 2),
            "height_m": round(self.height_m, 2),
            "confidence": round(self.confidence, 4),
            "bearing_deg": None if self.bearing_deg is None else round(self.bearing_deg, 2) % 360.0,
        }


@dataclass(frozen=True)
class Clicked:
    """One of several points that were asked about, and what stands there."""

    point: tuple[float, float]  # x, y in the photo's upright full-size pixels
    found: FoundObject | None = None
    notes: tuple[str, ...] = ()  # about this point, as the answer's own
    error: GeoError | None = None  # why there can be no object at this point: it lies outside of the photo, or shows sky

    def to_json(self) -> dict[str, Any]:
        """Return the point as the answer's JSON writes it."""
        out = {"point": list(self.point), "object": self.found.to_json() if self.found else None, "notes": list(self.notes)}
        return out if self.error is None else {**out, **_error(self.error)}


@dataclass(frozen=True)
class Answer:
    """Everything that one question gives; `places` best first and never hidden by the status.

    The status says what may be done with it. "located": rely on the first place. "ambiguous": another place fits about as well, so look at
    both. "low_confidence": the best place is doubtful. "outside_coverage": the photo shows nothing of this index, or of where it was looked
    for, and there is no place.

    ```python
    if answer.status == "located":
        print(answer.places[0].lat, answer.places[0].lon)
    else:
        print(answer.photo, answer.status, *answer.notes)
    ```
    """

    photo: str  # the file's name, or that under which it was asked
    status: Status  # "located", "ambiguous", "low_confidence" or "outside_coverage"
    places: tuple[Place, ...]  # best first, at least 25 m apart
    found: FoundObject | None  # at the point that was asked about; None without one, and where `notes` says why
    generation: int  # of the index that answered
    model: str  # name of the weights that answered
    timings_ms: dict[str, float] = field(default_factory=dict)  # milliseconds by stage and in "total"
    notes: tuple[str, ...] = ()  # what was guessed, ignored or is not to be relied on, a line each for people
    objects: tuple[Clicked, ...] = ()  # of several points, in their order; `found` is then the first one's
    evidence: Evidence | None = None  # what the confidence was judged from; None without a place
    partial: tuple[Bounds, ...] = ()  # areas not looked at, since nobody who holds them answered in time: west, south, east, north, degrees

    def to_json(self) -> dict[str, Any]:
        """Return the one JSON of an answer (docs/formats.md, Answers)."""
        return {
            "photo": self.photo,
            "status": self.status,
            "places": [place.to_json() for place in self.places],
            "object": self.found.to_json() if self.found else None,
            **({"objects": [clicked.to_json() for clicked in self.objects]} if self.objects else {}),
            "notes": list(self.notes),
            **({"partial": [[round(edge, 6) for edge in area] for area in self.partial]} if self.partial else {}),
            "evidence": self.evidence.to_json() if self.evidence else None,
            "index": {"generation": self.generation, "model": self.model},
            "timings_ms": {stage: round(took, 1) for stage, took in self.timings_ms.items()},
        }


def error_json(photo: str, error: GeoError) -> dict[str, Any]:
    """Return what stands in the stream for a photo that failed."""
    return {"photo": photo, **_error(error)}


def _error(error: GeoError) -> dict[str, Any]:
    return {"error": {"type": type(error).__name__, "message": str(error)}}
