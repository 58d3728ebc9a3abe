"""Answers as others read them: GDAL, pyarrow, the schemas of GPX and the rules of GeoParquet 1.1."""

from __future__ import annotations

import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely
from pyproj import CRS

from crossgeo.engine.output import write_records

Record = dict[str, Any]
GPX = "{http://www.topografix.com/GPX/1/1}"


def read(path: Path, layer: str | None = None) -> tuple[list[Any], dict[str, Any]]:
    """Return the geometries and the columns that GDAL reads."""
    _, _, shapes, columns = (meta := pyogrio.raw.read(path, layer=layer))
    names = list(meta[0]["fields"])
    lies = [None] * len(columns[0]) if shapes is None else [None if wkb is None else shapely.from_wkb(wkb) for wkb in shapes]
    return lies, dict(zip(names, columns, strict=True))


def test_a_geopackage_has_its_three_layers_with_all_that_was_answered(tmp_path: Path, everything: list[Record]) -> None:
    out = tmp_path / "out.gpkg"
    write_records(out, everything)
    assert {str(name): kind for name, kind in pyogrio.list_layers(out)} == {"places": "Point", "objects": "Polygon", "errors": None}
    assert CRS(pyogrio.read_info(out, layer="places")["crs"]) == CRS("EPSG:4326")
    lies, columns = read(out, "places")
    assert list(columns["photo"]) == ["a.jpg", "ä,b.jpg", "c.jpg", "m.jpg"]
    assert [at if at is None else (at.x, at.y) for at in lies] == [(85.5, 27.6123457)] * 2 + [None, (85.5, 27.6123457)]
    assert [json.loads(answer) for answer in columns["answer"]] == [record for record in everything if "status" in record]
    assert np.isnan(columns["lat"][2])
    lies, columns = read(out, "objects")
    assert [shapely.geometry.mapping(at)["type"] for at in lies] == ["Polygon", "Polygon"]
    assert list(zip(columns["photo"], columns["group"], columns["point_y"].tolist(), strict=True))[1] == ("m.jpg", "drive", 2.5)
    _, columns = read(out, "errors")
    told = list(zip(columns["photo"], columns["error_type"], columns["error_message"], strict=True))
    assert told == [
        ("d.jpg", "InputError", "d.jpg: cut short"), ("m.jpg", "UsageError", "outside"), ("e\x01<&.jpg", "InputError", "no such file"),
    ]  # fmt: skip


