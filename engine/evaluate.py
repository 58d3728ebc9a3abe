"""Measuring answers against truth: recall at distances, metres, IoU of objects, status.

A tie is never a hit: where a wrong place scores as high as a right one, the wrong one counts as standing before it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
from shapely.errors import GEOSException
from shapely.geometry import shape

from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.status import margin_of
from crossgeo.errors import InputError
from crossgeo.geodesy import distance_m

RECALL_M = (5.0, 10.0, 15.0, 25.0)
RECALL_AT = (1, 5)
NEAR_M = 25.0  # a place this near the truth is right for recall at k
IOUS = (0.25, 0.5)


@dataclass(frozen=True)
class Truth:
    """A photo and where it was taken; with a point, the polygon of the object there."""

    photo: Path | Photo
    lat: float
    lon: float
    heading_deg: float | None = None
    point: tuple[float, float] | None = None
    polygon: dict[str, Any] | None = None  # GeoJSON
    query: dict[str, Any] = field(default_factory=dict)  # what else the question says, as GeoSearch.query takes it


@dataclass(frozen=True)
class Row:
    """How one answer compares with its truth."""

    photo: str
    status: str
    score: float | None
    margin: float | None  # lead over the next place; None with fewer than two
    metres: float | None  # from the best place to the truth; None without a place
    rank: int | None  # of the first place within NEAR_M, ties counted against it; None when there is none
    radius_m: float | None
    heading_error_deg: float | None
    iou: float | None  # of a clicked object, 0 when none was found; None without a click
    took_ms: float


def evaluate(search: GeoSearch, truths: Iterable[Truth], top: int = 5) -> Iterator[Row]:
    """Ask about each photo and compare; a row at a time, nothing is held. A photo that cannot be read raises: truth lists are ours."""
    for truth in truths:
        answer = search.query(truth.photo, point=truth.point, top=top, **truth.query)
        yield compare(answer, truth)


def compare(answer: Answer, truth: Truth) -> Row:
    """Return how an answer compares with its truth."""
    away = [distance_m(place.lat, place.lon, truth.lat, truth.lon) for place in answer.places]
    scores = [place.score for place in answer.places]
    best = answer.places[0] if answer.places else None
    turned = None
    if best is not None and truth.heading_deg is not None:
        turned = abs((best.heading_deg - truth.heading_deg + 180.0) % 360.0 - 180.0)
    iou = None
    if truth.polygon is not None:
        iou = polygon_iou(answer.found.polygon, truth.polygon) if answer.found is not None else 0.0
    margin = margin_of(scores) if len(scores) > 1 else None
    return Row(
        answer.photo, answer.status, scores[0] if scores else None, margin, away[0] if away else None, rank_of_right(scores, away),
        best.radius_m if best else None, turned, iou, answer.timings_ms.get("total", 0.0),
    )  # fmt: skip


def rank_of_right(scores: Sequence[float], away_m: Sequence[float], near_m: float = NEAR_M) -> int | None:
    """Return the rank, from 1, of the best-scored place within `near_m`; wrong places of the same score stand before it."""
    right = [score for score, metres in zip(scores, away_m, strict=True) if metres <= near_m]
    if not right:
        return None
    return 1 + sum(score >= max(right) for score, metres in zip(scores, away_m, strict=True) if metres > near_m)


def summary(rows: Iterable[Row]) -> dict[str, Any]:
    """Return the numbers over all rows: recall, metres, IoU, status counts, how often the radius held, latency."""
    kept = list(rows)
    if not kept:
        raise InputError("there is nothing to evaluate: the truth list is empty")
    count = len(kept)
    metres = [row.metres for row in kept]
    # Rivals stand apart, so a best place that ties with another is no hit, however near it is.
    firm = [math.inf if row.metres is None or (row.margin is not None and row.margin <= 0.0) else row.metres for row in kept]
    found = [m for m in metres if m is not None]
    clicked = [row.iou for row in kept if row.iou is not None]
    turned = [row.heading_error_deg for row in kept if row.heading_error_deg is not None]
    held = [row.metres <= row.radius_m for row in kept if row.metres is not None and row.radius_m is not None and row.status == "located"]
    statuses = sorted({row.status for row in kept})
    return {
        "photos": count,
        "within_m": {f"{limit:g}": sum(m <= limit for m in firm) / count for limit in RECALL_M},
        f"recall_within_{NEAR_M:g}_m": {str(k): sum(row.rank is not None and row.rank <= k for row in kept) / count for k in RECALL_AT},
        "median_m": median(found) if found else None,
        "quartiles_m": [float(q) for q in np.percentile(found, [25, 75])] if found else None,
        "median_heading_error_deg": median(turned) if turned else None,
        "iou_at_least": {f"{limit:g}": sum(iou >= limit for iou in clicked) / len(clicked) for limit in IOUS} if clicked else None,
        "median_iou": median(clicked) if clicked else None,
        "status": {status: sum(row.status == status for row in kept) for status in statuses},
        "located_and_wrong": sum(row.status == "located" and (row.metres is None or row.metres > NEAR_M) for row in kept),
        "radius_held": sum(held) / len(held) if held else None,
        "median_ms": median(row.took_ms for row in kept),
    }


def row_json(row: Row) -> dict[str, Any]:
    """Return a row as plain data."""
    return asdict(row)


def polygon_iou(mine: dict[str, Any], other: dict[str, Any]) -> float:
    """Return the intersection over union of two GeoJSON polygons; as a ratio it is the same in degrees, for small polygons.

    Raises InputError when one is no valid polygon.
    """
    try:
        a, b = shape(mine), shape(other)
        union = a.union(b).area
        return float(a.intersection(b).area / union) if union > 0.0 else 0.0
    except (GEOSException, ValueError, TypeError, KeyError, AttributeError, IndexError) as error:
        raise InputError(f"not a GeoJSON polygon that can be measured: {error}") from error
