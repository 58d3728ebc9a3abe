"""GeoJSON is read, and what is none is told apart from what is not there."""

import json
from pathlib import Path

import numpy as np
import pytest

from crossgeo.errors import InputError
from crossgeo.indexer.geojson import read_features
from crossgeo.indexer.region import Region


def test_features_come_in_their_order(tmp_path: Path) -> None:
    (tmp_path / "two.geojson").write_text('{"type": "FeatureCollection", "features": [{"id": 1}, {"id": 2}]}')
    assert [feature["id"] for feature in read_features(tmp_path / "two.geojson", "roofs")] == [1, 2]


@pytest.mark.parametrize("text", ["no json", "[]", '{"type": "Feature"}', '{"features": 3}', '{"features": ["a"]}', '{"features": null}'])
def test_what_holds_no_features_is_no_collection(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.geojson").write_text(text)
    with pytest.raises(InputError, match=r"a\.geojson: .*give roofs as .*"):
        read_features(tmp_path / "a.geojson", "roofs")


def test_a_missing_file_and_a_folder_are_named_as_such(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nope\.geojson: no such file; give roofs"):
        read_features(tmp_path / "nope.geojson", "roofs")
    with pytest.raises(InputError, match="cannot be read"):
        read_features(tmp_path, "roofs")


@pytest.mark.parametrize("wrap", ["bare", "feature", "collection"])
def test_ground_is_read_from_a_bare_polygon_as_from_features(tmp_path: Path, wrap: str) -> None:
    shape = {"type": "Polygon", "coordinates": [[[20.0, 10.0], [21.0, 10.0], [21.0, 11.0], [20.0, 11.0], [20.0, 10.0]]]}
    feature = {"type": "Feature", "properties": {}, "geometry": shape}
    data = {"bare": shape, "feature": feature, "collection": {"type": "FeatureCollection", "features": [feature]}}[wrap]
    (tmp_path / "ground.geojson").write_text(json.dumps(data))
    inside = Region.read(tmp_path / "ground.geojson").contains(np.array([10.5, 12.0]), np.array([20.5, 20.5]))
    assert inside.tolist() == [True, False]
    (tmp_path / "ground.geojson").write_text('{"type": "LineString"}')
    with pytest.raises(InputError, match=r"ground\.geojson: .*LineString where a GeoJSON Polygon"):
        Region.read(tmp_path / "ground.geojson")
