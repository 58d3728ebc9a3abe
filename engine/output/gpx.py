"""Answers as GPX 1.1: a waypoint for each place, with its time where that is known, for satnavs and mappers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path

from crossgeo import __version__
from crossgeo.engine.output.rows import Record, flat_object, table_rows
from crossgeo.engine.output.xml import text, words

NAMESPACE = "urn:crossgeo:gpx:1"


def write_gpx(path: Path, records: Iterable[Record]) -> None:
    """Write a waypoint for each row of the table that has a place, at the object's middle where one was found.

    Errors and photos without a place, which can be no waypoints, stand in the extensions at the end.
    """
    elsewhere: list[Record] = []  # filled while the others are written

    def waypoints() -> Iterator[str]:
        for row, _ in table_rows(records):
            if "lat" in row:
                yield _waypoint(row)
            else:
                elsewhere.append(row)

    _write(path, waypoints(), elsewhere)


def write_gpx_objects(path: Path, objects: Iterable[Record]) -> None:
    """Write a waypoint at the middle of each merged object."""
    _write(path, map(_object, map(flat_object, objects)), [])


def utc(taken: str) -> str | None:
    """Return a time of ISO 8601 as GPX wants it, in UTC; None where its offset from UTC is not known."""
    try:
        when = datetime.fromisoformat(taken)
    except ValueError:
        return None
    return None if when.tzinfo is None else when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _write(path: Path, waypoints: Iterable[str], elsewhere: Sequence[Record]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write(
            f'<?xml version="1.0" encoding="UTF-8"?>\n<gpx version="1.1" creator="crossgeo {__version__}" '
            f'xmlns="http://www.topografix.com/GPX/1/1" xmlns:geo="{NAMESPACE}">\n'
        )
        stream.writelines(waypoints)
        if elsewhere:
            stream.write("<extensions>\n")
            stream.writelines(f"<geo:elsewhere>{_known(row)}</geo:elsewhere>\n" for row in elsewhere)
            stream.write("</extensions>\n")
        stream.write("</gpx>\n")


def _object(row: Record) -> str:
    return (
        f'<wpt lat="{row["lat"]:.7f}" lon="{row["lon"]:.7f}"><name>{text(row["id"])}</name><desc>{text(row["photos"])}</desc>'
        f"<type>object</type><extensions>{_known(row)}</extensions></wpt>\n"
    )


def _waypoint(row: Record) -> str:
    lat, lon = (row.get(f"object_{name}", row[name]) for name in ("lat", "lon"))
    when = utc(row["taken"]) if "taken" in row else None
    time = f"<time>{when}</time>" if when else ""
    return (
        f'<wpt lat="{lat:.7f}" lon="{lon:.7f}">{time}<name>{text(row["photo"])}</name><desc>{text(words(row))}</desc>'
        f"<type>{text(row['status'])}</type><extensions>{_known(row)}</extensions></wpt>\n"
    )


def _known(row: Record) -> str:
    return "".join(f"<geo:{name}>{text(value)}</geo:{name}>" for name, value in row.items())
