"""Distinct rivals from overlapping tiles."""

import numpy as np
import pytest

from crossgeo.engine.rivals import Rival, apart_m, best_by_tile, hits_at, suppress, thinned


def test_a_tile_keeps_only_its_best_pose_and_padding_is_dropped() -> None:
    scores = np.array([[0.9, 0.5, 0.1], [0.8, 0.7, -np.inf]], np.float32)
    ids = np.array([[4, 7, 9], [7, 4, -1]], np.int64)
    assert [(r.tile, r.pose, round(r.score, 3)) for r in best_by_tile(scores, ids)] == [(4, 0, 0.9), (7, 1, 0.8), (9, 0, 0.1)]


def test_equal_scores_stand_in_a_fixed_order() -> None:
    scores = np.array([[0.5, 0.5], [0.5, 0.5]], np.float32)
    ids = np.array([[8, 3], [3, 8]], np.int64)
    assert [(r.tile, r.pose) for r in best_by_tile(scores, ids)] == [(3, 0), (8, 0)]


def test_rivals_stand_at_least_the_distance_apart() -> None:
    rng = np.random.default_rng(0)
    rivals = [Rival(k, 0, 1.0 - k / 100) for k in range(80)]
    places = np.stack([rng.uniform(27.0, 27.001, 80), rng.uniform(85.0, 85.001, 80)], axis=1)
    kept = suppress(rivals, places, 25.0, 10)
    assert kept[0].tile == 0
    assert len(kept) >= 5
    own = [rival.tile for rival in kept]
    assert min(apart_m(places[own[k + 1 :]], places[own[k]]).min() for k in range(len(own) - 1)) >= 25.0
    left = [number for number in range(80) if apart_m(places[own], places[number]).min() >= 25.0]
    assert len(own) == 10 or not left  # none is dropped without reason


def test_places_on_both_sides_of_the_antimeridian_are_near() -> None:
    assert apart_m(np.array([[0.0, 179.9999]]), np.array([0.0, -179.9999])).tolist() == pytest.approx([22.26], abs=0.1)


def test_as_much_ground_is_kept_of_a_dense_index_as_of_a_coarse_one() -> None:
    assert [hits_at(100, stride_m) for stride_m in (60.0, 15.0, 5.0, 7.5)] == [100, 100, 900, 400]


def test_of_a_dense_index_the_best_tile_of_each_square_stands_for_it() -> None:
    centres = np.array([[0.0, 0.0], [5.0, 10.0], [16.0, 0.0], [14.0, 1.0], [-1.0, 0.0], [5.0, 5.0]])
    segments = np.array([0, 0, 0, 0, 0, 1], np.int32)
    rivals = [Rival(number, 0, 1.0 - number / 10) for number in range(6)]
    assert [rival.tile for rival in thinned(rivals, centres, segments, 5.0)] == [0, 2, 4, 5]
    assert thinned(rivals, centres, segments, 15.0) == rivals
    assert thinned([], centres[:0], segments[:0], 5.0) == []
