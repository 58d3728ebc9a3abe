"""Filters select the tiles that may show a place inside and say of places whether they are; what is no area is refused."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import UsageError
from crossgeo.indexer.filters import Filters
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.places import LAT_LON
from crossgeo.indexer.select import Selection, Selector
from crossgeo.indexer.sources_of import is_of_vintage


@pytest.fixture(scope="module")
def index(made_index: Path) -> Iterator[GeoIndex]:
    with GeoIndex.open(made_index) as opened:
        yield opened


class FakeIndex:
    """Tiles on a grid about a place, without files."""

    def __init__(self, lat: float, lon: float, crs: CRS | None = None, side: int = 41, stride_m: float = 15.0) -> None:
        crs = crs or geodesy.metric_crs_at(lat, lon)
        x, y = geodesy.from_lat_lon(crs, lat, lon)
        steps = (np.arange(side) - side // 2) * stride_m
        east, north = np.meshgrid(steps, steps)
        self.centres = np.stack([x + east.ravel(), y + north.ravel()], axis=1)
        low, high = self.centres.min(axis=0), self.centres.max(axis=0)
        bounds = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
        self.segments = (Segment(0, "s-0", crs, bounds, (-90.0, -180.0, 90.0, 180.0), 0, len(self.centres)),)
        lon_of, lat_of = geodesy.transform(crs, LAT_LON, self.centres[:, 0], self.centres[:, 1])
        self.places = list(zip(lat_of.tolist(), lon_of.tolist(), strict=True))

    def lat_lon(self) -> list[tuple[float, float]]:
        return self.places

    def selection(self, filters: Filters) -> Selection:
        return Selection(cast(GeoIndex, self), filters)


def held(index: FakeIndex, selection: Selection) -> set[int]:
    return set(np.flatnonzero(selection.holds(index.segments[0], index.centres)).tolist())


def square(lat: float, lon: float, side_deg: float) -> list[list[float]]:
    half = side_deg / 2.0
    corners = [[-half, -half], [half, -half], [half, half], [-half, half], [-half, -half]]
    return [[lon + a, lat + b] for a, b in corners]


def test_without_filters_nothing_is_selected(index: GeoIndex) -> None:
    assert Selector(index).select(Filters.of()) is None


def test_bounds_hold_what_lies_in_them_and_select_it_with_a_margin() -> None:
    index = FakeIndex(27.63, 85.52)
    selection = index.selection(Filters.of(bounds=(85.519, 27.6295, 85.521, 27.6312)))
    inside = {n for n, (lat, lon) in enumerate(index.lat_lon()) if 27.6295 <= lat <= 27.6312 and 85.519 <= lon <= 85.521}
    assert held(index, selection) == inside and 50 < len(inside) < 200
    for margin_m in (0.0, 16.0, 64.0):
        ids = set(selection.ids(margin_m).tolist())
        assert inside < ids  # a few more, since margins are rounded up
        box = shapely.box(*index.centres[sorted(inside)].min(axis=0), *index.centres[sorted(inside)].max(axis=0))
        away = shapely.distance(box, shapely.points(index.centres))
        assert set(np.flatnonzero(away <= margin_m).tolist()) <= ids
        assert (away[sorted(ids)] <= max(margin_m, 16.0) * 1.02 + 25.0).all()


def test_a_circle_holds_what_lies_within_its_radius() -> None:
    index = FakeIndex(-6.1, 39.2)
    selection = index.selection(Filters.of(near=(-6.1003, 39.2004), radius_m=80.0))
    inside = {n for n, place in enumerate(index.lat_lon()) if geodesy.distance_m(-6.1003, 39.2004, *place) <= 80.0}
    assert held(index, selection) == inside and len(inside) > 60
    assert inside <= set(selection.ids().tolist())


def test_a_wide_circle_holds_all_and_one_on_the_other_side_of_the_earth_nothing() -> None:
    index = FakeIndex(27.63, 85.52)
    assert len(index.selection(Filters.of(near=(30.0, 80.0), radius_m=2e6)).ids()) == len(index.centres)
    assert len(index.selection(Filters.of(near=(-27.63, -94.48), radius_m=1e6)).ids()) == 0
    assert len(index.selection(Filters.of(near=(-27.63, -94.48), radius_m=500.0)).ids()) == 0


def test_holes_and_several_polygons_are_respected() -> None:
    index, lat, lon = FakeIndex(27.63, 85.52), 27.63, 85.52
    shape = {"type": "MultiPolygon", "coordinates": [
        [square(lat, lon, 0.003), square(lat, lon, 0.0015)[::-1]], [square(lat, lon, 0.0005)], [square(lat + 0.0024, lon, 0.0006)],
    ]}  # fmt: skip
    selection = index.selection(Filters.of(polygon=shape))

    def within(place: tuple[float, float], side: float, north: float = 0.0) -> bool:
        return max(abs(place[0] - lat - north), abs(place[1] - lon)) <= side / 2.0

    places = index.lat_lon()
    inside = {
        n for n, p in enumerate(places) if (within(p, 0.003) and not within(p, 0.0015)) or within(p, 0.0005) or within(p, 0.0006, 0.0024)
    }
    assert held(index, selection) == inside and len(inside) > 100
    assert inside <= set(selection.ids().tolist())
    hole = [n for n, p in enumerate(places) if within(p, 0.0007) and not within(p, 0.0005)]
    assert not set(hole) & held(index, selection)


def test_features_are_joined_and_overlaps_count_once() -> None:
    index = FakeIndex(27.63, 85.52)
    rings = [square(27.63, 85.5195, 0.001), square(27.63, 85.5203, 0.001)]
    features = [{"type": "Feature", "properties": None, "geometry": {"type": "Polygon", "coordinates": [ring]}} for ring in rings]
    both = index.selection(Filters.of(polygon={"type": "FeatureCollection", "features": features}))
    alone = [held(index, index.selection(Filters.of(polygon=feature))) for feature in features]
    assert held(index, both) == alone[0] | alone[1] and alone[0] & alone[1]


def test_filters_together_hold_what_all_of_them_do() -> None:
    index = FakeIndex(27.63, 85.52)
    parts: list[dict[str, Any]] = [
        {"bounds": (85.519, 27.62, 85.53, 27.64)}, {"near": (27.6305, 85.5195), "radius_m": 90.0},
        {"polygon": {"type": "Polygon", "coordinates": [square(27.63, 85.5199, 0.0014)]}},
    ]  # fmt: skip
    alone = [held(index, index.selection(Filters.of(**part))) for part in parts]
    joined = index.selection(Filters.of(**{key: value for part in parts for key, value in part.items()}))
    assert held(index, joined) == set.intersection(*alone)
    assert 10 < len(held(index, joined)) < min(len(some) for some in alone)
    assert held(index, joined) <= set(joined.ids().tolist())


@pytest.mark.parametrize("lon", [179.999, -179.999])
@pytest.mark.parametrize(
    "filters",
    [
        Filters.of(bounds=(179.9985, -17.001, -179.9985, -16.999)),
        Filters.of(near=(-17.0, 180.0), radius_m=150.0),
        Filters.of(polygon={"type": "Polygon", "coordinates": [square(-17.0, 180.0, 0.003)]}),
        Filters.of(polygon={"type": "Polygon", "coordinates": [square(-17.0, -180.0, 0.003)]}),
    ],
)
def test_areas_go_across_the_antimeridian(filters: Filters, lon: float) -> None:
    index = FakeIndex(-17.0, lon)  # of the zone on either side
    selection = index.selection(filters)
    inside = held(index, selection)
    east = {n for n in inside if index.lat_lon()[n][1] > 0.0}
    assert east and inside - east  # on both sides
    assert inside <= set(selection.ids().tolist())
    assert len(selection.ids()) < len(index.centres)
    x, y = geodesy.from_lat_lon(index.segments[0].crs, -17.0, 179.99)
    assert not selection.holds(index.segments[0], (x, y)).any()


def test_bounds_on_this_side_of_the_antimeridian_hold_nothing_beyond() -> None:
    index = FakeIndex(-17.0, 179.999)
    selection = index.selection(Filters.of(bounds=(179.0, -17.1, 180.0, -16.9)))
    assert held(index, selection) == {n for n, (_, lon) in enumerate(index.lat_lon()) if lon > 0.0 or lon == -180.0}


def test_the_whole_earth_holds_all_even_at_a_pole() -> None:
    for lat, lon in ((27.63, 85.52), (89.999, 10.0), (-89.999, 10.0), (-17.0, 180.0)):
        index = FakeIndex(lat, lon)
        world = {"type": "Polygon", "coordinates": [[[-180, -90], [180, -90], [180, 90], [-180, 90], [-180, -90]]]}
        for filters in (Filters.of(bounds=(-180.0, -90.0, 180.0, 90.0)), Filters.of(polygon=world)):
            selection = index.selection(filters)
            assert len(selection.ids()) == len(held(index, selection)) == len(index.centres)


def test_an_area_about_a_pole_holds_what_is_nearer() -> None:
    index = FakeIndex(89.9995, 10.0)
    selection = index.selection(Filters.of(bounds=(-180.0, 89.9996, 180.0, 90.0)))
    assert held(index, selection) == {n for n, (lat, _) in enumerate(index.lat_lon()) if lat >= 89.9996}
    assert held(index, selection) <= set(selection.ids().tolist())


def test_a_long_edge_is_straight_in_degrees() -> None:
    """An edge over six degrees along 60 N bends by kilometres against the metres of UTM; it is its degrees that count."""
    index = FakeIndex(60.0, 15.0)
    selection = index.selection(
        Filters.of(polygon={"type": "Polygon", "coordinates": [[[12, 59], [18, 59], [18, 60], [12, 60], [12, 59]]]})
    )
    inside = {n for n, (lat, _) in enumerate(index.lat_lon()) if lat <= 60.0}
    assert held(index, selection) == inside
    assert inside <= set(selection.ids().tolist())
    assert len(selection.ids()) < len(inside) + 41 * 3


def test_segments_far_apart_are_selected_by_their_own_places(index: GeoIndex) -> None:
    south, west, north, east = index.segments[1].bounds_lat_lon
    selection = Selector(index).select(Filters.of(bounds=(west - 0.01, south - 0.01, east + 0.01, north + 0.01)))
    assert selection is not None
    assert set(index.segment_numbers[selection.ids()].tolist()) == {1}
    assert len(selection.ids()) == index.segments[1].tiles
    assert len(selection.of_segments([0]).ids()) == 0
    assert selection.of_segments([1]) is selection.of_segments([1])


def test_a_selection_is_made_once(index: GeoIndex, monkeypatch: pytest.MonkeyPatch) -> None:
    selector, ring = Selector(index), square(27.64, 85.51, 0.01)
    first = selector.select(Filters.of(polygon={"type": "Polygon", "coordinates": [ring]}))
    assert first is not None
    ids = first.ids(10.0)
    monkeypatch.setattr(geodesy, "transform", None)
    again = selector.select(Filters.of(polygon={"coordinates": [[*ring]], "type": "Polygon"}))
    assert again is first and again.ids(12.0) is ids
    assert not ids.flags.writeable


def test_the_last_few_selections_are_kept(index: GeoIndex) -> None:
    selector = Selector(index)
    circles = [Filters.of(near=(27.64, 85.51), radius_m=100.0 + number) for number in range(20)]
    first = selector.select(circles[0])
    for circle in circles:
        selector.select(circle)
    assert len(selector._made) < 20
    assert selector.select(circles[0]) is not first


@settings(max_examples=40, deadline=None)
@given(st.floats(-88.0, 88.0), st.floats(-180.0, 180.0), st.integers(0, 2**32 - 1))
def test_no_tile_that_a_place_inside_needs_is_left_out(lat: float, lon: float, seed: int) -> None:
    """Wherever on the earth: places inside a random polygon lie within half a stride of a selected tile."""
    rng = np.random.default_rng(seed)
    index = FakeIndex(lat, lon, side=21)
    turns = np.sort(rng.uniform(0.0, 2.0 * math.pi, 7))
    reach = rng.uniform(0.0004, 0.0015, 7)
    ring = [[lon + r * math.cos(t) / math.cos(math.radians(lat)), lat + r * math.sin(t)] for r, t in zip(reach, turns, strict=True)]
    polygon = shapely.Polygon(ring)
    if not polygon.is_valid or polygon.area == 0.0:
        return
    selection = index.selection(Filters.of(polygon={"type": "Polygon", "coordinates": [[*ring, ring[0]]]}))
    selected = index.centres[selection.ids(15.0 * math.sqrt(0.5))]
    segment = index.segments[0]
    places = rng.uniform(index.centres.min(axis=0), index.centres.max(axis=0), (60, 2))
    places = places[selection.holds(segment, places)]
    assert selection.near(segment, places, 0.0).all()
    for place in places:
        assert np.abs(selected - place).max(axis=1).min() <= 7.5 + 1e-6


@pytest.mark.parametrize(
    ("vintage", "asked", "is_of"),
    [
        ("2023", "2023", True), ("2023-06", "2023", True), ("2023-06-30", "2023-06", True), ("2023", "2023-06", False),
        (None, "2023", False), ("2021", "2021/2023", True), ("2023-12", "2021/2023", True), ("2024", "2021/2023", False),
        ("2020-12-31", "2021/2023", False), ("2023-06-30", "2021/2023-06", True), ("2023-07", "2021/2023-06", False),
        ("2023", "2021/2023-06", False), ("20", "2023", False),
    ],
)  # fmt: skip
def test_a_vintage_lies_wholly_in_what_is_asked(vintage: str | None, asked: str, is_of: bool) -> None:
    assert Filters.of(vintage=asked).vintage == asked
    assert is_of_vintage(vintage, asked) == is_of


GOOD = {"type": "Polygon", "coordinates": [square(27.63, 85.52, 0.01)]}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"bounds": (10.0, 5.0, 10.0, 6.0)}, "hold nothing"),
        ({"bounds": (10.0, 6.0, 11.0, 5.0)}, "hold nothing"),
        ({"bounds": (10.0, 5.0, 181.0, 6.0)}, "not on the earth"),
        ({"bounds": (10.0, math.nan, 11.0, 6.0)}, "not on the earth"),
        ({"near": (91.0, 0.0)}, "not a place"),
        ({"near": (0.0, 0.0), "radius_m": 0.0}, "radius"),
        ({"vintage": "summer"}, "no date"),
        ({"vintage": "2023/2021"}, "no date"),
        ({"vintage": "2023-06/2023-05-30"}, "no date"),
        ({"vintage": "2021/2022/2023"}, "no date"),
        ({"polygon": {"type": "Point", "coordinates": [85.0, 27.0]}}, "Point"),
        ({"polygon": {"type": "Polygon", "coordinates": []}}, "three corners"),
        ({"polygon": {"type": "Polygon", "coordinates": [[[1, 1], [2, 2], [1, 1]]]}}, "three corners"),
        ({"polygon": {"type": "Polygon", "coordinates": [[[1, 1], [2, 2], [3, 3], [1, 1]]]}}, "itself|area"),
        ({"polygon": {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}}, "itself"),
        ({"polygon": {"type": "Polygon", "coordinates": [[[1, 91], [2, 91], [2, 95], [1, 91]]]}}, "not on the earth"),
        ({"polygon": {"type": "Polygon", "coordinates": [[["a", 1], [2, 2], [2, 0]]]}}, "rings"),
        ({"polygon": {"type": "Polygon", "coordinates": [[[179, 1], [-179, 1], [-179, 2], [179, 2], [179, 1]]]}}, "antimeridian"),
        ({"polygon": {"type": "Polygon"}}, "without coordinates"),
        ({"polygon": {"type": "FeatureCollection", "features": []}}, "no polygon"),
        ({"polygon": {"type": "FeatureCollection"}}, "without features"),
        ({"polygon": {"type": "Feature", "geometry": None}}, "something"),
        ({"polygon": {"type": "MultiPolygon", "coordinates": 3}}, "without coordinates"),
        ({"polygon": {"nothing": 1}}, "something"),
    ],
)
def test_what_is_no_area_is_refused(given: dict[str, Any], says: str) -> None:
    assert Filters.of(polygon=GOOD).polygon is not None
    with pytest.raises(UsageError, match=says):
        Filters.of(**given)
