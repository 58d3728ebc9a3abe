"""Option values that are several numbers: a pixel `x,y`, a place `lat,lon`, an area `west,south,east,north`; and a GeoJSON file."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from crossgeo.errors import InputError, UsageError


def point(text: str | None) -> tuple[float, float] | None:
    """Read `x,y` in pixels from the top left of the upright photo."""
    return None if text is None else _pair(text, "--point", "x,y in pixels, like --point 512,384")


def lat_lon(text: str | None) -> tuple[float, float] | None:
    """Read `lat,lon` in degrees."""
    if text is None:
        return None
    lat, lon = _pair(text, "--near", "lat,lon in degrees, like --near 27.631,85.521")
    if not (-90.0 <= lat <= 90.0 and -180.0 <= lon <= 180.0):
        raise UsageError(f"--near {text} is not on the earth; give lat,lon in degrees, latitude first")
    return lat, lon


def area(text: str, option: str) -> tuple[float, float, float, float]:
    """Read `west,south,east,north` in degrees; raise UsageError, which names the option, for what is no area on the earth."""
    try:
        west, south, east, north = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is not four numbers; give west,south,east,north in degrees") from error
    if not (-180.0 <= west < east <= 180.0 and -90.0 <= south < north <= 90.0):  # also refuses NaN
        raise UsageError(f"{option} {text!r} is no area on the earth; give west,south,east,north in degrees")
    return west, south, east, north


def geojson(path: Path | None) -> dict[str, Any] | None:
    """Read a GeoJSON file; raise InputError where it cannot be read or is none."""
    if path is None:
        return None
    try:
        data = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not JSON"
        raise InputError(f"{path}: cannot be read as GeoJSON ({why})") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: is not GeoJSON, but JSON of another kind")
    return data


def _pair(text: str, option: str, wanted: str) -> tuple[float, float]:
    try:
        first, second = (float(part) for part in text.split(","))
    except ValueError as error:
        raise UsageError(f"{option} {text!r} is not a pair of numbers; give {wanted}") from error
    if not (math.isfinite(first) and math.isfinite(second)):
        raise UsageError(f"{option} {text!r} is not finite; give {wanted}")
    return first, second
