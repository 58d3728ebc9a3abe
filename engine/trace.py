"""What one question went through on the way to its answer, kept only for those who ask (`GeoSearch.query(..., trace=Trace())`)."""

from __future__ import annotations

from dataclasses import dataclass, field

from crossgeo.engine.camera import Camera, Kind
from crossgeo.engine.clicks import Standing
from crossgeo.engine.evidence import Evidence
from crossgeo.engine.fine import Spot
from crossgeo.engine.place import Status
from crossgeo.engine.pose import Pose
from crossgeo.engine.status import Confidence
from crossgeo.indexer.grid import Bounds


@dataclass(frozen=True)
class Found:
    """What one way of looking at a photo led to."""

    camera: Camera
    spots: list[Spot]
    status: Status
    kind: Kind
    poses: tuple[Pose, ...] = ()  # that were tried: a street photo without ground has none
    evidence: Evidence | None = None  # once the places are settled
    confidence: Confidence | None = None  # where the index is calibrated for it
    missing: tuple[Bounds, ...] = ()  # areas that could not be looked at in time: west, south, east, north


@dataclass
class Trace:
    """All ways in which a photo was looked at, in order, and how it stood when objects were looked for."""

    looks: list[Found] = field(default_factory=list)
    best: Found | None = None  # the one that the answer is of, its status and best place as the answer has them
    there: Standing | None = None  # None where nothing was clicked, or the place was not believed
