"""Answers as KML 2.2 (OGC 07-147r2): a placemark for each, coloured by status, for globes and phones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from crossgeo.engine.output.rows import COLUMNS, OBJECT_COLUMNS, Kind, Record, by_point, flat, flat_object, place_point
from crossgeo.engine.output.xml import text, words

COLOURS = {  # aabbggrr
    "located": "ff50af4c", "ambiguous": "ff00a5ff", "low_confidence": "ff3643f4", "outside_coverage": "ff9e9e9e", "error": "ff000000",
}  # fmt: skip
OBJECT_COLOUR = "ff31c5ff"
_KINDS = {"text": "string", "number": "double", "integer": "int"}


def write_kml(path: Path, records: Iterable[Record]) -> None:
    """Write a document with a placemark for each row of the table: the best place and the object's outline, or nowhere."""
    _write(path, "answer", COLUMNS, COLOURS, (_placemark(one) for record in records for one in by_point(record)))


def write_kml_objects(path: Path, objects: Iterable[Record]) -> None:
    """Write a document with a placemark for each merged object: its outline."""
    _write(path, "object", OBJECT_COLUMNS, {"object": OBJECT_COLOUR}, map(_object, objects))


def _write(path: Path, schema: str, columns: dict[str, Kind], colours: dict[str, str], placemarks: Iterable[str]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write('<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2">\n<Document>\n')
        for style, colour in colours.items():
            line = f"<LineStyle><color>{colour}</color><width>2</width></LineStyle>"
            icon = f"<IconStyle><color>{colour}</color></IconStyle>"
            stream.write(f'<Style id="{style}">{icon}{line}<PolyStyle><color>40{colour[2:]}</color></PolyStyle></Style>\n')
        stream.write(f'<Schema name="{schema}" id="{schema}">')
        stream.writelines(f'<SimpleField type="{_KINDS[kind]}" name="{name}"/>' for name, kind in columns.items())
        stream.write("</Schema>\n")
        stream.writelines(placemarks)
        stream.write("</Document>\n</kml>\n")


def _placemark(record: Record) -> str:
    row = flat(record)
    style = "error" if "error_message" in row else row["status"]
    when = f"<TimeStamp><when>{text(row['taken'])}</when></TimeStamp>" if "taken" in row else ""
    parts = [_geometry(shape) for shape in (place_point(record), (record.get("object") or {}).get("polygon")) if shape]
    shape = parts[0] if len(parts) == 1 else f"<MultiGeometry>{''.join(parts)}</MultiGeometry>" if parts else ""
    return (
        f"<Placemark><name>{text(row['photo'])}</name><description>{text(words(row))}</description>{when}<styleUrl>#{style}</styleUrl>"
        f"{_known('answer', row)}{shape}</Placemark>\n"
    )


def _object(thing: Record) -> str:
    row = flat_object(thing)
    said = f"seen in {len(thing['photos'])} photo{'s' * (len(thing['photos']) > 1)}; {thing['width_m']:.1f} x {thing['height_m']:.1f} m"
    return (
        f'<Placemark id="{text(thing["id"])}"><name>{text(thing["id"])}</name>'
        f"<description>{text(said)}</description><styleUrl>#object</styleUrl>"
        f"{_known('object', row)}{_geometry(thing['polygon'])}</Placemark>\n"
    )


def _known(schema: str, row: Record) -> str:
    values = "".join(f'<SimpleData name="{name}">{text(value)}</SimpleData>' for name, value in row.items())
    return f'<ExtendedData><SchemaData schemaUrl="#{schema}">{values}</SchemaData></ExtendedData>'


def _geometry(shape: Record) -> str:
    if shape["type"] == "Point":
        return f"<Point><coordinates>{_position(shape['coordinates'])}</coordinates></Point>"
    rings = [f"<LinearRing><coordinates>{' '.join(map(_position, ring))}</coordinates></LinearRing>" for ring in shape["coordinates"]]
    holes = "".join(f"<innerBoundaryIs>{ring}</innerBoundaryIs>" for ring in rings[1:])
    return f"<Polygon><outerBoundaryIs>{rings[0]}</outerBoundaryIs>{holes}</Polygon>"


def _position(position: list[float]) -> str:
    return f"{position[0]:.7f},{position[1]:.7f}"
