"""Answers as KML 2.2 (OGC 07-147r2): a placemark for each, coloured by status, for globes and phones."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from crossgeo.engine.output.rows import COLUMNS, Record, by_point, flat, place_point
from crossgeo.engine.output.xml import text, words

COLOURS = {  # aabbggrr
    "located": "ff50af4c", "ambiguous": "ff00a5ff", "low_confidence": "ff3643f4", "outside_coverage": "ff9e9e9e", "error": "ff000000",
}  # fmt: skip
_KINDS = {"text": "string", "number": "double", "integer": "int"}


def write_kml(path: Path, records: Iterable[Record]) -> None:
    """Write a document with a placemark for each row of the table: the best place and the object's outline, or nowhere."""
    with path.open("w", encoding="utf-8", newline="") as stream:
        stream.write('<?xml version="1.0" encoding="UTF-8"?>\n<kml xmlns="http://www.opengis.net/kml/2.2">\n<Document>\n')
        for status, colour in COLOURS.items():
            line = f"<LineStyle><color>{colour}</color><width>2</width></LineStyle>"
            icon = f"<IconStyle><color>{colour}</color></IconStyle>"
            stream.write(f'<Style id="{status}">{icon}{line}<PolyStyle><color>40{colour[2:]}</color></PolyStyle></Style>\n')
        stream.write('<Schema name="answer" id="answer">')
        stream.writelines(f'<SimpleField type="{_KINDS[kind]}" name="{name}"/>' for name, kind in COLUMNS.items())
        stream.write("</Schema>\n")
        for record in records:
            stream.writelines(_placemark(one) for one in by_point(record))
        stream.write("</Document>\n</kml>\n")


def _placemark(record: Record) -> str:
    row = flat(record)
    style = "error" if "error_message" in row else row["status"]
    when = f"<TimeStamp><when>{text(row['taken'])}</when></TimeStamp>" if "taken" in row else ""
    known = "".join(f'<SimpleData name="{name}">{text(value)}</SimpleData>' for name, value in row.items())
    parts = [_geometry(shape) for shape in (place_point(record), (record.get("object") or {}).get("polygon")) if shape]
    shape = parts[0] if len(parts) == 1 else f"<MultiGeometry>{''.join(parts)}</MultiGeometry>" if parts else ""
    return (
        f"<Placemark><name>{text(row['photo'])}</name><description>{text(words(row))}</description>{when}<styleUrl>#{style}</styleUrl>"
        f'<ExtendedData><SchemaData schemaUrl="#answer">{known}</SchemaData></ExtendedData>{shape}</Placemark>\n'
    )


def _geometry(shape: Record) -> str:
    if shape["type"] == "Point":
        return f"<Point><coordinates>{_position(shape['coordinates'])}</coordinates></Point>"
    rings = [f"<LinearRing><coordinates>{' '.join(map(_position, ring))}</coordinates></LinearRing>" for ring in shape["coordinates"]]
    holes = "".join(f"<innerBoundaryIs>{ring}</innerBoundaryIs>" for ring in rings[1:])
    return f"<Polygon><outerBoundaryIs>{rings[0]}</outerBoundaryIs>{holes}</Polygon>"


def _position(position: list[float]) -> str:
    return f"{position[0]:.7f},{position[1]:.7f}"
