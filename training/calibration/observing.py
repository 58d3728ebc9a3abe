"""From answers to what a calibration is fitted to: evidence, distance from the truth, and the cell of ground, by kind of photo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.calibrate.calibration import KINDS
from crossgeo.engine.calibrate.fit import LEAST_CELLS, Seen, seen_of
from crossgeo.engine.camera import Kind
from crossgeo.engine.evidence import Evidence
from crossgeo.errors import InputError
from crossgeo.geodesy import distance_m, from_lat_lon
from crossgeo.indexer.index import GeoIndex
from crossgeo.training.calibration.known_photos import KnownPhoto, find_answer

CELLS_M = (200.0, 150.0, 100.0, 75.0, 50.0, 30.0)
ENOUGH_CELLS = 20
_APART_M = 1e8  # by which segments are held apart, whose metres are each their own


@dataclass(frozen=True)
class Observed:
    """Pairs of one kind with their true places (N, 2) in metres, and the side of the cells that they lie in."""

    seen: Seen
    xy: NDArray[np.float64]
    cell_m: float


@dataclass(frozen=True)
class Observations:
    """All pairs that can be used, and how many could not, by the reason."""

    kinds: dict[Kind, Observed] = field(default_factory=dict)
    left_out: dict[str, int] = field(default_factory=dict)
    reach_m: float = 0.0


def observe(
    index: GeoIndex, photos: Sequence[KnownPhoto], answers: Mapping[str, dict[str, Any]], models: Mapping[str, Any]
) -> Observations:
    """Join photos with their answers; raise InputError where none can be used, or answers are of other weights or of an older program."""
    rows: dict[Kind, list[tuple[Evidence, float, tuple[float, float]]]] = {kind: [] for kind in KINDS}
    gone: Counter[str] = Counter()
    for photo in photos:
        near = index.ids_near(photo.lat, photo.lon, index.tile_m)
        record = find_answer(answers, photo)
        if len(near) == 0:
            gone["taken outside of the index"] += 1
        elif record is None:
            gone["not among the answers"] += 1
        elif "error" in record:
            gone["that could not be answered"] += 1
        elif not record["places"]:
            gone["answered without a place"] += 1
        else:
            evidence = _evidence(record, models)
            best = record["places"][0]
            segment = index.segment_of(int(near[0]))
            x, y = from_lat_lon(segment.crs, photo.lat, photo.lon)
            away_m = distance_m(best["lat"], best["lon"], photo.lat, photo.lon)
            rows[evidence.kind].append((evidence, away_m, (x + _APART_M * segment.number, y)))
    kinds = {kind: _observed(own) for kind, own in rows.items() if own}
    if not kinds:
        why = ", ".join(f"{count} {reason}" for reason, count in gone.items())
        raise InputError(f"{index.path}: none of {len(photos)} photos can be used to calibrate it ({why}); give photos of its own ground")
    return Observations(kinds, dict(gone), reach_of(index))


def reach_of(index: GeoIndex) -> float:
    """Return the farthest that two places of an index can be apart, metres."""
    boxes = np.array([segment.bounds_lat_lon for segment in index.segments])
    corners = [(lat, lon) for south, west, north, east in boxes for lat in (south, north) for lon in (west, east)]
    return max(distance_m(*one, *other) for one in corners for other in corners) + 2.0 * index.tile_m


def _evidence(record: Mapping[str, Any], models: Mapping[str, Any]) -> Evidence:
    try:
        evidence = Evidence(**record["evidence"])
        model = record["index"]["model"]
    except (KeyError, TypeError) as error:
        raise InputError(f"{record.get('photo')}: its answer holds no evidence, as those of older versions; ask again") from error
    if evidence.kind not in models or models[evidence.kind]["name"] != model:
        raise InputError(f"{record['photo']}: was answered by {model}, not by the weights that are to be calibrated; ask again with them")
    return evidence


def _observed(rows: Sequence[tuple[Evidence, float, tuple[float, float]]]) -> Observed:
    xy = np.array([where for _, _, where in rows])
    cell_m = cell_side_m(xy)
    return Observed(seen_of([one for one, _, _ in rows], [away for _, away, _ in rows], cells_of(xy, cell_m).tolist()), xy, cell_m)


def cell_side_m(xy: NDArray[np.float64]) -> float:
    """Return the side of the largest cells of which (N, 2) places fill enough; else of which they fill as few as will do."""
    counts = {side: len(np.unique(cells_of(xy, side))) for side in CELLS_M}
    for least in (ENOUGH_CELLS, LEAST_CELLS):
        for side, count in counts.items():
            if count >= least:
                return side
    return CELLS_M[-1]


def cells_of(xy: NDArray[np.float64], side_m: float) -> NDArray[np.int64]:
    """Return the number of the cell that each of (N, 2) places lies in."""
    cells = np.floor(xy / side_m).astype(np.int64)
    return cells[:, 0] * (1 << 32) + cells[:, 1]
