"""engine/parts.py: a photo whose centre lies off the imagery is found by the part of it that lies on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from pyproj import CRS

from crossgeo.engine.agreement import Agreement
from crossgeo.engine.fine import Spot
from crossgeo.engine.parts import PartSearch
from crossgeo.engine.pose import DronePose
from crossgeo.engine.within import SETTLED_M
from crossgeo.geodesy import to_lat_lon
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.filters import Filters
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.select import Selection

WEST, NORTH, GSD_M = 363_000.0, 3_057_600.0, 0.5  # of the imagery, as the fixtures write it
UTM = CRS.from_epsg(32645)
MARGIN_PX = 200  # of ground to the west of the imagery


@pytest.fixture(scope="module")
def wide(make_patchwork: Callable[[int, int], np.ndarray]) -> np.ndarray:
    """Ground that goes on to the west of the imagery."""
    return make_patchwork(23, 800)


@pytest.fixture(scope="module")
def cut(wide: np.ndarray, tmp_path_factory: pytest.TempPathFactory, write_ortho: Any, dense: Any) -> Iterator[GeoIndex]:
    """An index of what lies east of the margin."""
    folder = tmp_path_factory.mktemp("cut")
    write_ortho(folder / "ortho.tif", wide[:600, MARGIN_PX:])
    build_index([folder / "ortho.tif"], folder / "cut.geo", dense.tiles, dense.identity, BuildOptions(gsd_m=GSD_M, tile_px=96))
    with GeoIndex.open(folder / "cut.geo") as index:
        yield index


@pytest.fixture
def parts(cut: GeoIndex, dense: Any) -> PartSearch:
    """The second attempt on what is left."""
    return PartSearch(cut, dense)


def rivals(parts: PartSearch, photo: Any, poses: list[DronePose], selection: Selection | None = None) -> list[Spot]:
    return [spot for part in parts.settings.parts for spot in parts.rivals(photo, part, poses, selection)]


@pytest.mark.parametrize("heading", [0.0, 130.0])
def test_a_photo_centred_off_the_imagery_is_found_by_what_reaches_in(
    parts: PartSearch, wide: np.ndarray, make_ground: Any, heading: float
) -> None:
    ground = make_ground(wide)  # its pixel (0, 0) is at (WEST, NORTH), so everything lies MARGIN_PX further east there
    x, y = WEST - 4.0, NORTH - 140.0
    photo = ground.photo(x + MARGIN_PX * GSD_M, y, heading, 75.0)
    poses = [DronePose(float(turn), 75.0) for turn in range(0, 360, 10)]
    best, *others = sorted(rivals(parts, photo, poses), key=lambda spot: -spot.merit)
    assert np.hypot(best.x - x, best.y - y) < 5.0
    assert abs((best.pose.heading_deg - heading + 180.0) % 360.0 - 180.0) < 10.0
    away = [spot for spot in others if np.hypot(spot.x - x, spot.y - y) > 20.0]
    assert away and all(best.merit > spot.merit + 0.15 for spot in away)
    assert not parts._index.covers(best.segment, x, y)


@pytest.mark.parametrize("inside", [True, False])
def test_rivals_lie_in_a_selection_whatever_tiles_their_parts_lie_on(
    parts: PartSearch, wide: np.ndarray, make_ground: Any, inside: bool
) -> None:
    x, y = WEST + 150.0, NORTH - 150.0
    photo, middle = make_ground(wide).photo(x + MARGIN_PX * GSD_M, y, 0.0, 75.0), x if inside else x + 60.0
    selection = Selection(parts._index, Filters.of(near=to_lat_lon(UTM, middle, y), radius_m=6.0))
    found = rivals(parts, photo, [DronePose(0.0, 75.0)], selection)
    assert all(np.hypot(spot.x - middle, spot.y - y) <= 6.0 + SETTLED_M + 2.0 for spot in found)
    assert inside == any(np.hypot(spot.x - x, spot.y - y) < 2.0 and spot.merit > 0.7 for spot in found)


def test_a_part_that_shows_sky_suggests_nothing(parts: PartSearch, wide: np.ndarray, make_ground: Any) -> None:
    photo = make_ground(wide).photo(WEST + 250.0, NORTH - 150.0, 0.0, 75.0)
    tilted = [DronePose(0.0, 75.0, tilt_deg=70.0, fov_deg=100.0)]  # its upper edge is above the horizon
    assert parts.rivals(photo, (0.0, -0.3), tilted, None) == []
    assert parts.rivals(photo, (0.0, 0.3), tilted, None)


def test_agreement_falls_with_what_moves_a_placement(cut: GeoIndex, dense: Any, wide: np.ndarray, make_ground: Any) -> None:
    x, y = WEST + 120.0, NORTH - 150.0
    photo = make_ground(wide).photo(x + MARGIN_PX * GSD_M, y, 40.0, 75.0)
    right = Spot(cut.segments[0], x, y, DronePose(40.0, 75.0), 0.8, 10.0, 0)
    placed = [right, replace(right, x=x + 15.0), replace(right, pose=DronePose(80.0, 75.0)), replace(right, pose=DronePose(40.0, 110.0))]
    beyond = replace(right, x=x + 9_000.0)
    fits = [spot.fit or 0.0 for spot in Agreement(cut, dense).judge(photo, [*placed, beyond])]
    assert fits[0] > 0.8
    assert max(fits[1:4]) < fits[0] - 0.3
    assert fits[4] == 0.0
