"""Controls: chance by formula against drawing, wrong headings, histograms learned and plain."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from crossgeo.training.datasets.cvact import read_cvact
from crossgeo.training.evaluation.controls import (
    LEAST_TURN_DEG,
    chance_median_m,
    chance_recalls,
    chance_within,
    random_boxes,
    random_turns,
)  # fmt: skip
from crossgeo.training.evaluation.histograms import Histograms, features, features_of
from crossgeo.training.evaluation.protocols import Gallery
from crossgeo.training.evaluation.retrieval import Matches, first_ranks


def test_chance_is_exact_for_one_and_for_several_right_references() -> None:
    assert chance_recalls(Matches.single(np.arange(200)), 200) == pytest.approx({"R@1": 0.005, "R@5": 0.025, "R@10": 0.05, "R@1%": 0.01})
    rng = np.random.default_rng(0)
    drawn = np.mean([rng.permutation(30)[:3].min() < 5 for _ in range(20_000)])
    exact = chance_recalls(Matches.of([[0, 1, 2]] * 4), 30)
    assert exact["R@5"] == pytest.approx(drawn, abs=0.015)
    assert "R@1%" not in exact
    mixed = chance_recalls(Matches.of([[0], [0, 1, 2]]), 30)
    assert mixed["R@1"] == pytest.approx((1 / 30 + 3 / 30) / 2)


def test_chance_within_metres_is_counted_over_the_gallery(cvact: Path) -> None:
    pairs = read_cvact(cvact).split("test")
    gallery = Gallery.of(pairs)
    found = chance_within(pairs, gallery)
    assert found["within_1_m"] == pytest.approx(1 / 8)
    assert found["within_5_m"] == pytest.approx(10 / 64)  # te00 and te07 are each other's
    middle = chance_median_m(pairs, gallery)
    assert middle is not None and 40.0 < middle < 90.0


def test_shifted_headings_are_wrong_by_a_good_deal_and_the_same_for_a_seed() -> None:
    turns = random_turns(1000, 3)
    assert (random_turns(1000, 3) == turns).all() and (random_turns(1000, 4) != turns).any()
    assert np.minimum(turns, 360.0 - turns).min() >= LEAST_TURN_DEG


def test_random_boxes_lie_in_the_window_with_the_sizes_given() -> None:
    boxes = random_boxes([(30.0, 20.0), (100.0, 50.0)], (256.0, 128.0), 500, 0)
    sizes = {(round(w), round(h)) for w, h in (boxes[:, 2:] - boxes[:, :2]).tolist()}
    assert sizes == {(30, 20), (100, 50)}
    assert boxes[:, :2].min() >= 0.0 and boxes[:, 2].max() <= 256.0 and boxes[:, 3].max() <= 128.0


def pictures(seed: int, count: int, hue_of_photo: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Places whose photo shows the aerial picture's colour under another hue."""
    rng = np.random.default_rng(seed)
    photos, aerials = [], []
    for _ in range(count):
        hue, value = int(rng.integers(0, 180)), int(rng.integers(80, 255))
        noise = rng.integers(-20, 20, (40, 40))
        for kept, turn in ((aerials, 0), (photos, hue_of_photo)):
            hsv = np.stack([np.full((40, 40), (hue + turn) % 180), np.full((40, 40), 200), np.clip(value + noise, 0, 255)], axis=-1)
            kept.append(cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB))
    return photos, aerials


def test_a_learned_map_finds_what_plain_correlation_cannot() -> None:
    training = tuple(features_of(part) for part in pictures(1, 400, 60))
    photos, aerials = (features_of(part) for part in pictures(2, 40, 60))

    def found(maps: Histograms) -> float:
        ranks = first_ranks(maps.photos(photos), maps.aerials(aerials), Matches.single(np.arange(40)))
        return float((ranks <= 5).mean())

    assert found(Histograms.learn(*training)) > found(Histograms.plain(photos, aerials)) + 0.2


def test_features_tell_rough_from_smooth_and_hold_shares() -> None:
    rng = np.random.default_rng(0)
    smooth = np.full((64, 64, 3), 128, np.uint8)
    rough = rng.integers(0, 256, (64, 64, 3)).astype(np.uint8)
    one, other = features(smooth), features(rough)
    assert (one[:-9] ** 2).sum() == pytest.approx(1.0) and (other[:-9] ** 2).sum() == pytest.approx(1.0)
    assert one[-6] == 0.0 < other[-6]
