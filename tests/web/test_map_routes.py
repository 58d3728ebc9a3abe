"""What the map page reads: indexes, coverage and tiles."""

from __future__ import annotations

import io
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from PIL import Image
from rasterio.transform import from_origin
from shapely.geometry import Point, shape
from starlette.testclient import TestClient

from crossgeo.engine.mosaic import SmallBlocks
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import to_lat_lon
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.web.coverage import box_of, coverage
from crossgeo.web.mercator import TILE_PX, MapTile, zoom_for
from crossgeo.web.tiles import draw

MIDDLE = (363_150.0, 3_057_450.0)


def tile_at(lat: float, lon: float, z: int) -> tuple[MapTile, float, float]:
    """The tile that shows a place, and where in it, by the formulas of EPSG:3857."""
    across = (lon + 180) / 360 * 2**z
    down = (1 - math.log(math.tan(math.radians(lat)) + 1 / math.cos(math.radians(lat))) / math.pi) / 2 * 2**z
    tile = MapTile(z, int(across), int(down))
    return tile, (across - tile.x) * TILE_PX, (down - tile.y) * TILE_PX


@pytest.fixture(scope="module")
def index(index_path: Path) -> Any:
    with GeoIndex.open(index_path) as opened:
        yield opened


@pytest.mark.parametrize("z", [17, 18, 19, 21])
def test_a_tile_shows_at_each_place_what_the_imagery_shows_there(index: GeoIndex, ground: Any, z: int) -> None:
    crs = index.segments[0].crs
    worst = 0.0
    for x, y in [(363_150.25, 3_057_450.25), (363_100.25, 3_057_500.25), (363_211.75, 3_057_391.25)]:
        tile, across, down = tile_at(*to_lat_lon(crs, x, y), z)
        drawn = draw(index, tile, SmallBlocks())
        assert drawn is not None
        shown = drawn[0][min(int(down), 255), min(int(across), 255)].astype(float)
        row, column = int((3_057_600.0 - y) / 0.5), int((x - 363_000.0) / 0.5)
        reach = max(1, round(tile.metres_per_pixel() / 0.5))  # beneath one pixel of the tile
        true = ground.rgb[row - reach : row + reach + 1, column - reach : column + reach + 1].reshape(-1, 3).astype(float)
        worst = max(worst, float(np.abs(shown - true.mean(axis=0)).max()))
    assert worst < 12.0  # JPEG and a pixel of blur; the patches differ by 50 and more within 5 m


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Return the middles of the windows that are read from here on."""
    seen: list[tuple[float, float]] = []
    window = GeoIndex.read_window

    def reading(index: GeoIndex, segment: Any, x: float, y: float, size_m: float, size_px: int) -> Any:
        seen.append((x, y))
        return window(index, segment, x, y, size_m, size_px)

    monkeypatch.setattr(GeoIndex, "read_window", reading)
    return seen


def test_low_zooms_read_every_block_once_and_later_not_at_all(index: GeoIndex, read: list[tuple[float, float]]) -> None:
    lat, lon = index.lat_lon([0])[0]
    for z in (0, 5, 12, 15):
        read.clear()
        small, tile = SmallBlocks(), tile_at(lat, lon, z)[0]
        drawn = draw(index, tile, small)
        assert drawn is not None and drawn[1].any()
        assert 0 < len(read) == len(set(read)) <= 16
        read.clear()
        assert draw(index, tile, small) is not None
        assert read == []


def test_a_large_area_is_sampled(index: GeoIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crossgeo.engine.mosaic.MOST_BLOCKS", 2)
    lat, lon = index.lat_lon([0])[0]
    drawn = draw(index, tile_at(lat, lon, 14)[0], SmallBlocks())
    assert drawn is not None
    colours = drawn[0][drawn[1]]
    assert 90 < colours.mean() < 170  # the patchwork's mean is 128


def test_tiles_are_kept_by_browsers_and_empty_ones_say_so(client: TestClient, index: GeoIndex) -> None:
    lat, lon = index.lat_lon([len(index) // 2])[0]
    tile, _, _ = tile_at(lat, lon, 18)
    address = f"/v1/tiles/18/{tile.x}/{tile.y}.jpg"
    first = client.get(address)
    assert first.status_code == 200 and first.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(first.content)).size == (256, 256)
    assert first.headers["cache-control"] == "private, no-cache"
    again = client.get(address, headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304 and again.content == b"" and again.headers["etag"] == first.headers["etag"]
    known = client.get(address, params={"v": index.manifest.hash[:16]})
    assert "immutable" in known.headers["cache-control"]
    clear = client.get(address.replace(".jpg", ".webp"))
    assert Image.open(io.BytesIO(clear.content)).format == "WEBP"
    empty = client.get(f"/v1/tiles/18/{tile.x + 50}/{tile.y}.jpg")
    assert empty.status_code == 204 and empty.content == b"" and "etag" in empty.headers


def test_a_tile_that_the_world_does_not_have_is_not_found(client: TestClient) -> None:
    refused = client.get("/v1/tiles/3/8/0.jpg")
    assert refused.status_code == 404 and refused.json()["code"] == "not-found"
    assert client.get("/v1/tiles/25/0/0.jpg").json()["code"] == "validation"
    assert client.get("/v1/tiles/3/0/0.gif").json()["code"] == "validation"
    assert client.get("/v1/tiles/3/0/0.jpg", params={"index": "other"}).json()["code"] == "not-found"


def test_rims_are_clear_in_webp_and_paper_in_jpeg(client: TestClient, index: GeoIndex) -> None:
    tile, _, _ = tile_at(index.bounds_lat_lon[2], index.bounds_lat_lon[1], 17)
    clear = np.asarray(Image.open(io.BytesIO(client.get(f"/v1/tiles/17/{tile.x}/{tile.y}.webp").content)).convert("RGBA"))
    assert {0, 255} <= set(np.unique(clear[..., 3]))
    paper = np.asarray(Image.open(io.BytesIO(client.get(f"/v1/tiles/17/{tile.x}/{tile.y}.jpg").content)))
    assert np.abs(paper[0, 0].astype(int) - [244, 241, 234]).max() < 8


def test_indexes_say_what_a_map_needs(client: TestClient, index: GeoIndex) -> None:
    (told,) = client.get("/v1/indexes").json()["indexes"]
    south, west, north, east = index.bounds_lat_lon
    assert told["bounds"] == [round(edge, 7) for edge in (west, south, east, north)]
    assert told["name"] == "index" and told["hash"] == index.manifest.hash and told["generation"] == 1
    assert told["max_zoom"] == zoom_for(0.5, (south + north) / 2) == 19
    z = told["max_zoom"]
    tile, _, _ = tile_at(told["centre"][1], told["centre"][0], z)
    address = told["tiles_url"].replace("{z}", str(z)).replace("{x}", str(tile.x)).replace("{y}", str(tile.y))
    assert client.get(address).status_code == 200


def test_coverage_is_the_ground_of_the_tiles(client: TestClient, index: GeoIndex) -> None:
    answer = client.get("/v1/coverage")
    assert answer.headers["content-type"] == "application/geo+json"
    (feature,) = answer.json()["features"]
    outline = shape(feature["geometry"])
    assert outline.is_valid and feature["properties"]["tiles"] == len(index)
    inside = [outline.contains(Point(lon, lat)) for lat, lon in index.lat_lon(np.arange(len(index)))]
    assert all(inside)
    south, _, north, east = index.bounds_lat_lon
    assert not outline.contains(Point(east + 0.001, (south + north) / 2))


def test_coverage_is_cut_where_it_crosses_the_antimeridian(
    tmp_path: Path, make_patchwork: Any, make_describer: Any, open_search: Callable[[Path], GeoSearch]
) -> None:
    # In EPSG:32760, at 16.9 degrees south, half on either side.
    corner = from_origin(819_620.0 - 100.0, 8_129_073.0 + 100.0, 0.5, 0.5)
    profile = {"driver": "GTiff", "width": 400, "height": 400, "count": 3, "dtype": "uint8", "crs": "EPSG:32760"}
    with rasterio.open(tmp_path / "sea.tif", "w", transform=corner, **profile) as file:
        file.write(make_patchwork(3, 400).transpose(2, 0, 1))
    describer = make_describer()
    build_index([tmp_path / "sea.tif"], tmp_path / "sea.geo", describer.tiles, describer.identity, BuildOptions(gsd_m=0.5, tile_px=96))
    with open_search(tmp_path / "sea.geo") as search:
        (feature,) = coverage("sea", search)["features"]
        (segment,) = search.index.segments
        places = search.index.lat_lon(np.arange(len(search.index)))
        west, _, east, _ = box_of(search.index)
    assert west > 179.0 and east < -179.0, "it lies on both sides"
    outline = shape(feature["geometry"])
    assert outline.geom_type == "MultiPolygon" and outline.is_valid and len(outline.geoms) == 2
    for part in outline.geoms:
        assert part.bounds[2] - part.bounds[0] < 0.003 and 180.0 in (part.bounds[2], -part.bounds[0]), "each ends at the antimeridian"
        assert part.exterior.is_ccw
    assert all(outline.covers(Point(lon, lat)) for lat, lon in places)
    assert {bool(lon > 0.0) for _, lon in places} == {True, False} and segment.tiles == len(places)
    across_m = math.cos(math.radians(float(places[0][0])))
    area = outline.area * 111_320.0**2 * across_m
    assert area == pytest.approx(len(places) * 15.0**2, rel=0.02), "nothing is lost or doubled"


def test_a_box_is_found_across_the_antimeridian() -> None:
    (left,) = MapTile(1, 0, 0).pixels_of(10.0, 179.0, 20.0, -179.0)
    (right,) = MapTile(1, 1, 0).pixels_of(10.0, 179.0, 20.0, -179.0)
    assert left[0] == 0.0 and right[2] == 256.0
    assert len(MapTile(0, 0, 0).pixels_of(10.0, 179.0, 20.0, -179.0)) == 2
