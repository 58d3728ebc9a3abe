"""How widely inverted lists must be searched: measured on questions like those that photos ask, against exact search.

A photo's descriptor is 0.9 times that of the ground it shows, plus something 0.43 long that varies as descriptors do
(benchmarks/results/descriptor-model.json, photos of Banepa). So questions are made of the rows themselves.
"""

from __future__ import annotations

import numpy as np

from crossgeo.indexer.vectors import Ids, Rows, Vectors, best
from crossgeo.indexer.vectors.ivf import InvertedLists, Width
from crossgeo.indexer.vectors.projection import sample

QUESTIONS, DEPTH = 512, 10
_FACTOR, _RESIDUAL = 0.9, 0.43
_MARGIN = 0.005  # more than two standard errors of 0.99 found in 512 questions
_TENTH = 0.025  # recall of the ten best may be lower by this: photos find 0.01 less than these questions do
_FEW, _GAIN = 16, 0.002  # from so many lists on, twice as many that find so little more are not worth it
_CANDIDATES = (32.0, 16.0, 8.0, 4.0, 2.0)


def questions(rows: Rows, seed: int = 0) -> Vectors:
    """Return (QUESTIONS, D) unit vectors as photos of the ground of some rows would have."""
    draw = np.random.default_rng(seed)
    some = sample(rows, 16 * QUESTIONS)
    own, one, other = (some[draw.integers(len(some), size=QUESTIONS)] for _ in range(3))
    apart = one - other
    apart *= _RESIDUAL / np.maximum(np.linalg.norm(apart, axis=1, keepdims=True), 1e-6)
    asked = _FACTOR * own + apart
    return np.asarray(asked / np.linalg.norm(asked, axis=1, keepdims=True), np.float32)


class Truth:
    """The best rows of questions, from all rows as they pass by."""

    def __init__(self, asked: Vectors) -> None:
        self.asked = asked
        self.scores, self.rows = np.zeros((len(asked), 0), np.float32), np.zeros((len(asked), 0), np.int64)

    def see(self, start: int, rows: Vectors) -> None:
        """Take a piece of the rows into account."""
        scores, found = best(self.asked @ rows.T, np.broadcast_to(np.arange(start, start + len(rows)), (len(self.asked), len(rows))), DEPTH)
        self.scores, self.rows = best(np.concatenate([self.scores, scores], axis=1), np.concatenate([self.rows, found], axis=1), DEPTH)


def recall(found: Ids, truth: Ids) -> tuple[float, float]:
    """Return the shares of the best and of the DEPTH best rows that were found; `found` and `truth` are (Q, DEPTH)."""
    tenth = (found[:, :, None] == truth[:, None, :]).any(axis=1).mean()
    return float((found[:, 0] == truth[:, 0]).mean()), float(tenth)


def narrowest(search: InvertedLists, asked: Vectors, truth: Ids, wanted: float, most: int) -> tuple[Width, tuple[float, float]]:
    """Return the narrowest search that finds the share `wanted` of the best rows, and what it finds.

    Where none of up to `most` lists does, the narrowest that finds about as much as any: what codes lose, more lists do not bring back.
    """
    least = min(1.0, wanted + _MARGIN), wanted - _TENTH

    def finds(lists: int, candidates: float = _CANDIDATES[0]) -> tuple[bool, tuple[float, float]]:
        found = recall(search.search(asked, DEPTH, Width(lists, candidates))[1], truth)
        return found[0] >= least[0] and found[1] >= least[1], found

    low, high, before = 0, 1, (0.0, 0.0)
    while True:
        enough, found = finds(high)
        if enough:
            break
        if high == most or (high >= _FEW and found[0] - before[0] < _GAIN and found[1] - before[1] < _GAIN):
            low = high = high if high == most else low
            least = finds(high)[1]
            break
        low, high, before = high, min(2 * high, most), found
    while high - low > max(1, high // 16):
        middle = (low + high) // 2
        low, high = (low, middle) if finds(middle)[0] else (middle, high)
    width, found = Width(high, _CANDIDATES[0]), finds(high)[1]
    for candidates in _CANDIDATES[1:]:
        enough, next_found = finds(high, candidates)
        if not enough:
            break
        width, found = Width(high, candidates), next_found
    return width, found
