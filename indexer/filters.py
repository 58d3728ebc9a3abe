"""Filters: what a caller says of where to look, checked and in one form. Degrees are WGS 84, areas those of RFC 7946."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import shapely
from shapely.errors import GEOSException
from shapely.geometry import shape

from crossgeo.errors import UsageError
from crossgeo.indexer.sources_of import VINTAGE

DEFAULT_RADIUS_M = 250.0
Bounds = tuple[float, float, float, float]  # west, south, east, north in degrees


@dataclass(frozen=True)
class Circle:
    """All within a distance of a place."""

    lat: float
    lon: float
    radius_m: float


@dataclass(frozen=True)
class Filters:
    """Which places are asked for: those whose centres lie in all of these. Equal filters are equal as keys."""

    bounds: Bounds | None = None  # west > east: across the antimeridian
    circle: Circle | None = None
    polygon: str | None = None  # GeoJSON geometry with sorted keys
    vintage: str | None = None  # a year, a month, a day, or a span of them: of the imagery that shows there

    @classmethod
    def of(
        cls,
        bounds: Bounds | None = None,
        near: tuple[float, float] | None = None,
        radius_m: float | None = None,
        polygon: Mapping[str, Any] | None = None,
        vintage: str | None = None,
    ) -> Filters:
        """Check what was given and return it; raise UsageError for what is no area on the earth.

        near: lat, lon; radius_m: 250 unless given. polygon: a GeoJSON Polygon or MultiPolygon, or features of such. vintage: 2023,
        2023-06 or 2023-06-30, or from one to another, 2021/2023-06.
        """
        if radius_m is not None and not (0.0 < radius_m < math.inf):
            raise UsageError(f"the radius must be positive metres, not {radius_m:g}")
        if near is not None and not (-90.0 <= near[0] <= 90.0 and -180.0 <= near[1] <= 180.0):
            raise UsageError(f"near {near[0]:g},{near[1]:g} is not a place: it is lat,lon with lat within 90 and lon within 180 degrees")
        if bounds is not None:
            _check_bounds(bounds)
        if vintage is not None:
            ends = vintage.split("/")
            shared = min(map(len, ends))
            if len(ends) > 2 or any(VINTAGE.fullmatch(end) is None for end in ends) or ends[0][:shared] > ends[-1][:shared]:
                raise UsageError(f"vintage {vintage!r} is no date nor a span of two; give a year, a month or a day, or 2021/2023-06")
        circle = None if near is None else Circle(*near, radius_m or DEFAULT_RADIUS_M)
        return cls(bounds, circle, None if polygon is None else _polygon_text(_json(polygon)), vintage)

    def geometries(self) -> list[Any]:
        """Return bounds and polygon as shapely geometries of lon, lat; longitudes may lie past 180 degrees."""
        out = []
        if self.bounds is not None:
            west, south, east, north = self.bounds
            out.append(shapely.box(west, south, east + 360.0 if east < west else east, north))
        if self.polygon is not None:
            out.append(shape(json.loads(self.polygon)))
        return out


def _check_bounds(bounds: Bounds) -> None:
    said = " ".join(f"{value:g}" for value in bounds)
    if len(bounds) != 4:
        raise UsageError(f"bounds {said} are not west, south, east, north")
    west, south, east, north = bounds
    if not (all(-180.0 <= lon <= 180.0 for lon in (west, east)) and all(-90.0 <= lat <= 90.0 for lat in (south, north))):
        raise UsageError(f"bounds {said} are not on the earth: they are west, south, east, north in degrees")
    if south >= north or west == east:
        raise UsageError(f"bounds {said} hold nothing: they are west, south, east, north (west > east only across the antimeridian)")


def _json(data: Mapping[str, Any]) -> str:
    try:
        return json.dumps(data)
    except (TypeError, ValueError, RecursionError) as error:
        raise UsageError(f"the polygon is not GeoJSON ({error})") from error


@lru_cache(maxsize=8)  # a batch asks with the same polygon for every photo
def _polygon_text(data: str) -> str:
    """Return the area of a GeoJSON object as one geometry."""
    parts = list(_polygons(json.loads(data)))
    if not parts:
        raise UsageError("the polygon holds no polygon")
    for part in parts:
        if not part.is_valid:
            raise UsageError(f"a polygon crosses or touches itself ({shapely.is_valid_reason(part)}); mend it")
        if part.area <= 0.0:
            raise UsageError("a polygon has no area; give one of at least three corners that do not lie on a line")
    return json.dumps(shapely.geometry.mapping(shapely.union_all(parts)), sort_keys=True)


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
