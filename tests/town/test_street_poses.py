"""A camera car drives along streets and takes a panorama every five metres, in one corner of a town."""

from itertools import chain, pairwise

import numpy as np
import pytest

from crossgeo.errors import UsageError
from crossgeo.town.layout import Town
from crossgeo.town.street_camera import StreetPose
from crossgeo.town.street_poses import dense_street_poses

RIM_M = 10.0


@pytest.fixture(scope="module")
def stretches(town: Town) -> list[list[StreetPose]]:
    return dense_street_poses(town, 40, np.random.default_rng(4), RIM_M)


def test_neighbours_along_a_street_are_five_metres_apart(stretches: list[list[StreetPose]]) -> None:
    steps = [np.hypot(b.x - a.x, b.y - a.y) for stretch in stretches for a, b in pairwise(stretch)]
    assert len(steps) > 20
    assert min(steps) > 4.3 and max(steps) < 5.7
    assert np.mean(steps) == pytest.approx(5.0, abs=0.15)
    assert any(step < 5.0 for step in steps) and any(step > 5.0 for step in steps)


def test_the_car_looks_where_it_drives(stretches: list[list[StreetPose]]) -> None:
    for stretch in stretches:
        for a, b in pairwise(stretch):
            driven = np.degrees(np.arctan2(b.x - a.x, b.y - a.y))
            assert abs((a.heading_deg - driven + 180.0) % 360.0 - 180.0) < 30.0
    assert len({pose.height_m for pose in chain(*stretches)}) == 1


def test_its_places_fill_one_corner_within_the_rim_and_are_free(town: Town, stretches: list[list[StreetPose]]) -> None:
    poses = list(chain(*stretches))
    xy = np.array([(pose.x, pose.y) for pose in poses])
    assert len(poses) == 40
    assert xy.min() >= RIM_M and xy.max() <= town.size_m - RIM_M
    corners = np.array([(x, y) for x in (RIM_M, town.size_m - RIM_M) for y in (RIM_M, town.size_m - RIM_M)])
    assert np.abs(xy[None] - corners[:, None]).max(axis=(1, 2)).min() < 0.75 * town.size_m
    columns, rows = (xy[:, 0] / 0.2).astype(int), ((town.size_m - xy[:, 1]) / 0.2).astype(int)
    assert (town.layers.building[rows, columns] < 0).all()


def test_the_same_numbers_drive_the_same_way(town: Town, stretches: list[list[StreetPose]]) -> None:
    assert dense_street_poses(town, 40, np.random.default_rng(4), RIM_M) == stretches
    assert dense_street_poses(town, 0, np.random.default_rng(4)) == []


def test_a_town_with_fewer_places_says_how_many_it_has(town: Town) -> None:
    with pytest.raises(UsageError, match=r"has \d\d places every 5 m of its streets, 10 m and more from its edge, and not 4000"):
        dense_street_poses(town, 4000, np.random.default_rng(4), RIM_M)
