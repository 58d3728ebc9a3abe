"""Agreement of all parts of a photo: what lies off the imagery counts against a place where that is asked."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.engine.agreement import Agreement, AgreementSettings
from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import DronePose, StreetPose
from crossgeo.indexer.index import GeoIndex

EAST, Y = 363_300.0, 3_057_452.0  # of the imagery's rim; half way up it


@pytest.fixture
def index(index_path: Path) -> Iterator[GeoIndex]:
    with GeoIndex.open(index_path) as opened:
        yield opened


def fits(index: GeoIndex, dense: Any, ground: Any, x: float, power: float) -> float:
    spot = Spot(index.segments[0], x, Y, DronePose(0.0, 70.0), 1.0, 5.0, 0)
    judged = Agreement(index, dense, AgreementSettings(overlap_power=power)).judge(ground.photo(x, Y, 0.0, 70.0), [spot])
    return judged[0].fit or 0.0


def test_a_true_place_on_the_rim_agrees_where_it_lies_on_imagery(index: GeoIndex, dense: Any, ground: Any) -> None:
    assert fits(index, dense, ground, EAST - 10.0, 0.0) > 0.8


def test_what_lies_off_the_imagery_counts_against_a_place_where_that_is_asked(index: GeoIndex, dense: Any, ground: Any) -> None:
    whole, half = fits(index, dense, ground, EAST - 100.0, 1.0), fits(index, dense, ground, EAST - 10.0, 1.0)
    assert whole > 0.8
    assert 0.3 < half < 0.75 * whole


def test_no_places_are_judged_as_none(index: GeoIndex, dense: Any, ground: Any) -> None:
    assert Agreement(index, dense).judge(ground.photo(EAST - 100.0, Y, 0.0, 70.0), []) == []


@pytest.mark.parametrize(
    ("pose", "count"), [(StreetPose(30.0), 6), (StreetPose(30.0, 2.0, "perspective", 100.0), 2), (DronePose(0.0, 60.0), 9)]
)
def test_parts_lie_in_the_photo_and_their_ground_before_the_camera(pose: Any, count: int) -> None:
    photo = Photo.from_pixels(np.zeros((400, 800, 3), np.uint8))
    parts = pose.parts(photo)
    assert len(parts) == count
    assert all(abs(x) <= 0.5 and abs(y) <= 0.5 for x, y in parts)
    if isinstance(pose, StreetPose):
        for part in parts:
            assert np.hypot(*pose.offset_m(photo, part)) == pytest.approx(9.0, abs=0.01)


def test_the_parts_one_by_one_are_what_is_judged(index: GeoIndex, dense: Any, ground: Any) -> None:
    spot, photo = Spot(index.segments[0], EAST - 10.0, Y, DronePose(0.0, 70.0), 1.0, 5.0, 0), ground.photo(EAST - 10.0, Y, 0.0, 70.0)
    agreement = Agreement(index, dense)
    parts = agreement.by_part(photo, spot)
    assert [part.part for part in parts] == list(spot.pose.parts(photo))
    off = [part for part in parts if part.part[0] > 0.0]
    assert off and all(part.cells < 0.1 * part.shown for part in off), "these lie mostly east of the imagery"
    joined = sum(part.fit * part.cells for part in parts) / sum(part.cells for part in parts)
    assert agreement.judge(photo, [spot])[0].fit == pytest.approx(joined)
