"""From scores of (pose, tile) pairs to few distinct rival places: best pose for each tile, then suppression by distance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_METRES_PER_DEGREE = 111_320.0
COUNTED_AT_M = 15.0  # the stride at which hits are counted


@dataclass(frozen=True)
class Rival:
    """A tile that may show the photo's place, with the pose at which it fits best."""

    tile: int  # id in the index
    pose: int  # row of the queries
    score: float


def best_by_tile(scores: NDArray[np.float32], ids: NDArray[np.int64]) -> list[Rival]:
    """Reduce (Q, K) hits of Q poses to one rival a tile, best first; equal scores stand in order of tile, then pose."""
    poses = np.repeat(np.arange(ids.shape[0]), ids.shape[1])
    flat_scores, flat_ids = scores.reshape(-1), ids.reshape(-1)
    real = (flat_ids >= 0) & np.isfinite(flat_scores)
    poses, flat_scores, flat_ids = poses[real], flat_scores[real], flat_ids[real]
    order = np.lexsort((poses, flat_ids, -flat_scores))
    _, first = np.unique(flat_ids[order], return_index=True)
    return [Rival(int(flat_ids[k]), int(poses[k]), float(flat_scores[k])) for k in order[np.sort(first)]]


def suppress(rivals: list[Rival], lat_lon: NDArray[np.float64], min_distance_m: float, top: int) -> list[Rival]:
    """Keep the best `top` rivals that lie at least `min_distance_m` apart; `lat_lon` (n, 2) holds their places."""
    kept: list[Rival] = []
    left = np.arange(len(rivals))
    while len(left) and len(kept) < top:
        best = int(left[0])
        kept.append(rivals[best])
        left = left[1:]
        left = left[apart_m(lat_lon[left], lat_lon[best]) >= min_distance_m]
    return kept


def apart_m(places: NDArray[np.float64], other: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the distances (n,) in metres from one (lat, lon) to near places (n, 2) (equirectangular; exact enough under 10 km)."""
    turn = (places[:, 1] - other[1] + 180.0) % 360.0 - 180.0
    east = turn * np.cos(np.radians(0.5 * (places[:, 0] + other[0])))
    return np.asarray(np.hypot(places[:, 0] - other[0], east) * _METRES_PER_DEGREE, np.float64)


def hits_at(count: int, stride_m: float) -> int:
    """Return how many tiles at a stride cover the ground that `count` tiles 15 m apart do; as many where they lie farther apart.

    A hundred tiles 5 m apart may all show one place, which would then stand without a rival and be believed.
    """
    return math.ceil(count * max(1.0, COUNTED_AT_M / stride_m) ** 2)


def thinned(rivals: list[Rival], centres: NDArray[np.float64], segments: NDArray[np.int32], stride_m: float) -> list[Rival]:
    """Keep the best rival of each square of 15 m, in the given order, best first; all where tiles lie that far apart.

    `centres` (n, 2) in metres and `segments` (n,) are those of the rivals' tiles.
    """
    if stride_m >= COUNTED_AT_M or not rivals:
        return rivals
    squares = np.concatenate([np.floor(centres / COUNTED_AT_M), segments[:, None]], axis=1)
    first = np.unique(squares, axis=0, return_index=True)[1]
    return [rivals[k] for k in np.sort(first).tolist()]
