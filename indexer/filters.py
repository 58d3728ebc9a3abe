"""Filters: what a caller says of where to look, checked and in one form. Degrees are WGS 84, areas those of RFC 7946."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import shapely
from shapely.geometry import shape

from crossgeo.errors import UsageError
from crossgeo.indexer.polygons import area_of
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
    return json.dumps(shapely.geometry.mapping(area_of(json.loads(data))), sort_keys=True)
