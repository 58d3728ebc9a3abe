"""Records (answers' JSON) as drives: photos of one group in order, with their rivals on the earth, as a trellis to find a path through."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.sequences.options import SequenceOptions
from crossgeo.engine.sequences.path import Trellis

Record = dict[str, Any]
Float = NDArray[np.float64]
LEAST_SLACK_M = 5.0
SLACK_RADII = 1.5  # two of three places lie within one radius
_EQUATOR_M, _FLATTENING = 6_378_137.0, 1.0 / 298.257223563


@dataclass(frozen=True)
class Drive:
    """Photos of a group in order."""

    group: str
    numbers: list[int]  # of the records
    times_s: Float | None  # (T,), None where they are not known
    whole_seconds: bool


def drives_of(records: Sequence[Record]) -> list[Drive]:
    """Return the drives in the order in which their groups first appear; records without a group go by the folders of their photos.

    A drive is in order of time where all of its photos say when they were taken, else in the records' order. Records of errors are gaps.
    """
    groups: dict[str, list[int]] = {}
    for number, record in enumerate(records):
        if "error" not in record:
            groups.setdefault(str(record.get("group") or _folder(record)), []).append(number)
    out = []
    for group, numbers in groups.items():
        moments = [_moment(records[number].get("taken")) for number in numbers]
        known = [moment for moment in moments if moment is not None]
        naive = {moment.tzinfo is None for moment in known}
        if len(known) < len(numbers) or len(naive) != 1:  # local times and such with an offset do not compare
            out.append(Drive(group, numbers, None, False))
            continue
        seconds = np.array([(moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() for moment in known])
        order = np.argsort(seconds, kind="stable")
        whole = all(moment.microsecond == 0 for moment in known)
        out.append(Drive(group, [numbers[k] for k in order.tolist()], seconds[order], whole))
    return out


def trellis_of(records: Sequence[Record], drive: Drive, options: SequenceOptions) -> Trellis:
    """Return the rivals of a drive's photos with what they and the ways between them weigh."""
    photos = [records[number]["places"] for number in drive.numbers]
    many, k = len(photos), max((len(places) for places in photos), default=0)
    scores, radii, headings = np.full((many, k), -np.inf), np.zeros((many, k)), np.zeros((many, k))
    for t, places in enumerate(photos):
        for rank, place in enumerate(places):
            scores[t, rank], radii[t, rank], headings[t, rank] = place["score"], place["radius_m"], place["heading_deg"]
    best = scores.max(axis=1, initial=-np.inf, keepdims=True)
    rivals = np.where(np.isfinite(scores), (scores - np.where(np.isfinite(best), best, 0.0)) / options.temperature, -np.inf)
    points = points_of(records, drive)
    links = []
    for gap in range(1, options.max_gap + 1):
        if drive.times_s is None:
            reach_m = np.full(max(0, many - gap), gap * options.max_step_m)
        else:
            rounding_s = 1.0 if drive.whole_seconds else 0.0
            reach_m = (drive.times_s[gap:] - drive.times_s[:-gap] + rounding_s)[: max(0, many - gap)] * options.max_speed_m_s
        links.append(_link(points, radii, headings, gap, reach_m, options))
    return Trellis(rivals, tuple(links), options.none_nats, options.begin_nats)


def points_of(records: Sequence[Record], drive: Drive) -> Float:
    """Return where the cameras of a drive's photos stood for each rival, (T, K, 3) metres on the earth; 0 where there is no rival."""
    photos = [records[number]["places"] for number in drive.numbers]
    lat_lon = np.zeros((len(photos), max((len(places) for places in photos), default=0), 2))
    for t, places in enumerate(photos):
        for rank, place in enumerate(places):
            at = place.get("camera") or place
            lat_lon[t, rank] = at["lat"], at["lon"]
    return _on_earth(lat_lon)


def strays_m(points: Float, ranks: NDArray[np.int64], links: NDArray[np.int64], times_s: Float | None) -> Float:
    """Return how far (T,) each photo's place on a path lies from where an even pace between its neighbours in the chain would have it.

    Infinite at the ends of chains and where no place is taken.
    """
    out = np.full(len(ranks), np.inf)
    moments = np.arange(len(ranks), dtype=np.float64) if times_s is None else times_s
    for after, now in enumerate(links.tolist()):
        before = int(links[now]) if now >= 0 else now
        if before >= 0:
            a, b, c = (points[t, ranks[t]] for t in (before, now, after))
            span_s = moments[after] - moments[before]
            share = (moments[now] - moments[before]) / span_s if span_s > 0.0 else 0.5
            out[now] = np.linalg.norm(b - (a + share * (c - a)))
    return out


def _link(points: Float, radii: Float, headings: Float, gap: int, reach_m: Float, options: SequenceOptions) -> Float:
    """(T - gap, K, K) nats of going on: less the farther it is within reach, and the more the camera turns; nobody goes beyond."""
    away = np.linalg.norm(points[:-gap, :, None] - points[gap:, None, :], axis=-1)
    slack_m = np.maximum(LEAST_SLACK_M, SLACK_RADII * (radii[:-gap, :, None] + radii[gap:, None, :]))
    share = away / (reach_m[:, None, None] + slack_m)
    nats = np.where(share <= 1.0, -0.5 * share**2, -np.inf)
    if options.turn_sigma_deg is not None:
        turn = np.abs((headings[gap:, None, :] - headings[:-gap, :, None] + 180.0) % 360.0 - 180.0)
        nats -= np.minimum(0.5 * (turn / options.turn_sigma_deg) ** 2, options.most_turn_nats)
    return np.asarray(nats, np.float64)


def _on_earth(lat_lon: Float) -> Float:
    """(..., 3) metres from the middle of the earth of (..., 2) degrees: near each other straight lines are distances, wherever it is."""
    lat, lon = np.radians(lat_lon[..., 0]), np.radians(lat_lon[..., 1])
    squeezed = (1.0 - _FLATTENING) ** 2
    across = _EQUATOR_M / np.sqrt(1.0 - (1.0 - squeezed) * np.sin(lat) ** 2)
    return np.stack([across * np.cos(lat) * np.cos(lon), across * np.cos(lat) * np.sin(lon), across * squeezed * np.sin(lat)], axis=-1)


def _folder(record: Record) -> str:
    """The folder of a photo as its record names it; empty for one without."""
    return str(record["photo"]).rpartition("/")[0]


def _moment(text: Any) -> datetime | None:
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        return None
    return moment if math.isfinite(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) else None
