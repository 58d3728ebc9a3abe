"""Merged objects in every format, as others read them."""

from __future__ import annotations

import csv
import json
import subprocess
import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pyogrio
import pytest
import shapely

from crossgeo.engine.output import SUFFIXES, write_objects
from crossgeo.engine.output.rows import OBJECT_COLUMNS

Record = dict[str, Any]
KML = "{http://www.opengis.net/kml/2.2}"


@pytest.fixture
def objects() -> list[Record]:
    """One seen from two photos by rays that meet, and one of a single photo with a name to escape."""
    ring = [[85.0, 27.0], [85.0001, 27.0], [85.0001, 27.0001], [85.0, 27.0001], [85.0, 27.0]]
    rays = {"lat": 27.00004, "lon": 85.00006, "radius_m": 2.5, "covariance_m2": [[1.0, 0.1], [0.1, 2.0]], "count": 2, "chi2": 0.5}
    one = {
        "id": "object-1", "lat": 27.00005, "lon": 85.00005, "radius_m": 0.8, "polygon": {"type": "Polygon", "coordinates": [ring]},
        "width_m": 9.9, "height_m": 11.1, "confidence": 0.8, "rays": rays, "photos": ["a.jpg", "b.jpg"],
    }  # fmt: skip
    return [one, {**one, "id": "object-2", "radius_m": None, "rays": None, "photos": ["c<&.jpg"]}]


@pytest.mark.parametrize("suffix", [".geojson", ".gpkg", ".parquet", ".kml", ".gpx"])
def test_gdal_reads_each_object_once(tmp_path: Path, objects: list[Record], suffix: str, ogrinfo: str) -> None:
    path = tmp_path / f"objects{suffix}"
    write_objects(path, iter(objects))
    if suffix == ".parquet":  # not every GDAL reads it
        table = pq.read_table(path).to_pylist()
        shapes, names = [shapely.from_wkb(row["geometry"]) for row in table], [row["id"] for row in table]
        assert json.loads(table[0]["object"]) == objects[0] and table[0]["rays_lat"] == 27.00004 and table[1]["rays_lat"] is None
    else:
        seen = subprocess.run([ogrinfo, "-al", "-so", str(path)], capture_output=True, text=True, check=True).stdout
        assert "Feature Count: 2" in seen
        meta, _, wkb, columns = pyogrio.raw.read(path, layer="waypoints" if suffix == ".gpx" else None)
        shapes = [shapely.from_wkb(one) for one in wkb]
        names = list(columns[list(meta["fields"]).index("name" if suffix == ".gpx" else "id")])
    assert names == ["object-1", "object-2"]
    for at in shapes:
        assert at.distance(shapely.Point(85.00005, 27.00005)) < 1e-9
        assert at.geom_type == ("Point" if suffix == ".gpx" else "Polygon")


def test_tables_have_all_columns_and_leave_out_what_is_not_known(tmp_path: Path, objects: list[Record]) -> None:
    write_objects(tmp_path / "objects.csv", objects)
    one, other = csv.DictReader((tmp_path / "objects.csv").read_text().splitlines())
    assert list(one) == list(OBJECT_COLUMNS)
    assert (one["rays_radius_m"], one["photo_count"], one["photos"]) == ("2.5", "2", "a.jpg; b.jpg")
    assert (other["radius_m"], other["rays_count"], other["photos"]) == ("", "", "c<&.jpg")
    write_objects(tmp_path / "objects.jsonl", objects)
    assert [json.loads(line) for line in (tmp_path / "objects.jsonl").read_text().splitlines()] == objects
    write_objects(tmp_path / "objects.kml", objects)
    marks = ET.parse(tmp_path / "objects.kml").iter(f"{KML}Placemark")
    assert [mark.findtext(f"{KML}description") for mark in marks] == ["seen in 2 photos; 9.9 x 11.1 m", "seen in 1 photo; 9.9 x 11.1 m"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_of_no_objects_a_file_is_written_too(tmp_path: Path, suffix: str) -> None:
    write_objects(tmp_path / f"none{suffix}", [])
    assert (tmp_path / f"none{suffix}").exists()