def test_a_geopackage_of_many_writes_and_of_nothing_keeps_its_layers(
    tmp_path: Path, answers: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgeo.engine.output.geopackage.RECORDS_A_WRITE", 3)
    write_records(tmp_path / "many.gpkg", answers * 3)
    write_records(tmp_path / "none.gpkg", [])
    for name, counts in (("many", (9, 3, 3)), ("none", (0, 0, 0))):
        layers = ("places", "objects", "errors")
        assert tuple(pyogrio.read_info(tmp_path / f"{name}.gpkg", layer=layer)["features"] for layer in layers) == counts
    assert list(read(tmp_path / "many.gpkg", "places")[1]["photo"]) == ["a.jpg", "ä,b.jpg", "c.jpg"] * 3


def test_geoparquet_holds_what_the_specification_asks_for(
    tmp_path: Path, everything: list[Record], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgeo.engine.output.geoparquet.ROWS_A_GROUP", 3)
    out = tmp_path / "out.parquet"
    write_records(out, everything)
    table = pq.read_table(out)
    about = json.loads(pq.read_metadata(out).metadata[b"geo"])
    # https://geoparquet.org/releases/v1.1.0: what is required of file and column, and of what we chose to say
    assert (about["version"], about["primary_column"]) == ("1.1.0", "geometry")
    column = about["columns"]["geometry"]
    assert column["encoding"] == "WKB"
    assert table.schema.field("geometry").type == pa.binary()
    shapes = [None if wkb is None else shapely.from_wkb(wkb) for wkb in table["geometry"].to_pylist()]
    assert sorted({at.geom_type for at in shapes if at is not None}) == column["geometry_types"] == ["Point", "Polygon"]
    assert CRS.from_json_dict(column["crs"]) == CRS("OGC:CRS84")
    assert column["edges"] == "planar"
    assert column["orientation"] == "counterclockwise"
    assert all(at.exterior.is_ccw for at in shapes if at is not None and at.geom_type == "Polygon")
    lying = [at for at in shapes if at is not None]
    assert column["bbox"] == list(shapely.MultiPoint([p for at in lying for p in shapely.get_coordinates(at)]).bounds)
    boxes = table["bbox"].to_pylist()
    for edge in ("xmin", "ymin", "xmax", "ymax"):
        name, field = column["covering"]["bbox"][edge]
        assert (name, table.schema.field(name).type.field(field).type) == ("bbox", pa.float64())
    assert [box and tuple(box.values()) for box in boxes] == [at and at.bounds for at in shapes]
    # and the answers
    assert table["photo"].to_pylist() == ["a.jpg", "ä,b.jpg", "c.jpg", "d.jpg", "m.jpg", "m.jpg", "m.jpg", "e\x01<&.jpg"]
    assert table["error_message"].to_pylist()[3] == "d.jpg: cut short"
    assert table["tile"].to_pylist()[:3] == [17, 17, None]
    assert json.loads(table["answer"].to_pylist()[0]) == everything[0]
    assert pq.ParquetFile(out).num_row_groups == 3


def test_geoparquet_of_nothing_is_still_one(tmp_path: Path) -> None:
    write_records(tmp_path / "out.geoparquet", [])
    about = json.loads(pq.read_metadata(tmp_path / "out.geoparquet").metadata[b"geo"])
    assert about["columns"]["geometry"]["geometry_types"] == []
    assert "bbox" not in about["columns"]["geometry"]


def test_kml_is_read_with_places_outlines_and_columns(tmp_path: Path, everything: list[Record]) -> None:
    out = tmp_path / "out.kml"
    write_records(out, everything)
    lies, columns = read(out)
    assert list(columns["Name"]) == ["a.jpg", "ä,b.jpg", "c.jpg", "d.jpg", "m.jpg", "m.jpg", "m.jpg", "e\ufffd<&.jpg"]
    assert [at and at.geom_type for at in lies] == ["GeometryCollection", "Point", None, None, "GeometryCollection", "Point", "Point", None]
    assert {part.geom_type for part in lies[0].geoms} == {"Point", "Polygon"}
    assert list(columns["status"])[:4] == ["located", "low_confidence", "outside_coverage", "error"]
    assert columns["error_message"][3] == "d.jpg: cut short"
    root = ET.parse(out).getroot()
    styles = {f"#{style.get('id')}" for style in root.iter("{http://www.opengis.net/kml/2.2}Style")}
    assert {used.text for used in root.iter("{http://www.opengis.net/kml/2.2}styleUrl")} <= styles
    assert [when.text for when in root.iter("{http://www.opengis.net/kml/2.2}when")] == ["2024-05-01T10:00:00+02:00"] * 3


def test_gpx_has_waypoints_in_the_schema_s_order_and_the_rest_in_its_extensions(tmp_path: Path, everything: list[Record]) -> None:
    out = tmp_path / "out.gpx"
    write_records(out, everything)
    lies, columns = read(out, "waypoints")
    assert [(at.x, at.y) for at in lies[:2]] == [(85.05, 27.05), (85.5, 27.6123457)]
    assert list(columns["name"]) == ["a.jpg", "ä,b.jpg", "m.jpg", "m.jpg", "m.jpg"]
    root = ET.parse(out).getroot()
    order = ["time", "name", "desc", "type", "extensions"]  # of wptType in the schema of GPX 1.1
    for point in root.iter(f"{GPX}wpt"):
        own = [child.tag.removeprefix(GPX) for child in point]
        assert own == [name for name in order if name in own]
    assert [when.text for when in root.iter(f"{GPX}time")] == ["2024-05-01T08:00:00.000Z"] * 3
    assert root[-1].tag == f"{GPX}extensions"
    without = [child.findtext("{urn:crossgeo:gpx:1}photo") for child in root[-1]]
    assert without == ["c.jpg", "d.jpg", "e\ufffd<&.jpg"]


def test_a_time_without_its_offset_is_no_time_of_gpx(tmp_path: Path, several: Record) -> None:
    write_records(tmp_path / "out.gpx", [{**several, "taken": "2024-05-01T10:00:00"}])
    root = ET.parse(tmp_path / "out.gpx").getroot()
    assert not list(root.iter(f"{GPX}time"))
    assert [one.text for one in root.iter("{urn:crossgeo:gpx:1}taken")] == ["2024-05-01T10:00:00"] * 3


@pytest.mark.parametrize("suffix", [".geojson", ".csv", ".kml", ".gpx", ".gpkg"])
def test_the_system_s_own_gdal_reads_it(suffix: str, tmp_path: Path, everything: list[Record], ogrinfo: str) -> None:
    out = tmp_path / f"out{suffix}"
    write_records(out, everything)
    done = subprocess.run([ogrinfo, "-ro", "-al", "-so", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    counts = [int(line.split(":")[1]) for line in done.stdout.splitlines() if line.startswith("Feature Count")]
    expected = {".gpx": [5, 0, 0, 0, 0], ".gpkg": [4, 2, 3]}
    assert counts == expected.get(suffix, [8]), done.stdout
