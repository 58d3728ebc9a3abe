"""Exported tiles lie where the index has them, and say whose imagery they are."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from crossgeo.errors import UsageError
from crossgeo.indexer.export import COLUMNS, check_formats, export_descriptors, export_tiles
from crossgeo.indexer.index import GeoIndex


def test_geojson_and_csv_hold_every_tile_in_order(made_index: Path, tmp_path: Path) -> None:
    with GeoIndex.open(made_index) as index:
        assert export_tiles(index, tmp_path / "a.geojson") == export_tiles(index, tmp_path / "a.csv") == len(index)
        points = json.loads((tmp_path / "a.geojson").read_text())["features"]
        with (tmp_path / "a.csv").open(newline="") as stream:
            rows = list(csv.DictReader(stream))
        assert tuple(rows[0]) == COLUMNS
        lat_lon = index.lat_lon(np.arange(len(index)))
        np.testing.assert_allclose([p["geometry"]["coordinates"][::-1] for p in points], lat_lon, atol=1e-7)
        np.testing.assert_allclose([[float(r["lat"]), float(r["lon"])] for r in rows], lat_lon, atol=1e-7)
        np.testing.assert_allclose([[float(r["x"]), float(r["y"])] for r in rows], index.centres)
        assert [p["properties"]["tile"] for p in points] == [int(r["tile"]) for r in rows] == list(range(len(index)))
        first = index.segments[0].tiles
        assert {r["source"] for r in rows[:first]} == {"ortho.tif"}
        assert {(r["source"], r["crs"], r["vintage"]) for r in rows[first:]} == {("far.tif", "EPSG:32737", "")}


def test_descriptors_are_the_rows_of_the_tiles(made_index: Path, tmp_path: Path) -> None:
    with GeoIndex.open(made_index) as index:
        assert export_descriptors(index, tmp_path / "d.npy") == (len(index), 48)
        np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), index.descriptors(np.arange(len(index))))


def test_other_formats_are_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\.geojson or \.csv"):
        check_formats(tmp_path / "a.shp")
    with pytest.raises(UsageError, match=r"\.npy"):
        check_formats(tmp_path / "a.csv", tmp_path / "d.csv")
