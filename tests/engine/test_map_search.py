"""Searching by maps: the place is found among all imagery, within what may be searched, and what is made is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.map_search import MapSearch, MapSearchSettings
from crossgeo.engine.photo_maps import PhotoMaps
from crossgeo.engine.pose import DronePose
from crossgeo.geodesy import to_lat_lon
from crossgeo.indexer.filters import Filters
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.select import Selection

X, Y = 363_147.0, 3_057_452.0
POSES = [DronePose(15.0 * k, 60.0) for k in range(24)]


class Counting:
    """Counts the windows that go through the stem."""

    def __init__(self, describer: Any) -> None:
        self.describer, self.windows = describer, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.describer, name)

    def scene_features(self, windows: NDArray[np.uint8]) -> list[Tensor]:
        self.windows += len(windows)
        features: list[Tensor] = self.describer.scene_features(windows)
        return features


@pytest.fixture
def index(index_path: Path) -> Iterator[GeoIndex]:
    with GeoIndex.open(index_path) as opened:
        yield opened


def asked(ground: Any, describer: Any, heading_deg: float = 120.0) -> PhotoMaps:
    return PhotoMaps(describer, ground.photo(X, Y, heading_deg, 60.0))


def test_the_best_rival_of_all_imagery_lies_at_the_place_with_its_heading(index: GeoIndex, ground: Any, dense: Any) -> None:
    best = MapSearch(index, dense).rivals(asked(ground, dense), POSES, None)[0]
    assert math.hypot(best.x - X, best.y - Y) < 5.0  # a cell is 6 m
    assert best.pose.heading_deg == 120.0
    assert best.fit is not None and best.fit > 0.5


def test_rivals_lie_apart_and_best_first(index: GeoIndex, ground: Any, dense: Any) -> None:
    settings = MapSearchSettings(rivals=10, cosine_weight=0.0)
    rivals = MapSearch(index, dense, settings).rivals(asked(ground, dense), POSES, None)
    assert len(rivals) == 10
    fits = [rival.fit or 0.0 for rival in rivals]
    assert fits == sorted(fits, reverse=True)
    apart = [math.hypot(a.x - b.x, a.y - b.y) for k, a in enumerate(rivals) for b in rivals[:k]]
    assert min(apart) >= settings.apart_m


def test_only_a_selection_is_searched(index: GeoIndex, ground: Any, dense: Any) -> None:
    far = Selection(index, Filters.of(near=to_lat_lon(index.segments[0].crs, X + 70.0, Y + 70.0), radius_m=30.0))
    rivals = MapSearch(index, dense).rivals(asked(ground, dense), POSES, far)
    assert rivals
    for rival in rivals:
        assert math.hypot(rival.x - (X + 70.0), rival.y - (Y + 70.0)) <= 30.0 + 6.0 + 2.0


def test_of_many_blocks_those_that_descriptors_like_best_are_searched(index: GeoIndex, ground: Any, dense: Any) -> None:
    describer = Counting(dense)
    settings = MapSearchSettings(block_px=160, blocks=2)
    best = MapSearch(index, describer, settings).rivals(asked(ground, describer), POSES, None)[0]
    assert math.hypot(best.x - X, best.y - Y) < 5.0
    assert describer.windows == 2


def test_imagery_goes_through_the_stem_once_for_all_questions(index: GeoIndex, ground: Any, dense: Any) -> None:
    describer = Counting(dense)
    search = MapSearch(index, describer)
    first = search.rivals(asked(ground, dense), POSES, None)
    made = describer.windows
    again = search.rivals(asked(ground, dense), POSES, None)
    assert made > 0 and describer.windows == made
    assert [(spot.x, spot.y, spot.fit) for spot in again] == [(spot.x, spot.y, spot.fit) for spot in first]


def test_a_place_on_the_rim_of_a_block_is_found_like_any_other(index: GeoIndex, ground: Any, dense: Any) -> None:
    side_m = 160 * 60.0 / 160
    x = (math.floor(X / side_m) + 1) * side_m
    photo = PhotoMaps(dense, ground.photo(x, Y, 0.0, 60.0))
    best = MapSearch(index, dense, MapSearchSettings(block_px=160)).rivals(photo, POSES, None)[0]
    assert math.hypot(best.x - x, best.y - Y) < 5.0
