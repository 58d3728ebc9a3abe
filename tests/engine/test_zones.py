"""An index over two UTM zones: a heading that is known against true north is the right one in both."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
from numpy.typing import NDArray
from pyproj import CRS
from rasterio.transform import from_origin

from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import DronePose, Pose
from crossgeo.engine.ranking import ranked
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.zones import zones_of
from crossgeo.geodesy import distance_m, grid_convergence_deg, to_lat_lon
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.select import Selection
from crossgeo.models.views import PhotoGeometry, ground_to_photo, warp

GSD_M, SIDE_M, WIDTH_M, FOV_DEG = 0.5, 150.0, 95.0, 70.0
HEIGHT_M = WIDTH_M / 2.0 / math.tan(math.radians(FOV_DEG / 2.0))
NORTH_M = 7_200_000.0
WEST_M = {32644: 636_000.0, 32645: 364_000.0}  # 11 km apart on either side of 84 degrees east, where grids lie 5 degrees apart


def middle(epsg: int) -> tuple[float, float]:
    return WEST_M[epsg] + SIDE_M / 2.0, NORTH_M - SIDE_M / 2.0


def turn(epsg: int) -> float:
    return grid_convergence_deg(CRS.from_epsg(epsg), *middle(epsg))


def take(rgb: NDArray[np.uint8], grid_heading_deg: float) -> Photo:
    """A photo of the middle of a ground."""
    to_ground = np.linalg.inv(ground_to_photo(PhotoGeometry(200, 150, WIDTH_M, grid_heading_deg, 0.0, FOV_DEG)))
    side = len(rgb) / 2.0
    pixels, _ = warp(rgb, np.array([[1 / GSD_M, 0, side], [0, -1 / GSD_M, side], [0, 0, 1.0]]) @ to_ground, (200, 150))
    return Photo.from_pixels(pixels)


@pytest.fixture(scope="module")
def grounds(make_patchwork: Callable[[int, int], NDArray[np.uint8]]) -> dict[int, NDArray[np.uint8]]:
    """What each zone shows."""
    return {epsg: make_patchwork(epsg, round(SIDE_M / GSD_M)) for epsg in WEST_M}


@pytest.fixture(scope="module")
def two_zones(tmp_path_factory: pytest.TempPathFactory, grounds: dict[int, NDArray[np.uint8]], make_describer: Any) -> Path:
    """An index of both."""
    folder = tmp_path_factory.mktemp("zones")
    for epsg, rgb in grounds.items():
        size = {"width": rgb.shape[1], "height": rgb.shape[0], "count": 3, "dtype": "uint8"}
        where = {"crs": f"EPSG:{epsg}", "transform": from_origin(WEST_M[epsg], NORTH_M, GSD_M, GSD_M)}
        with rasterio.open(folder / f"{epsg}.tif", "w", driver="GTiff", **size, **where) as file:
            file.write(rgb.transpose(2, 0, 1))
    describer = make_describer()
    sources = [folder / f"{epsg}.tif" for epsg in grounds]
    build_index(sources, folder / "both.geo", describer.tiles, describer.identity, BuildOptions(gsd_m=GSD_M, tile_px=96))
    return folder / "both.geo"


@pytest.fixture
def search(two_zones: Path, make_describer: Any) -> Iterator[GeoSearch]:
    """A search over both zones."""
    with GeoSearch(GeoIndex.open(two_zones), make_describer()) as opened:
        yield opened


@pytest.fixture
def tried(search: GeoSearch, monkeypatch: pytest.MonkeyPatch) -> list[tuple[list[float], set[int]]]:
    """Of everything that the search looks for: the headings against the grid, and the zones of the tiles."""
    asked: list[tuple[list[float], set[int]]] = []

    def match(photo: Photo, poses: Sequence[Pose], selection: Selection, top: int, timings: dict[str, float]) -> list[Spot]:
        ids = selection.ids()
        segments = [search.index.segment_of(int(tile)) for tile in ids]
        asked.append((sorted({pose.heading_deg for pose in poses}), {segment.crs.to_epsg() for segment in segments}))
        return [Spot(segments[0], *search.index.centres[ids[0]].tolist(), poses[0], 0.9, 3.0, int(ids[0]))]

    monkeypatch.setattr(search.matchers["drone"], "match", match)
    return asked


def test_a_known_heading_leads_to_the_place_in_the_second_zone(search: GeoSearch, grounds: Any) -> None:
    heading = (140.0 + turn(32645)) % 360.0
    answer = search.query(take(grounds[32645], 140.0), heading_deg=heading, fov_deg=FOV_DEG, height_m=HEIGHT_M)
    best = answer.places[0]
    assert answer.status == "located"
    assert distance_m(best.lat, best.lon, *to_lat_lon(CRS.from_epsg(32645), *middle(32645))) < 2.0
    assert best.heading_deg == pytest.approx(heading, abs=1.0)
    assert {search.index.segment_of(place.tile).crs.to_epsg() for place in answer.places} == set(WEST_M), "rivals of both zones"


def test_each_zone_is_searched_with_headings_against_its_own_grid(search: GeoSearch, grounds: Any, tried: Any) -> None:
    answer = search.query(take(grounds[32644], 140.0), heading_deg=140.0)
    offsets = search.settings.poses.known_heading_deg
    assert [zone for _, zone in tried] == [{32645}, {32644}]
    for headings, (epsg,) in tried:
        assert headings == pytest.approx([140.0 - turn(epsg) + offset for offset in offsets], abs=0.01)
    assert [place.heading_deg for place in answer.places] == pytest.approx([140.0 + offsets[0]] * 2, abs=0.05)


def test_only_the_zone_near_a_prior_is_searched(search: GeoSearch, grounds: Any, tried: Any) -> None:
    here = to_lat_lon(CRS.from_epsg(32644), *middle(32644))
    search.query(take(grounds[32644], 140.0), heading_deg=140.0, near=here, radius_m=300.0)
    assert [zone for _, zone in tried] == [{32644}]
    assert tried[0][0][1] == pytest.approx(140.0 - turn(32644), abs=0.01)


def test_without_a_heading_all_zones_are_searched_at_once(search: GeoSearch, grounds: Any, tried: Any) -> None:
    search.query(take(grounds[32644], 140.0), near=to_lat_lon(CRS.from_epsg(32644), *middle(32644)), radius_m=30_000.0)
    assert [zone for _, zone in tried] == [{32644, 32645}]


def test_rivals_of_zones_stand_in_one_order_and_none_on_a_better_one(search: GeoSearch) -> None:
    one, two = search.index.segments

    def spot(segment: Segment, east_m: float, score: float) -> Spot:
        x, y = middle(segment.crs.to_epsg())
        return Spot(segment, x + east_m, y, DronePose(0.0, WIDTH_M), score, 3.0, 0)

    found = ranked([spot(one, 0.0, 0.9), spot(one, 60.0, 0.3), spot(two, 0.0, 0.5), spot(two, 10.0, 0.4)], 25.0)
    assert [(own.segment.number, own.score) for own in found] == [(one.number, 0.9), (two.number, 0.5), (one.number, 0.3)]


def test_every_tile_is_in_one_zone_and_one_zone_is_the_whole_index(search: GeoSearch, index_path: Path) -> None:
    both = zones_of(search.index)
    assert [zone.convergence_deg for zone in both] == pytest.approx(sorted(turn(epsg) for epsg in WEST_M), abs=0.01)
    searched = np.concatenate([zone.selection.ids() for zone in both if zone.selection is not None])
    assert sorted(searched.tolist()) == list(range(len(search.index)))
    with GeoIndex.open(index_path) as index:
        assert [zone.selection for zone in zones_of(index)] == [None]
