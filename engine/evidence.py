"""Evidence: what an answer's confidence is judged from, numbers of its best place and of those beside it; part of the answer's JSON."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from crossgeo.engine.camera import Kind


@dataclass(frozen=True)
class Evidence:
    """What is known of the best place without the truth, rounded as in the JSON: a file of answers says all that the engine knew."""

    kind: Kind
    score: float  # of the best place
    cosine: float  # of its descriptors
    fit: float | None  # of its feature maps; None where they were not compared
    margin: float | None  # lead over the second place; None for the only one
    rivals: int  # places beside the best (`evidence_of.BESIDE`) that score nearly as much
    overlap: float  # share of the ground in the photo that lies on imagery, 0 to 1
    seen_m: float  # about how wide the ground is that the photo shows
    spread_m: float  # of the best cells: the radius before calibration
    poses: int  # that were tried: more of them fit by chance

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)
