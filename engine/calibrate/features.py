"""Features: the evidence of an answer as numbers that chances are fitted to, and which way each of them may push."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.evidence import Evidence

Float = NDArray[np.float64]
NAMES = ("score", "margin", "rivals", "overlap", "spread", "cosine", "seen", "poses")
# 1: more of it never makes a place less likely, -1: never likelier, 0: as the pairs say.
SIGNS = (1, 1, -1, 1, -1, 0, 0, 0)
SCORE = NAMES.index("score")
LEAD = 0.02  # of scores: beyond a few times this more lead says little more
ALONE = 0.3  # the lead of a place without another


def features_of(evidence: Sequence[Evidence]) -> Float:
    """Return (N, 8) features in the order of NAMES."""
    return np.array([_row(one) for one in evidence], np.float64).reshape(-1, len(NAMES))


def _row(one: Evidence) -> list[float]:
    lead = ALONE if one.margin is None else min(one.margin, ALONE)
    return [
        one.score, math.log1p(max(lead, 0.0) / LEAD), float(one.rivals), one.overlap, math.log(max(one.spread_m, 0.1)),
        one.cosine - one.score, math.log(max(one.seen_m, 1.0)), math.log(max(one.poses, 1)),
    ]  # fmt: skip
