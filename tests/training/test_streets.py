"""training/streets.py: streets are found from where photos were taken, and held out whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely import Point

from crossgeo.errors import InputError
from crossgeo.town.layout import make_town
from crossgeo.town.street_poses import dense_street_poses
from crossgeo.training.splits import GAP, hold_out_groups
from crossgeo.training.streets import streets_of


def line(start: tuple[float, float], end: tuple[float, float], step_m: float, error_m: float = 2.0, seed: int = 0) -> np.ndarray:
    """Photos along a straight street, with a receiver's error."""
    length = float(np.hypot(end[0] - start[0], end[1] - start[1]))
    at = np.linspace(0.0, 1.0, int(length / step_m) + 1)[:, None]
    return np.array(start) + at * (np.array(end) - start) + np.random.default_rng(seed).normal(0.0, error_m, (len(at), 2))


def groups(street_of: np.ndarray, *lengths: int) -> list[set[int]]:
    return [set(part.tolist()) for part in np.split(street_of, np.cumsum(lengths)[:-1])]


@pytest.mark.parametrize("step_m", [3.0, 10.0, 40.0])
def test_streets_that_cross_are_two_and_go_on_past_the_crossing(step_m: float) -> None:
    one, other = line((0, 0), (400, 0), step_m), line((200, -210), (200, 210), step_m, seed=1)
    places = np.concatenate([one, other])
    street_of = streets_of(places)
    clear = np.hypot(*(places - (200.0, 0.0)).T) > 45.0  # a photo on the crossing may be either's
    is_one = np.arange(len(places)) < len(one)
    first, second = (set(street_of[part & clear].tolist()) for part in (is_one, ~is_one))
    assert len(first) == len(second) == 1 and first != second


def test_a_street_that_ends_at_another_is_its_own_and_one_that_bends_goes_on() -> None:
    through, side = line((0, 0), (400, 0), 10.0), line((200, 20), (200, 300), 10.0)
    first, second = groups(streets_of(np.concatenate([through, side])), len(through), len(side))
    assert len(first) == len(second) == 1 and first != second
    angle = np.linspace(0.0, np.pi / 2.0, 40)[:, None]
    bend = 250.0 * np.concatenate([np.cos(angle), np.sin(angle)], axis=1)
    assert set(streets_of(bend)) == {0}


def test_parallel_streets_are_apart_and_two_lanes_are_one() -> None:
    near, far = line((0, 0), (300, 0), 10.0), line((0, 45), (300, 45), 10.0, seed=1)
    first, second = groups(streets_of(np.concatenate([near, far])), len(near), len(far))
    assert len(first) == len(second) == 1 and first != second
    assert set(streets_of(np.concatenate([near, line((0, 7), (300, 7), 10.0, seed=2)]))) == {0}


def test_a_street_goes_on_straight_over_a_gap_and_no_farther() -> None:
    here, there, away = line((0, 0), (100, 0), 10.0), line((200, 0), (300, 0), 10.0, seed=1), line((450, 0), (550, 0), 10.0, seed=2)
    parts = groups(streets_of(np.concatenate([here, there, away])), len(here), len(there), len(away))
    assert parts[0] == parts[1] and len(parts[0]) == 1 and parts[2] != parts[0]


def test_places_far_from_all_others_are_streets_of_their_own() -> None:
    assert streets_of(np.zeros((0, 2))).tolist() == []
    assert streets_of(np.array([[5.0, 5.0]])).tolist() == [0]
    assert sorted(streets_of(np.array([[0.0, 0.0], [500.0, 0.0], [0.0, 90.0], [1.0, 1.0]]))) == [0, 0, 1, 2]


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.floats(0, 400), st.floats(0, 400)), min_size=1, max_size=60))
def test_every_place_has_a_street_and_places_at_one_spot_have_the_same(places: list[tuple[float, float]]) -> None:
    xy = np.array(places)
    street_of = streets_of(np.concatenate([xy, xy]))
    assert (street_of[: len(xy)] == street_of[len(xy) :]).all()
    assert set(street_of) == set(range(street_of.max() + 1))


def test_a_camera_car_s_held_out_photos_are_on_streets_that_training_never_saw() -> None:
    town = make_town(8, 800.0)
    rng = np.random.default_rng(1)
    poses = [pose for stretch in dense_street_poses(town, 600, rng) for pose in stretch]
    xy = np.array([(pose.x, pose.y) for pose in poses]) + rng.normal(0.0, 2.0, (len(poses), 2))
    lane_of = np.array([np.argmin([lane.distance(Point(*place)) for lane, _ in town.lanes]) for place in xy])
    seen = []
    for seed in range(4):
        names = np.array(hold_out_groups(xy, streets_of(xy), ("train", "held"), 0.25, 60.0, seed))
        assert 0.15 * len(xy) <= (names == "held").sum() <= 0.25 * len(xy) and (names == "train").any()
        seen.append(np.isin(lane_of[names == "held"], lane_of[names == "train"]).mean())
    assert np.mean(seen) < 0.05  # by blocks of 120 m it is a seventh


@pytest.mark.parametrize("gap_m", [0.0, 60.0])
def test_whole_groups_are_held_out_and_what_overlaps_them_is_given_up(gap_m: float) -> None:
    xy = np.random.default_rng(0).uniform(0.0, 600.0, (200, 2))
    group_of = np.arange(200) // 20
    names = np.array(hold_out_groups(xy, group_of, ("train", "held"), 0.25, gap_m, 3))
    assert (names == "held").sum() == 40 and len(set(group_of[names == "held"])) == 2
    rest, held = xy[names == "train"], xy[names == "held"]
    assert (np.abs(rest[:, None] - held[None]).max(axis=2) >= gap_m - 1e-3).all()
    assert ((names == GAP).sum() == 0) == (gap_m == 0.0)


def test_the_smallest_group_is_held_out_where_none_fits_and_one_group_is_refused() -> None:
    xy, group_of = np.random.default_rng(0).uniform(0.0, 600.0, (30, 2)), np.array([0] * 18 + [1] * 12)
    names = hold_out_groups(xy, group_of, ("train", "held"), 0.25, 0.0)
    assert [name == "held" for name in names] == [group == 1 for group in group_of]
    with pytest.raises(InputError, match="one group"):
        hold_out_groups(xy, np.zeros(30, np.int64), ("train", "held"), 0.25, 0.0)
