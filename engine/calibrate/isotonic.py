"""Isotonic regression: the chances that never fall with the score and fit best (pool adjacent violators, Ayer et al. 1955)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.float64]
_DOUBT = 0.5  # of a pair: each level is drawn this far towards an even chance, so that none is 0 or 1


def fit_isotonic(scores: Float, hits: NDArray[np.bool_]) -> tuple[Float, Float]:
    """Return (K,) rising scores and their (K,) chances, which `np.interp` reads: the middles of the levels.

    Equal scores are one; a level of n pairs with h hits has the chance (h + 0.5) / (n + 1).
    """
    values, where = np.unique(scores, return_inverse=True)
    count, sums = np.bincount(where).astype(np.float64), np.bincount(where, weights=hits.astype(np.float64))
    levels: list[list[float]] = []  # hits, pairs, sum of scores
    for value, pairs, right in zip(values, count, sums, strict=True):
        levels.append([right, pairs, value * pairs])
        while len(levels) > 1 and levels[-2][0] * levels[-1][1] >= levels[-1][0] * levels[-2][1]:
            last = levels.pop()
            levels[-1] = [a + b for a, b in zip(levels[-1], last, strict=True)]
    table = np.array(levels)
    chances = (table[:, 0] + _DOUBT) / (table[:, 1] + 2.0 * _DOUBT)
    return table[:, 2] / table[:, 1], np.maximum.accumulate(chances)
