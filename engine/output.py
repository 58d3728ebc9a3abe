"""Writing many answers: GeoJSON, CSV and JSON lines from a stream, published whole or not at all (docs/formats.md, Answers)."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, Any

from crossgeo.errors import LimitError, UsageError

Record = dict[str, Any]  # an answer's JSON, or {"photo", "error"}
CSV_COLUMNS = (
    "photo", "status", "lat", "lon", "radius_m", "heading_deg", "score", "tile", "source", "vintage",
    "object_lat", "object_lon", "object_width_m",
    "object_height_m", "object_confidence", "notes", "generation", "model", "error_type", "error_message",
)  # fmt: skip


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records in the format of the path's suffix; the file appears only when it is complete and on disk.

    Raises UsageError for a suffix that names no format, LimitError when the disk is full.
    """
    write = writer_for(path)
    partial = path.with_name(f"{path.name}.writing")
    try:
        with partial.open("w", encoding="utf-8", newline="") as stream:
            write(stream, records)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError as error:
        partial.unlink(missing_ok=True)
        raise LimitError(f"{path}: cannot be written ({error.strerror or error}); free some space or choose another place") from error
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def writer_for(path: Path) -> Callable[[IO[str], Iterable[Record]], None]:
    """Return the writer that a path's suffix asks for; raise UsageError when it asks for none of ours."""
    writers = {".geojson": write_geojson, ".json": write_geojson, ".csv": write_csv, ".jsonl": write_jsonl, ".ndjson": write_jsonl}
    suffix = path.suffix.lower()
    if suffix not in writers:
        raise UsageError(f"{path}: no format is called {suffix or 'nothing'!r}; end the name in .geojson, .csv or .jsonl")
    return writers[suffix]


def write_geojson(stream: IO[str], records: Iterable[Record]) -> None:
    """Write an RFC 7946 FeatureCollection, a feature a record, streamed."""
    stream.write('{"type": "FeatureCollection", "features": [')
    for number, record in enumerate(records):
        stream.write((",\n" if number else "\n") + _dump(feature(record)))
    stream.write("\n]}\n")


def write_jsonl(stream: IO[str], records: Iterable[Record]) -> None:
    """Write a record a line."""
    for record in records:
        stream.write(_dump(record) + "\n")


def write_csv(stream: IO[str], records: Iterable[Record]) -> None:
    """Write a row a record: its best place, its object, its error (RFC 4180)."""
    table = csv.writer(stream)
    table.writerow(CSV_COLUMNS)
    for record in records:
        table.writerow([row.get(column, "") for row in (flat(record),) for column in CSV_COLUMNS])


def feature(record: Record) -> Record:
    """Return a record as a GeoJSON feature: the object's polygon, else the best place, else no geometry; the record is its properties."""
    places = record.get("places") or []
    geometry: Record | None = None
    if record.get("object"):
        geometry = record["object"]["polygon"]
    elif places:
        geometry = {"type": "Point", "coordinates": [places[0]["lon"], places[0]["lat"]]}
    return {"type": "Feature", "geometry": geometry, "properties": record}


def flat(record: Record) -> Record:
    """Return a record as one flat row with the names of CSV_COLUMNS; what it does not have is left out."""
    row: Record = {"photo": record["photo"], "status": record.get("status", "error" if "error" in record else "")}
    places = record.get("places") or []
    if places:
        row.update(places[0])
    for key, value in (record.get("object") or {}).items():
        row[f"object_{key}"] = value
    for key, value in (record.get("error") or {}).items():
        row[f"error_{key}"] = value
    row["notes"] = "; ".join(record.get("notes") or [])
    row.update(record.get("index") or {})
    return row


def _dump(value: Record) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)
