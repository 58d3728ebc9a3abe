"""A radius that holds: split conformal prediction over the fitted distribution of distances (Chernozhukov, Wuethrich and Zhu 2021).

A pair's level is the chance that its distance was given: where chances are right, levels are even between 0 and 1. Of n pairs that the
chances were not fitted to, the k-th smallest level, k = ceil((n + 1) * coverage), is one that a new pair of the same kind stays below in at
least that share of the cases, however wrong the chances are. The radius is the distance at that level.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.calibrate.chances import LADDER_M

Float = NDArray[np.float64]
COVERAGE = 0.9
LEAST_M = 2.5  # nearer than this every distance is the same: neither orthophotos nor the positions of photos are known any better
_NEAR = sum(rung <= LEAST_M for rung in LADDER_M)  # rungs that say nothing of a radius
_APART = 1e-6  # by which the chances of all rungs together are pulled apart, so that each level is one distance


def conformal_level(levels: Float, coverage: float = COVERAGE) -> float | None:
    """Return the level that a new pair stays below in at least `coverage` of the cases; None where there are too few pairs to say."""
    rank = math.ceil((len(levels) + 1) * coverage - 1e-9)
    return float(np.sort(levels)[rank - 1]) if 1 <= rank <= len(levels) else None


def least_pairs(coverage: float = COVERAGE) -> int:
    """Return how many pairs a level needs."""
    return math.ceil(coverage / (1.0 - coverage) - 1e-9)


def levels_of(chances: Float, distances_m: Float, reach_m: float) -> Float:
    """Return the (N,) levels of distances by (N, T) chances; no distance is farther than `reach_m`."""
    at = np.log(np.maximum(distances_m, LEAST_M))
    return np.array([np.interp(where, _rungs(reach_m), _rising(row)) for where, row in zip(at, chances, strict=True)], np.float64)


def radii_at(chances: Float, level: float, reach_m: float) -> Float:
    """Return the (N,) radii in metres at a level by (N, T) chances; none is less than LEAST_M."""
    return np.exp(np.array([np.interp(level, _rising(row), _rungs(reach_m)) for row in chances], np.float64))


def _rungs(reach_m: float) -> Float:
    return np.log([LEAST_M, *LADDER_M[_NEAR:], max(reach_m, 2.0 * LADDER_M[-1])])


def _rising(row: Float) -> Float:
    found = np.concatenate([[0.0], row[_NEAR:], [1.0]])
    return np.asarray(found * (1.0 - _APART) + np.linspace(0.0, _APART, len(found)))
