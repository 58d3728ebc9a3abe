"""Answers as GeoParquet 1.1.0: a table with a WKB geometry, a bounding box for each row and what readers need to know of both."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyproj import CRS
from shapely.geometry import shape

from crossgeo.engine.output.rows import COLUMNS, OBJECT_COLUMNS, Kind, Record, by_point, flat, flat_object, geometry
from crossgeo.engine.output.text import dumps

ROWS_A_GROUP = 5_000
_TYPES = {"text": pa.string(), "number": pa.float64(), "integer": pa.int64()}
_EDGES = ("xmin", "ymin", "xmax", "ymax")


def write_geoparquet(path: Path, records: Iterable[Record]) -> None:
    """Write a row for each record, or for each of its points where it has several; the geometry is GeoJSON's, null where there is none."""
    every = (one for record in records for one in by_point(record))
    _write(path, COLUMNS, "answer", ((flat(one), dumps(one), geometry(one)) for one in every))


def write_geoparquet_objects(path: Path, objects: Iterable[Record]) -> None:
    """Write a row for each merged object, its outline as geometry."""
    _write(path, OBJECT_COLUMNS, "object", ((flat_object(thing), dumps(thing), thing["polygon"]) for thing in objects))


def _write(path: Path, columns: dict[str, Kind], whole: str, rows: Iterable[tuple[Record, str, Record | None]]) -> None:
    """Write (columns, all of it as JSON, geometry) of each row, the JSON in the column `whole`."""
    named = [(name, _TYPES[kind]) for name, kind in columns.items()]
    box = pa.struct([(edge, pa.float64()) for edge in _EDGES])
    schema = pa.schema([*named, (whole, pa.string()), ("bbox", box), ("geometry", pa.binary())])
    types: set[str] = set()
    bounds: list[tuple[float, ...]] = []  # of each group
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        made = _rows(rows, whole)
        while group := list(islice(made, ROWS_A_GROUP)):
            writer.write_table(pa.Table.from_pylist(group, schema=schema))
            boxes = [tuple(row["bbox"][edge] for edge in _EDGES) for row in group if row["bbox"] is not None]
            types |= {row["type"] for row in group if row["type"] is not None}
            if boxes:
                west, south, east, north = zip(*boxes, strict=True)
                bounds.append((min(west), min(south), max(east), max(north)))
        writer.add_key_value_metadata({"geo": json.dumps(_about(types, bounds))})


def _rows(rows: Iterable[tuple[Record, str, Record | None]], whole: str) -> Iterator[dict[str, Any]]:
    for own, text, at in rows:
        row: dict[str, Any] = {**own, whole: text, "bbox": None, "geometry": None, "type": None}
        if at is not None:
            lies = shape(at)
            row |= {"bbox": dict(zip(_EDGES, lies.bounds, strict=True)), "geometry": lies.wkb, "type": lies.geom_type}
        yield row


def _about(types: set[str], bounds: list[tuple[float, ...]]) -> dict[str, Any]:
    """The file's `geo` metadata."""
    column: dict[str, Any] = {
        "encoding": "WKB",
        "geometry_types": sorted(types),
        "crs": CRS("OGC:CRS84").to_json_dict(),
        "edges": "planar",
        "orientation": "counterclockwise",
        "covering": {"bbox": {edge: ["bbox", edge] for edge in _EDGES}},
    }
    if bounds:
        west, south, east, north = zip(*bounds, strict=True)
        column["bbox"] = [min(west), min(south), max(east), max(north)]
    return {"version": "1.1.0", "primary_column": "geometry", "columns": {"geometry": column}}
