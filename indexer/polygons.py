"""Polygons of GeoJSON (RFC 7946), read in one way for filters, masks and areas that are to be removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import shapely
from shapely.errors import GEOSException

from crossgeo.errors import UsageError


def area_of(data: Any) -> Any:
    """Return the polygons of a GeoJSON object as one shapely geometry of lon, lat; longitudes may lie past 180 degrees.

    Raise UsageError for what is no polygon on the earth, crosses itself, or has no area.
    """
    parts = list(_polygons(data))
    if not parts:
        raise UsageError("the polygon holds no polygon")
    for part in parts:
        if not part.is_valid:
            raise UsageError(f"a polygon crosses or touches itself ({shapely.is_valid_reason(part)}); mend it")
        if part.area <= 0.0:
            raise UsageError("a polygon has no area; give one of at least three corners that do not lie on a line")
    return shapely.union_all(parts)


def _polygons(data: Any) -> Iterator[Any]:
    """Yield the polygons of a GeoJSON object; raise UsageError for what it is not made of."""
    kind = data.get("type") if isinstance(data, Mapping) else None
    many = {"FeatureCollection": "features", "GeometryCollection": "geometries"}
    if kind in many:
        members = data.get(many[kind])
        if not isinstance(members, list):
            raise UsageError(f"the polygon is not GeoJSON: a {kind} without {many[kind]}")
        for member in members:
            yield from _polygons(member)
    elif kind == "Feature":
        yield from _polygons(data.get("geometry"))
    elif kind in ("Polygon", "MultiPolygon"):
        parts = data.get("coordinates")
        if not isinstance(parts, list):
            raise UsageError(f"the polygon is not GeoJSON: a {kind} without coordinates")
        parts = [parts] if kind == "Polygon" else parts
        for rings in parts:
            yield _polygon(rings)
    else:
        raise UsageError(f"the polygon holds {kind or 'something'} where a GeoJSON Polygon or MultiPolygon is wanted")


def _polygon(rings: Any) -> Any:
    try:
        corners = [np.array([[float(position[0]), float(position[1])] for position in ring], np.float64).reshape(-1, 2) for ring in rings]
    except (TypeError, ValueError, IndexError, KeyError) as error:
        raise UsageError("a polygon's coordinates are not rings of [lon, lat]") from error
    if not corners or any(len(np.unique(ring, axis=0)) < 3 for ring in corners):
        raise UsageError("a polygon needs rings of at least three corners")
    for ring in corners:
        if not (np.abs(ring[:, 0]) <= 360.0).all() or not (np.abs(ring[:, 1]) <= 90.0).all():  # also refuses NaN
            raise UsageError("a polygon has corners that are not on the earth; they are [lon, lat] in degrees of WGS 84")
        jump = np.abs(np.diff(ring[:, 0], append=ring[:1, 0]))
        if ((jump > 180.0) & (jump < 360.0)).any():
            raise UsageError(
                "a polygon has an edge of more than 180 degrees of longitude: cut it at the antimeridian, or write longitudes past 180 "
                "(181 for -179); where it is meant, give that edge another corner"
            )
    try:
        return shapely.Polygon(corners[0], corners[1:])
    except (GEOSException, ValueError) as error:
        raise UsageError(f"a polygon cannot be read ({error})") from error
