"""Hard negatives near in descriptor: for each photo the aerials of other places that come nearest to it."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossgeo.training.pair_batch import Places

_BLOCK = 128  # photos compared at a time: 60 MB in a pass of 20,000


def hardest(photos: NDArray[np.float32], aerials: NDArray[np.float32], places: Places, count: int, apart_m: float) -> NDArray[np.int64]:
    """Return (n, count) rows of the aerials nearest to each of (n, D) photos, -1 where there are no more.

    `photos` and `aerials` (n, D) are unit vectors of pairs. An aerial that shows the photo's place, or one within `apart_m` of it, is none.
    """
    found = np.full((len(photos), count), -1, np.int64)
    for start in range(0, len(photos), _BLOCK):
        rows = np.arange(start, min(start + _BLOCK, len(photos)))
        own = places[rows]
        scores = photos[rows] @ aerials.T  # (b, n)
        scores[own.same(places) | (own.distance_m(places) <= apart_m)] = -np.inf
        kept = min(count, scores.shape[1])
        best = np.argsort(-scores, axis=1, kind="stable")[:, :kept]
        found[rows, :kept] = np.where(np.isfinite(np.take_along_axis(scores, best, axis=1)), best, -1)
    return found
