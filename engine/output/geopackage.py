"""Answers as a GeoPackage of three layers, places, objects and errors; merged objects as one of a single layer."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from pyogrio.errors import CRSError, DataLayerError, DataSourceError, FeatureError
from pyogrio.raw import write
from shapely.geometry import shape

from crossgeo import disk
from crossgeo.engine.output.rows import (
    ABOUT,
    ERROR,
    OBJECT,
    OBJECT_COLUMNS,
    PLACE,
    POINT,
    SAID,
    Kind,
    Record,
    by_point,
    flat,
    flat_object,
    place_point,
)  # fmt: skip
from crossgeo.engine.output.text import dumps
from crossgeo.indexer.files import failed_write

RECORDS_A_WRITE = 5_000
_WHO: dict[str, Kind] = {name: kind for name, kind in ABOUT.items() if name != "status"}
Layer = tuple[str, dict[str, Kind]]  # kind of geometry, columns
LAYERS: dict[str, Layer] = {
    "places": ("Point", {**ABOUT, **PLACE, **SAID, "answer": "text"}),
    "objects": ("Polygon", {**ABOUT, **POINT, **OBJECT, **SAID}),
    "errors": ("None", {**_WHO, **POINT, **ERROR}),
}
MERGED: Layer = ("Polygon", OBJECT_COLUMNS)
_TYPES: dict[Kind, Any] = {"text": object, "number": np.float64, "integer": np.int64}
_EMPTY: dict[Kind, Any] = {"text": None, "number": np.nan, "integer": 0}
_Row = tuple[Record, Record | None]  # columns, geometry


def write_geopackage(path: Path, records: Iterable[Record]) -> None:
    """Write in `places` a row for each photo that was answered, without a geometry where it has no place; in `objects` one for each object;
    in `errors`, which has no geometry, one for each photo or point that failed."""
    _write_whole(path, lambda named: _write_layers(named, records))


def write_geopackage_objects(path: Path, objects: Iterable[Record]) -> None:
    """Write in the layer `objects` a row for each merged object."""
    rows = ((flat_object(thing), thing["polygon"]) for thing in objects)
    _write_whole(path, lambda named: _write_merged(named, rows))


def _write_whole(path: Path, write_at: Callable[[Path], None]) -> None:
    named = path.with_name(f"{path.name}.gpkg")  # GDAL minds the suffix
    aside = [named.with_name(named.name + more) for more in ("", "-journal", "-wal", "-shm")]  # what a run that was killed left
    try:
        for file in aside:
            disk.unlink(file)
        write_at(named)
        disk.rename(named, path)
    except (DataSourceError, DataLayerError, FeatureError, CRSError) as error:
        raise failed_write(path, str(error)) from error
    finally:
        for file in aside:
            disk.unlink(file)


def _write_merged(path: Path, rows: Iterator[_Row]) -> None:
    _write(path, "objects", MERGED, [], append=False)
    while some := list(islice(rows, RECORDS_A_WRITE)):
        _write(path, "objects", MERGED, some, append=True)


def _write_layers(path: Path, records: Iterable[Record]) -> None:
    for layer, how in LAYERS.items():
        _write(path, layer, how, [], append=layer != "places")
    waiting = iter(records)
    while some := list(islice(waiting, RECORDS_A_WRITE)):
        rows: dict[str, list[_Row]] = {layer: [] for layer in LAYERS}
        for record in some:
            if "error" not in record:
                rows["places"].append(({**flat(record), "answer": dumps(record)}, place_point(record)))
            for one in by_point(record):
                row = flat(one)
                if one.get("object"):
                    rows["objects"].append((row, one["object"]["polygon"]))
                if "error" in one:
                    rows["errors"].append((row, None))
        for layer, own in rows.items():
            if own:
                _write(path, layer, LAYERS[layer], own, append=True)


def _write(path: Path, layer: str, how: Layer, rows: list[_Row], append: bool) -> None:
    kind, columns = how
    data, empty = [], []
    for name, what in columns.items():
        values = [row.get(name, _EMPTY[what]) for row, _ in rows]
        column = np.empty(len(rows), _TYPES[what])
        column[:] = values
        data.append(column)
        empty.append(np.array([name not in row for row, _ in rows], bool))
    shapes = np.empty(len(rows), object)
    shapes[:] = [None if at is None else shape(at).wkb for _, at in rows]
    flat_layer = kind == "None"
    write(
        path, None if flat_layer else shapes, data, np.array(list(columns), object), field_mask=empty, layer=layer, driver="GPKG",
        geometry_type=None if flat_layer else kind, crs=None if flat_layer else "EPSG:4326", append=append,
    )  # fmt: skip
