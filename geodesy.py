"""Places on the earth: metric CRSs, lat/lon, distances, headings against grid north, boxes as GeoJSON polygons.

`x, y` are easting and northing in metres of a metric CRS (or lon, lat in GeoJSON); `lat, lon` are WGS 84 degrees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS, Geod, Transformer
from pyproj.exceptions import CRSError

from crossgeo.errors import InputError

_WGS84 = Geod(ellps="WGS84")
_EQUATOR_RADIUS_M = 6_378_137.0
_EARTH_RADIUS_M = 6_371_008.8
FloatArray = NDArray[np.float64]


def metric_crs_at(lat: float, lon: float) -> CRS:
    """Return the WGS 84 UTM zone of a place, or the polar stereographic CRS past 84 N and 80 S."""
    if lat > 84.0:
        return CRS.from_epsg(5041)
    if lat < -80.0:
        return CRS.from_epsg(5042)
    zone = int((lon + 180.0) // 6.0) % 60 + 1
    return CRS.from_epsg((32600 if lat >= 0.0 else 32700) + zone)


def parse_crs(text: str) -> CRS:
    """Read a CRS from an EPSG code, WKT or PROJ string; raise InputError when it is none."""
    try:
        return CRS.from_user_input(text)
    except CRSError as error:
        raise InputError(f"{text!r} is not a CRS that PROJ knows; give one like EPSG:32645") from error


def is_metric(crs: CRS) -> bool:
    """Say whether a CRS is projected, in metres, and close to true scale (not Web Mercator)."""
    return crs.is_projected and all(a.unit_conversion_factor == 1.0 for a in crs.axis_info) and crs.to_epsg() not in (3857, 3395, 3785)


@lru_cache(maxsize=64)
def _transformer(source: str, target: str) -> Transformer:
    return Transformer.from_crs(source, target, always_xy=True)


def transform(source: CRS, target: CRS, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Carry (N,) coordinates from one CRS to another, x before y always."""
    out_x, out_y = _transformer(source.to_wkt(), target.to_wkt()).transform(np.asarray(x, np.float64), np.asarray(y, np.float64))
    return np.asarray(out_x, np.float64), np.asarray(out_y, np.float64)


def to_lat_lon(crs: CRS, x: float, y: float) -> tuple[float, float]:
    """Return (lat, lon) of a point of a metric CRS."""
    lon, lat = _transformer(crs.to_wkt(), "EPSG:4326").transform(x, y)
    return float(lat), float(lon)


def from_lat_lon(crs: CRS, lat: float, lon: float) -> tuple[float, float]:
    """Return (x, y) in a metric CRS of a place."""
    x, y = _transformer("EPSG:4326", crs.to_wkt()).transform(lon, lat)
    return float(x), float(y)


def distance_m(lat_a: float, lon_a: float, lat_b: float, lon_b: float) -> float:
    """Return the geodesic distance of two places in metres."""
    return float(_WGS84.inv(lon_a, lat_a, lon_b, lat_b)[2])


def distances_m(lat: FloatArray, lon: FloatArray, lat_to: float, lon_to: float) -> FloatArray:
    """Return the geodesic distances (N,) in metres of many places from one."""
    return np.asarray(_WGS84.inv(lon, lat, np.full_like(lon, lon_to), np.full_like(lat, lat_to))[2], np.float64)


def great_circle_m(lat: FloatArray, lon: FloatArray, lat_to: float, lon_to: float) -> FloatArray:
    """Return the distances (N,) in metres of many places from one, on a sphere: within 0.5 % of `distance_m`."""
    there, here = np.radians(lat), math.radians(lat_to)
    h = np.sin((there - here) / 2) ** 2 + np.cos(there) * math.cos(here) * np.sin(np.radians(lon - lon_to) / 2) ** 2
    return np.asarray(2 * _EARTH_RADIUS_M * np.arcsin(np.sqrt(np.minimum(h, 1.0))), np.float64)


def grid_convergence_deg(crs: CRS, x: float, y: float) -> float:
    """Return the angle from true north to grid north at a point, clockwise positive: heading_true = heading_grid + this."""
    lat_a, lon_a = to_lat_lon(crs, x, y - 50.0)
    lat_b, lon_b = to_lat_lon(crs, x, y + 50.0)
    azimuth = float(_WGS84.inv(lon_a, lat_a, lon_b, lat_b)[0])
    return (azimuth + 180.0) % 360.0 - 180.0


def web_mercator_gsd_m(zoom: int, lat: FloatArray) -> FloatArray:
    """Return the ground sample distance at (N,) latitudes of Web Mercator imagery in tiles of 256 px."""
    return np.asarray(2 * math.pi * _EQUATOR_RADIUS_M / 256 / 2**zoom * np.cos(np.radians(lat)), np.float64)


def geojson_polygon(crs: CRS, corners_xy: Sequence[tuple[float, float]]) -> dict[str, Any]:
    """Return a GeoJSON Polygon (RFC 7946: lon, lat, 7 decimals, counter-clockwise, closed) of metric corners."""
    xy = np.asarray(corners_xy, np.float64)
    area = float(np.sum(xy[:, 0] * np.roll(xy[:, 1], -1) - np.roll(xy[:, 0], -1) * xy[:, 1]))
    if area < 0.0:
        xy = xy[::-1]
    ring = []
    for x, y in xy:
        lat, lon = to_lat_lon(crs, float(x), float(y))
        ring.append([round(lon, 7), round(lat, 7)])
    return {"type": "Polygon", "coordinates": [[*ring, ring[0]]]}
