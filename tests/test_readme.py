"""The Python of the README runs as it is written."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.geodesy import distance_m
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.town.write import write_town

README = Path(__file__).resolve().parents[1] / "README.md"


@pytest.mark.slow
def test_the_ten_lines_of_python_print_a_place_and_an_object(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert len(code.splitlines()) <= 10
    town = tmp_path / "town"
    write_town(town, 9004, 150.0, photos=1)  # whose photo is found at once
    (town / "photos" / "photo_0000.jpg").rename(tmp_path / "photo.jpg")
    describer = EgoTRDescriber.load("egotr-s-drone")
    options = BuildOptions(tile_m=describer.tile_view.extent_m, tile_px=describer.tile_view.size_px, stride_m=30.0)
    build_index([town / "ortho.tif"], tmp_path / "city.geo", describer.tiles, describer.identity, options)
    monkeypatch.chdir(tmp_path)
    exec(compile(code, "README.md", "exec"), {})
    printed = capsys.readouterr().out.split("\n")
    status, lat, lon, radius_m, heading_deg = printed[0].split()
    (truth,) = json.loads((town / "truth.geojson").read_text())["features"]
    assert status in ("located", "ambiguous", "low_confidence")
    assert distance_m(float(lat), float(lon), truth["properties"]["lat"], truth["properties"]["lon"]) < 25.0
    assert float(radius_m) > 0.0
    assert 0.0 <= float(heading_deg) < 360.0
    assert ("Polygon" in printed[1]) == (status in ("located", "ambiguous"))
