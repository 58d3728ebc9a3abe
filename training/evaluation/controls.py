"""What figures must be held against: chance by exact formula, answers of turned photos, and the place of a random tile."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossgeo.training.evaluation.places import WITHIN_M
from crossgeo.training.evaluation.protocols import Gallery, within_m
from crossgeo.training.evaluation.retrieval import AT, Matches
from crossgeo.training.pairs import PairSet

LEAST_TURN_DEG = 30.0  # of a heading that is shifted at random
HEADING_CHANCE = {"median_deg": 90.0, "within_10_deg": 20.0 / 360.0}
_DRAWS = 100_000


def chance_recalls(matches: Matches, references: int) -> dict[str, float]:
    """Return R@1, R@5, R@10 and R@1 % of answers in random order: 1 - C(N - m, k) / C(N, k), averaged over the questions' m."""
    right, times = np.unique(np.diff(matches.starts), return_counts=True)
    at = {f"R@{k}": k for k in AT} | ({"R@1%": references // 100} if references >= 100 else {})
    return {name: float(np.average([_hit(int(m), references, k) for m in right], weights=times)) for name, k in at.items()}


def chance_within(pairs: PairSet, gallery: Gallery) -> dict[str, float]:
    """Return the share of random answers within 1, 5, 25 and 50 m, counted exactly over the gallery; needs known places."""
    counts = {limit: sum(len(found) for found in within_m(pairs, gallery, limit)) for limit in WITHIN_M}
    return {f"within_{limit:g}_m": count / (len(pairs) * len(gallery)) for limit, count in counts.items()}


def chance_median_m(pairs: PairSet, gallery: Gallery, seed: int = 0) -> float | None:
    """Return the median metres from a photo to a random reference of its CRS (drawn, seeded); None where no places are known."""
    rng = np.random.default_rng(seed)
    rows, columns = rng.integers(0, len(pairs), _DRAWS), rng.integers(0, len(gallery), _DRAWS)
    away = []
    for row, column in zip(rows.tolist(), columns.tolist(), strict=True):
        pair, reference = pairs.pairs[row], gallery.references[column]
        if pair.xy is None or reference.centre_xy is None:
            return None
        if pair.crs == reference.crs:
            away.append(np.hypot(pair.xy[0] - reference.centre_xy[0], pair.xy[1] - reference.centre_xy[1]))
    return float(np.median(away)) if away else None


def random_turns(count: int, seed: int) -> NDArray[np.float64]:
    """Return (N,) angles to shift headings by, in degrees: anywhere on the circle but within 30 of the truth."""
    return np.random.default_rng([seed, 1]).uniform(LEAST_TURN_DEG, 360.0 - LEAST_TURN_DEG, count)


def random_directions(count: int, seed: int) -> NDArray[np.float64]:
    """Return (N,) directions, in degrees from the middle of a panorama, in which it is cut."""
    return np.random.default_rng([seed, 2]).uniform(0.0, 360.0, count)


def random_boxes(sizes: Sequence[tuple[float, float]], window: tuple[float, float], count: int, seed: int) -> NDArray[np.float64]:
    """Return (count, 4) xyxy boxes of sizes drawn from a list, anywhere in a window (width, height) that holds them."""
    rng = np.random.default_rng([seed, 3])
    drawn = np.array(sizes, np.float64)[rng.integers(0, len(sizes), count)]
    corner = rng.uniform(0.0, 1.0, (count, 2)) * np.maximum(np.array(window) - drawn, 0.0)
    return np.concatenate([corner, corner + drawn], axis=1)


def _hit(right: int, references: int, k: int) -> float:
    missed = np.prod([max(0, references - k - i) / (references - i) for i in range(right)])
    return 1.0 - float(missed)
