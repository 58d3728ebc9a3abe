"""Records and merged objects as rows of a table and as geometry: what every format is made from (docs/formats.md, Answers)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Literal

Record = dict[str, Any]  # an answer's JSON, perhaps with id, group and taken, or {"photo", "error"}
Kind = Literal["text", "number", "integer"]

ABOUT: dict[str, Kind] = {"photo": "text", "id": "text", "group": "text", "taken": "text", "status": "text"}
PLACE: dict[str, Kind] = {
    "lat": "number", "lon": "number", "radius_m": "number", "heading_deg": "number", "score": "number", "tile": "integer",
    "source": "text", "vintage": "text", "camera_lat": "number", "camera_lon": "number",
    "within_5_m": "number", "within_10_m": "number", "within_25_m": "number", "within_50_m": "number",
}  # fmt: skip
POINT: dict[str, Kind] = {"point_x": "number", "point_y": "number"}
OBJECT: dict[str, Kind] = {
    "object_lat": "number", "object_lon": "number", "object_width_m": "number", "object_height_m": "number",
    "object_confidence": "number", "object_bearing_deg": "number",
}  # fmt: skip
SAID: dict[str, Kind] = {"notes": "text", "generation": "integer", "model": "text"}
ERROR: dict[str, Kind] = {"error_type": "text", "error_message": "text"}
OBJECT_COLUMNS: dict[str, Kind] = {  # of objects merged from several photos
    "id": "text", "lat": "number", "lon": "number", "radius_m": "number", "width_m": "number", "height_m": "number",
    "confidence": "number", "rays_lat": "number", "rays_lon": "number", "rays_radius_m": "number", "rays_count": "integer",
    "rays_chi2": "number", "photo_count": "integer", "photos": "text",
}  # fmt: skip
COLUMNS: dict[str, Kind] = {**ABOUT, **PLACE, **POINT, **OBJECT, **SAID, **ERROR}


def by_point(record: Record) -> list[Record]:
    """Return a record of several points as one record for each, with its `point`, `object`, `notes` and `error`; any other as it is."""
    if "objects" not in record:
        return [record]
    shared = {key: value for key, value in record.items() if key != "objects"}
    out = []
    for clicked in record["objects"]:
        notes = [*(record.get("notes") or []), *clicked["notes"]]
        error = {"error": clicked["error"]} if "error" in clicked else {}
        out.append({**shared, "object": clicked["object"], "notes": notes, "point": clicked["point"], **error})
    return out


def flat(record: Record) -> Record:
    """Return a record of one point at most as one flat row with the names of COLUMNS; what it does not have is left out."""
    row: Record = {name: record[name] for name in ABOUT if name in record}
    row.setdefault("status", "error")
    places = record.get("places") or []
    if places:
        row.update(places[0])
        row.update(_prefixed("camera", places[0].get("camera")))
        row.update({f"within_{metres}_m": share for metres, share in (places[0].get("probability") or {}).items()})
    row.update(zip(POINT, record.get("point") or (), strict=False))
    row.update(_prefixed("object", record.get("object")))
    row.update(_prefixed("error", record.get("error")))
    row["notes"] = "; ".join(record.get("notes") or [])
    row.update(record.get("index") or {})
    return {name: row[name] for name in COLUMNS if row.get(name) not in (None, "")}


def flat_object(thing: Record) -> Record:
    """Return a merged object as one flat row with the names of OBJECT_COLUMNS; what it does not have is left out."""
    row = {**thing, **_prefixed("rays", thing["rays"]), "photo_count": len(thing["photos"]), "photos": "; ".join(thing["photos"])}
    return {name: row[name] for name in OBJECT_COLUMNS if row.get(name) is not None}


def table_rows(records: Iterable[Record]) -> Iterator[tuple[Record, Record | None]]:
    """Yield (flat row, geometry) of every record, a row for each point where there are several."""
    for record in records:
        for one in by_point(record):
            yield flat(one), geometry(one)


def geometry(record: Record) -> Record | None:
    """Return a record's GeoJSON geometry: the object's polygon, else the best place, else none."""
    if record.get("object"):
        polygon: Record = record["object"]["polygon"]
        return polygon
    return place_point(record)


def place_point(record: Record) -> Record | None:
    """Return the best place as a GeoJSON Point; None where there is no place."""
    places = record.get("places") or []
    return {"type": "Point", "coordinates": [places[0]["lon"], places[0]["lat"]]} if places else None


def _prefixed(prefix: str, values: Record | None) -> Record:
    return {f"{prefix}_{name}": value for name, value in (values or {}).items()}
