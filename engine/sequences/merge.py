"""Objects seen from several photos made one: boxes that overlap and rays that agree, with where the rays meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from crossgeo.engine.sequences.rays import Meeting, Rays, meet
from crossgeo.engine.sequences.sightings import BELIEVED, Plane, Record, Sighting, metres_a_degree, sightings_of, turned

Float = NDArray[np.float64]


EVEN = math.sqrt(12.0)  # the width of an even distribution, in its standard deviations
MOST_RADIUS_M = 50.0  # of where rays meet; more says nothing that a box does not


@dataclass(frozen=True)
class MergeOptions:
    """What counts as one object."""

    least_iou: float = 0.25  # of two boxes, and of each with the mean of all
    most_misses: float = 3.0  # standard deviations by which a ray may pass the middle of the boxes
    bearing_sigma_deg: float = 1.5  # of a heading, and of a click
    reach_m: float = 70.0  # of a ray that has no box of its own
    statuses: tuple[str, ...] = BELIEVED


def merge_objects(records: Sequence[Record], options: MergeOptions | None = None) -> list[dict[str, Any]]:
    """Return the objects that records (answers' JSON) show, each once (docs/formats.md, Sequences), in the order of their first photos.

    Only records whose status is to be believed count. An object that one photo shows is one, too.
    """
    options = options or MergeOptions()
    seen = list(sightings_of(records, options.statuses))
    boxed = [sighting for sighting in seen if sighting.box is not None]
    if not boxed:
        return []
    corners = np.array([sighting.box for sighting in boxed])  # (n, 4, 2)
    corners[..., 0] = corners[0, 0, 0] + turned(corners[..., 0] - corners[0, 0, 0])  # no seam at the antimeridian
    groups = _grouped(boxed, corners, options)
    lone = [sighting for sighting in seen if sighting.box is None]
    joined = _joined(lone, boxed, corners, groups, options)
    return [
        _object(number, records, [boxed[k] for k in group] + joined[number - 1], corners[group], options)
        for number, group in enumerate(groups, start=1)
    ]


def _grouped(boxed: Sequence[Sighting], corners: Float, options: MergeOptions) -> list[list[int]]:
    """The numbers of sightings of one object each: pairs are joined from the best down, where the mean box still overlaps each of them."""
    boxes = shapely.polygons(corners)
    first, second = shapely.STRtree(boxes).query(boxes, predicate="intersects")
    first, second = first[first < second], second[first < second]
    ious = _iou(boxes[first], boxes[second])
    fits = (ious >= options.least_iou) & _agree(boxed, corners, first, second, options) & _agree(boxed, corners, second, first, options)
    order = np.lexsort((second[fits], first[fits], -ious[fits]))
    group_of = {k: [k] for k in range(len(boxed))}
    for a, b in zip(first[fits][order].tolist(), second[fits][order].tolist(), strict=True):
        if group_of[a] is group_of[b]:
            continue
        both = sorted(group_of[a] + group_of[b])
        mean = shapely.polygons(_mean(boxed, corners, both))
        if (_iou(boxes[both], np.full(len(both), mean)) >= options.least_iou).all():
            for k in both:
                group_of[k] = both
    unique = {id(group): group for group in group_of.values()}
    return sorted(unique.values())


def _agree(boxed: Sequence[Sighting], corners: Float, which: NDArray[np.intp], other: NDArray[np.intp], options: MergeOptions) -> Any:
    """Whether the rays of some sightings pass the middle between their own box and another's, or they have none."""
    has = np.array([sighting.bearing_deg is not None for sighting in boxed], np.bool_)[which]
    own, others = which[has], other[has]
    both = np.concatenate([corners[own], corners[others]], axis=1)  # (P, 8, 2)
    middle = both.mean(axis=1)
    cameras = np.array([sighting.camera or (0.0, 0.0) for sighting in boxed])[own]
    metres = metres_a_degree(middle[:, 1])
    to = np.stack([turned(middle[:, 0] - cameras[:, 0]), middle[:, 1] - cameras[:, 1]], axis=-1) * metres
    extent_m = 0.5 * (_sides(corners[own] * metres[:, None]) + _sides(corners[others] * metres[:, None]))
    rays = Rays(
        -to,
        np.array([sighting.bearing_deg or 0.0 for sighting in boxed])[own],
        np.array([sighting.camera_sigma_m for sighting in boxed])[own],
        np.full(len(own), options.bearing_sigma_deg),
        extent_m / EVEN,
    )
    out = np.ones(len(which), np.bool_)
    out[has] = np.abs(rays.misses(np.zeros(2))) <= options.most_misses
    return out


def _joined(
    lone: Sequence[Sighting], boxed: Sequence[Sighting], corners: Float, groups: list[list[int]], options: MergeOptions
) -> list[list[Sighting]]:
    """For each group the rays without a box that pass it, and no other within reach."""
    out: list[list[Sighting]] = [[] for _ in groups]
    if not lone:
        return out
    means = np.array([_mean(boxed, corners, group) for group in groups])
    tree, seam = shapely.STRtree(shapely.polygons(means)), float(corners[0, 0, 0])
    for sighting in lone:
        assert sighting.camera is not None
        plane = Plane(*sighting.camera)
        here = seam + float(turned(np.array(plane.lon - seam)))  # as the boxes are numbered
        degrees = options.reach_m / plane.metres
        near = tree.query(shapely.box(here - degrees[0], plane.lat - degrees[1], here + degrees[0], plane.lat + degrees[1]))
        passed = []
        for number in near.tolist():
            points = plane.put(means[number])
            rays = _rays([sighting], plane, float(_sides(points[None])[0]), options)
            middle = points.mean(axis=0)
            if np.hypot(*middle) <= options.reach_m and abs(float(rays.misses(middle)[0])) <= options.most_misses:
                passed.append(number)
        if len(passed) == 1:
            out[passed[0]].append(sighting)
    return out


def _object(number: int, records: Sequence[Record], sightings: Sequence[Sighting], corners: Float, options: MergeOptions) -> dict[str, Any]:
    boxed = [sighting for sighting in sightings if sighting.box is not None]
    mean = _mean(boxed, corners, range(len(boxed)))
    plane = Plane(*mean.mean(axis=0).tolist())
    own, middles = plane.put(mean), plane.put(corners.mean(axis=1))
    pointed = [sighting for sighting in sightings if sighting.bearing_deg is not None]
    met = meet(_rays(pointed, plane, float(_sides(own[None])[0]), options))
    lon, lat = plane.back(np.zeros(2)).tolist()
    away = np.hypot(*middles.T)
    ring = [[round(float(v), 7) for v in corner] for corner in plane.back(own).tolist()]
    if met is not None and met.radius_m > MOST_RADIUS_M:
        met = None
    return {
        "id": f"object-{number}",
        "lat": round(lat, 7),
        "lon": round(lon, 7),
        "radius_m": round(float(np.sqrt((away**2).mean())), 2) if len(boxed) > 1 else None,
        "polygon": {"type": "Polygon", "coordinates": [[*ring, ring[0]]]},
        "width_m": round(float(np.ptp(own[:, 0])), 2),
        "height_m": round(float(np.ptp(own[:, 1])), 2),
        "confidence": round(max(sighting.confidence for sighting in boxed), 4),
        "rays": None if met is None else _rays_json(met, plane, len(pointed)),
        "photos": list(dict.fromkeys(records[sighting.record]["photo"] for sighting in sorted(sightings, key=lambda s: s.record))),
    }


def _rays_json(met: Meeting, plane: Plane, count: int) -> dict[str, Any]:
    lon, lat = plane.back(met.point.copy()).tolist()
    covariance = [[round(float(v), 4) for v in row] for row in met.covariance_m2]
    told = {"lat": round(lat, 7), "lon": round(lon, 7), "radius_m": round(met.radius_m, 2), "covariance_m2": covariance}
    return {**told, "count": count, "chi2": round(met.chi2, 3)}


def _rays(sightings: Sequence[Sighting], plane: Plane, extent_m: float, options: MergeOptions) -> Rays:
    cameras = np.array([sighting.camera for sighting in sightings], np.float64).reshape(-1, 2)
    many = len(sightings)
    return Rays(
        plane.put(cameras),
        np.array([sighting.bearing_deg for sighting in sightings], np.float64),
        np.array([sighting.camera_sigma_m for sighting in sightings]),
        np.full(many, options.bearing_sigma_deg),
        np.full(many, extent_m / EVEN),
    )


def _sides(corners: Float) -> Float:
    """How wide boxes (n, 4, 2) are, seen from anywhere: the mean of their sides (n,)."""
    return np.asarray(np.linalg.norm(corners - np.roll(corners, 1, axis=1), axis=2).mean(axis=1), np.float64)


def _mean(boxed: Sequence[Sighting], corners: Float, which: Sequence[int]) -> Float:
    """The mean of boxes (4, 2), corner by corner, by their confidence."""
    weights = np.array([max(boxed[k].confidence, 1e-3) for k in which])
    return np.asarray(np.average(corners[list(which)], axis=0, weights=weights), np.float64)


def _iou(a: Any, b: Any) -> Float:
    inside = shapely.area(shapely.intersection(a, b))
    return np.asarray(inside / np.maximum(shapely.area(a) + shapely.area(b) - inside, 1e-300), np.float64)
