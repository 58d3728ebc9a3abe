"""Answers as text: GeoJSON (RFC 7946), CSV (RFC 4180) and JSON lines."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

from crossgeo.engine.output.rows import COLUMNS, Record, by_point, geometry, table_rows


def write_geojson(path: Path, records: Iterable[Record]) -> None:
    """Write a FeatureCollection, a feature a line: a record, or each point of a record that has several."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write('{"type": "FeatureCollection", "features": [')
        first = True
        for record in records:
            for one in by_point(record):
                stream.write(("\n" if first else ",\n") + dumps(feature(one)))
                first = False
        stream.write("\n]}\n")


def write_jsonl(path: Path, records: Iterable[Record]) -> None:
    """Write a record a line."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        for record in records:
            stream.write(dumps(record) + "\n")


def write_csv(path: Path, records: Iterable[Record]) -> None:
    """Write a row for each record, or for each of its points where it has several: the best place, the object, the error."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        table = csv.writer(stream)
        table.writerow(COLUMNS)
        for row, _ in table_rows(records):
            table.writerow([row.get(column, "") for column in COLUMNS])


def feature(record: Record) -> Record:
    """Return a record of one point at most as a GeoJSON feature, the record its properties."""
    named = {"id": record["id"]} if "id" in record else {}
    return {"type": "Feature", **named, "geometry": geometry(record), "properties": record}


def dumps(value: Record) -> str:
    """Return a record's JSON on one line."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
