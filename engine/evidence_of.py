"""Making evidence: what a search knows of its best place, measured once the places are settled."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from crossgeo.engine.camera import Kind
from crossgeo.engine.evidence import Evidence
from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.status import margin_of
from crossgeo.indexer.index import GeoIndex

BESIDE = 4  # places after the best that are looked at, however many are asked for
RIVAL_GAP = 0.1  # a place that scores this little less is a rival
FARTHEST_M = 60.0  # of the ground that a photo shows, where its overlap with the imagery is measured
_CELLS = 48  # across that ground


def evidence_of(index: GeoIndex, photo: Photo, kind: Kind, spots: Sequence[Spot], poses: int) -> Evidence | None:
    """Return the evidence of places, best first; None where there are none. `poses` is how many were tried."""
    if not spots:
        return None
    best, scores = spots[0], [spot.merit for spot in spots[: 1 + BESIDE]]
    return Evidence(
        kind=kind,
        score=round(best.merit, 4),
        cosine=round(best.score, 4),
        fit=None if best.fit is None else round(best.fit, 4),
        margin=round(margin_of(scores), 4) if len(scores) > 1 else None,
        rivals=sum(score >= scores[0] - RIVAL_GAP for score in scores[1:]),
        overlap=round(overlap_of(index, photo, best), 3),
        seen_m=round(best.pose.seen_m, 1),
        spread_m=round(best.radius_m, 2),
        poses=poses,
    )


def overlap_of(index: GeoIndex, photo: Photo, spot: Spot) -> float:
    """Return the share of the ground in a photo, as far as FARTHEST_M from its place, that lies on imagery there."""
    half = spot.pose.seen_m / 2.0
    corners = spot.pose.outline_m(photo) or [(-half, -half), (half, -half), (half, half), (-half, half)]
    outline = np.array(corners).clip(-FARTHEST_M, FARTHEST_M)
    reach_m = max(float(np.abs(outline).max()), 1.0)
    _, valid = index.read_window(spot.segment, spot.x, spot.y, 2.0 * reach_m, _CELLS)
    cells = (outline * (1.0, -1.0) / reach_m + 1.0) * (_CELLS / 2.0) - 0.5
    shown = np.zeros((_CELLS, _CELLS), np.uint8)
    cv2.fillPoly(shown, [np.round(cells).astype(np.int32)], 1)
    return float(valid[shown > 0].mean())
