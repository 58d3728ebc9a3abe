"""From scores of (pose, tile) pairs to few distinct rival places: best pose for each tile, then suppression by distance."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_METRES_PER_DEGREE = 111_320.0


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
    kept: list[int] = []
    for number in range(len(rivals)):
        if all(apart_m(lat_lon[number], lat_lon[other]) >= min_distance_m for other in kept):
            kept.append(number)
            if len(kept) == top:
                break
    return [rivals[number] for number in kept]


def apart_m(place: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    """Distance in metres of two (lat, lon) places that are near each other (equirectangular; exact enough under 10 km)."""
    turn = (place[1] - other[1] + 180.0) % 360.0 - 180.0
    east = turn * np.cos(np.radians(0.5 * (place[0] + other[0])))
    return float(np.hypot(place[0] - other[0], east) * _METRES_PER_DEGREE)
