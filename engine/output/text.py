"""Answers as text: GeoJSON (RFC 7946), CSV (RFC 4180) and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from crossgeo.engine.output.rows import COLUMNS, OBJECT_COLUMNS, Record, by_point, flat_object, geometry, table_rows


def write_geojson(path: Path, records: Iterable[Record]) -> None:
    """Write a FeatureCollection, a feature a line: a record, or each point of a record that has several."""
    _write_collection(path, (feature(one) for record in records for one in by_point(record)))


def write_geojson_objects(path: Path, objects: Iterable[Record]) -> None:
    """Write a FeatureCollection, a feature a merged object."""
    told = (({key: value for key, value in thing.items() if key != "polygon"}, thing) for thing in objects)
    _write_collection(
        path, ({"type": "Feature", "id": thing["id"], "geometry": thing["polygon"], "properties": rest} for rest, thing in told)
    )


def _write_collection(path: Path, features: Iterable[Record]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        first = True
        for one in features:
            stream.write(("\n" if first else ",\n") + dumps(one))
            first = False
        stream.write("\n]}\n")


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write a record, or a merged object, a line."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        for record in records:
            stream.write(dumps(record) + "\n")


write_jsonl_objects = write_jsonl


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """Write a row for each record, or for each of its points where it has several: the best place, the object, the error."""
    _write_table(path, COLUMNS, (row for row, _ in table_rows(records)))


def write_csv_objects(path: Path, objects: Iterable[Record]) -> None:
    """Write a row for each merged object."""
    _write_table(path, OBJECT_COLUMNS, map(flat_object, objects))


def _write_table(path: Path, columns: Iterable[str], rows: Iterable[Record]) -> None:
    names = list(columns)
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(names)
        for row in rows:
            table.writerow([row.get(column, "") for column in names])


def feature(record: Record) -> Record:
    """Return a record of one point at most as a GeoJSON feature, the record its properties."""
    named = {"id": record["id"]} if "id" in record else {}
    return {"type": "Feature", **named, "geometry": geometry(record), "properties": record}


def dumps(value: Record) -> str:
    """Return a record's JSON on one line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
