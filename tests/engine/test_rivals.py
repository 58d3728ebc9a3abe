"""Distinct rivals from overlapping tiles."""

import numpy as np

from crossgeo.engine.rivals import Rival, apart_m, best_by_tile, suppress


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
    assert min(apart_m(places[a.tile], places[b.tile]) for a in kept for b in kept if a.tile < b.tile) >= 25.0


def test_places_on_both_sides_of_the_antimeridian_are_near() -> None:
    assert apart_m(np.array([0.0, 179.9999]), np.array([0.0, -179.9999])) < 25.0
