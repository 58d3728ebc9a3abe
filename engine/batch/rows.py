"""One row of a list of photos: which columns there are, and what their values mean."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, cast

from crossgeo.engine.batch.item import BatchItem, readable
from crossgeo.engine.camera import Kind, check_known
from crossgeo.errors import GeoError, UsageError
from crossgeo.indexer.filters import Filters

KNOWN = {  # what columns may be called: the name that counts
    "photo": "photo", "path": "photo", "file": "photo", "filename": "photo", "image": "photo",
    "point": "point", "x": "x", "y": "y", "point_x": "x", "point_y": "y", "points": "points",
    "heading": "heading_deg", "heading_deg": "heading_deg", "fov": "fov_deg", "fov_deg": "fov_deg", "height_m": "height_m",
    "tilt": "tilt_deg", "tilt_deg": "tilt_deg", "kind": "kind", "near": "near", "lat": "lat", "lon": "lon", "radius_m": "radius_m",
    "id": "id", "group": "group", "taken": "taken", "time": "taken", "timestamp": "taken",
}  # fmt: skip
EXTRA = "\0"  # stands for cells past the last column
Row = Mapping[str, Any]


def unknown(columns: list[str]) -> list[str]:
    """Return the columns that mean nothing to us."""
    return [name for name in columns if _plain(name) not in KNOWN]


def item_of(row: Row, folder: Path, where: str) -> BatchItem:
    """Return the item of a row, its photo relative to `folder`; one that is wrong carries a UsageError, which says `where` it stands."""
    name, known = where, dict[str, Any]()
    try:
        twice = _known(row, known)
        if "photo" not in known:
            raise UsageError("no photo is named; give its path in a column or key called photo")
        path = _string(known["photo"], "photo")
        name = readable(path)
        if EXTRA in row:
            raise UsageError(f"has {row[EXTRA]}, more than there are columns")
        if twice:
            raise UsageError(twice)
        return _item(known, folder / path, name)
    except GeoError as error:
        own, group = (readable(str(known[key])) if key in known else None for key in ("id", "group"))
        return BatchItem(folder / name, name, id=own, group=group, fault=UsageError(f"{where}: {error}"))


def item_of_line(line: bytes, folder: Path, where: str, keys: dict[str, None] | None = None) -> BatchItem:
    """Return the item of a line, a path or a JSON object, whose keys are added to `keys`; one that is wrong carries a UsageError."""
    try:
        text = line.decode().strip()
        if not text.startswith("{"):
            return BatchItem(folder / text, text)
        row = json.loads(text)
    except (ValueError, RecursionError) as error:
        if line.lstrip().startswith(b"{"):
            return BatchItem(folder, where, fault=UsageError(f"{where}: is not JSON ({' '.join(str(error).split())})"))
        path = os.fsdecode(line.strip())  # a name of a file need be no text
        return BatchItem(folder / path, readable(path))
    if keys is not None:
        keys.update(dict.fromkeys(row))
    return item_of(row, folder, where)


def _known(row: Row, out: dict[str, Any]) -> str | None:
    """Put the values that are there into `out`, by the names that count; return what is wrong where two of one name differ."""
    twice = None
    for column, value in row.items():
        name = KNOWN.get(_plain(column))
        empty = value is None or (isinstance(value, str) and not value.strip()) or (isinstance(value, float) and math.isnan(value))
        if name is None or empty:
            continue
        if out.setdefault(name, value) != value:
            twice = f"says twice what its {name} is, {out[name]!r} and {value!r}"
    return twice


def _item(known: dict[str, Any], path: Path, name: str) -> BatchItem:
    fields = ("heading_deg", "fov_deg", "height_m", "tilt_deg", "radius_m")
    heading, fov, height_m, tilt, radius_m = (_number(known[field], field) if field in known else None for field in fields)
    kind = _string(known["kind"], "kind").lower() if "kind" in known else None
    if kind not in (None, "drone", "street"):
        raise UsageError(f"kind is {kind!r}, not drone or street")
    item = BatchItem(
        path, name, _points(known), heading, fov, height_m, tilt, cast("Kind | None", kind), _near(known), radius_m,
        _label(known, "id"), _label(known, "group"), _taken(known.get("taken")),
    )  # fmt: skip
    check_known(item.heading_deg, item.fov_deg, item.height_m, item.tilt_deg, item.kind)
    if item.near is not None:
        Filters.of(None, item.near, radius_m, None, None)
    elif radius_m is not None and radius_m <= 0.0:
        raise UsageError(f"radius_m is {radius_m:g}, not a distance in metres")
    return item


def _points(known: dict[str, Any]) -> tuple[tuple[float, float], ...]:
    given = [name for name in ("point", "x", "y", "points") if name in known]
    if not given:
        return ()
    if given == ["points"]:
        return _many(known["points"])
    if given == ["point"]:
        return (_pair(known["point"], "point"),)
    if given == ["x", "y"]:
        return ((_number(known["x"], "x"), _number(known["y"], "y")),)
    raise UsageError(f"says where to look in {' and '.join(given)}; give x and y, or point, or points")


def _many(value: Any) -> tuple[tuple[float, float], ...]:
    """Points as a list of pairs, as JSON of it, or as `x,y x,y`."""
    if isinstance(value, str):
        text = value.strip()
        value = _json(text) if text.startswith("[") else text.replace(";", " ").split()
    if not isinstance(value, list | tuple):
        raise UsageError(f"points is {value!r}, not a list of x,y")
    return tuple(_pair(one, "points") for one in value)


def _json(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"points is {text!r}, which is not JSON") from error


def _near(known: dict[str, Any]) -> tuple[float, float] | None:
    if "near" in known:
        if "lat" in known or "lon" in known:
            raise UsageError("says where to look in near and in lat, lon; give one of them")
        return _pair(known["near"], "near")
    if "lat" in known or "lon" in known:
        if not ("lat" in known and "lon" in known):
            raise UsageError("has one of lat and lon; give both, or neither")
        return _number(known["lat"], "lat"), _number(known["lon"], "lon")
    return None


def _taken(value: Any) -> str | None:
    """A time as ISO 8601; a date alone is no time."""
    if value is None:
        return None
    if isinstance(value, datetime):
        return value.isoformat()
    text = _string(value, "taken").strip()
    for read in (datetime.fromisoformat, _exif_time):
        try:
            when = read(text)
        except ValueError:
            continue
        if len(text) > len("2024-05-01"):
            return when.isoformat()
    raise UsageError(f"taken is {text!r}, not a time like 2024-05-01T10:00:00+02:00")


def _exif_time(text: str) -> datetime:
    return datetime.strptime(text, "%Y:%m:%d %H:%M:%S")


def _pair(value: Any, column: str) -> tuple[float, float]:
    parts = value.split(",") if isinstance(value, str) else value
    if not isinstance(parts, list | tuple) or len(parts) != 2:
        raise UsageError(f"{column} is {value!r}, not a pair of numbers")
    return _number(parts[0], column), _number(parts[1], column)


def _number(value: Any, column: str) -> float:
    try:
        if isinstance(value, bool):
            raise TypeError
        number = float(value)
    except (TypeError, ValueError, OverflowError) as error:
        raise UsageError(f"{column} is {value!r}, not a number") from error
    if not math.isfinite(number):
        raise UsageError(f"{column} is {value!r}, not a finite number")
    return number


def _string(value: Any, column: str) -> str:
    if not isinstance(value, str) or "\0" in value:
        raise UsageError(f"{column} is {value!r}, not a text")
    return value


def _label(known: dict[str, Any], column: str) -> str | None:
    """A text, or a whole number taken for one."""
    value = known.get(column)
    if isinstance(value, float) and value.is_integer():  # as Parquet has whole numbers beside missing ones
        value = int(value)
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return None if value is None else readable(_string(value, column))


def _plain(column: str) -> str:
    return column.strip().lower().lstrip("\ufeff")
