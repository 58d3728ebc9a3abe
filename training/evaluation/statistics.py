"""Intervals of 95 % for what is measured: shares, medians, means over training seeds, and differences on the same questions."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Z = 1.959964  # of the normal distribution, two-sided 95 %
DRAWS = 4000  # of a bootstrap
# Student's t, two-sided 95 %, for 1 to 30 degrees of freedom; past that the normal's is 2 % narrower at most.
_T = (
    12.7062, 4.3027, 3.1824, 2.7764, 2.5706, 2.4469, 2.3646, 2.3060, 2.2622, 2.2281, 2.2010, 2.1788, 2.1604, 2.1448, 2.1314,
    2.1199, 2.1098, 2.1009, 2.0930, 2.0860, 2.0796, 2.0739, 2.0687, 2.0639, 2.0595, 2.0555, 2.0518, 2.0484, 2.0452, 2.0423,
)  # fmt: skip


@dataclass(frozen=True)
class Figure:
    """A value with its interval of 95 % and how many it stands for; infinite where most questions have no answer."""

    value: float
    low: float | None  # None where one measurement alone gives no interval
    high: float | None
    count: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data; what is infinite becomes null."""
        return {"value": _plain(self.value), "low": _plain(self.low), "high": _plain(self.high), "count": self.count}


def share(hits: ArrayLike) -> Figure:
    """Return the share of true values among (N,) with the interval of Wilson 1927, which holds for few and for rare hits, too."""
    found = np.asarray(hits, np.bool_)
    count = len(found)
    if count == 0:
        raise ValueError("a share of nothing")
    p = float(found.mean())
    middle = (p + Z * Z / (2 * count)) / (1 + Z * Z / count)
    half = Z / (1 + Z * Z / count) * math.sqrt(p * (1 - p) / count + Z * Z / (4 * count * count))
    # Rounding must not leave the value outside of its own interval at 0 and 1.
    return Figure(p, max(0.0, min(p, middle - half)), min(1.0, max(p, middle + half)), count)


def median(values: ArrayLike, seed: int = 0) -> Figure:
    """Return the median of (N,) values, infinite ones among them, with its bootstrap interval (percentiles; seeded).

    The resamples are not made: an order statistic of N uniform draws has a beta distribution, so their medians are drawn outright.
    """
    ordered = np.sort(np.asarray(values, np.float64))
    if len(ordered) == 0 or np.isnan(ordered).any():
        raise ValueError("a median of nothing, or of values that are no numbers")
    resampled = np.sort(_resampled_medians(ordered, np.random.default_rng(seed)))
    low, high = (float(resampled[min(len(resampled) - 1, int(q * len(resampled)))]) for q in (0.025, 0.975))
    return Figure(_middle(ordered), low, high, len(ordered))


def mean(values: ArrayLike) -> Figure:
    """Return the mean of (N,) values with the normal interval, None of a single value."""
    given = np.asarray(values, np.float64)
    if len(given) == 0:
        raise ValueError("a mean of nothing")
    middle = float(given.mean())
    if len(given) == 1:
        return Figure(middle, None, None, 1)
    half = Z * float(given.std(ddof=1)) / math.sqrt(len(given))
    return Figure(middle, middle - half, middle + half, len(given))


def over_seeds(values: Sequence[float]) -> Figure:
    """Return the mean over training seeds with Student's interval, None where there is one seed: it says nothing of the others.

    Infinite where one of the seeds is: its median question has no answer.
    """
    if not values:
        raise ValueError("a mean of nothing")
    given = np.asarray(values, np.float64)
    if len(given) == 1 or not np.isfinite(given).all():
        return Figure(float(given.mean()), None, None, len(given))
    middle = float(given.mean())
    half = student_t(len(given) - 1) * float(given.std(ddof=1)) / math.sqrt(len(given))
    return Figure(middle, middle - half, middle + half, len(given))


def student_t(freedom: int) -> float:
    """Return the two-sided 95 % point of Student's t."""
    return _T[freedom - 1] if freedom <= len(_T) else Z


def paired_shares(first: ArrayLike, second: ArrayLike) -> Figure:
    """Return by how much the second's share of hits on the same N questions is higher, with the interval of Agresti and Min 2005.

    Half a question is added to each of the four outcomes, so that two models which never differ still have an interval.
    """
    a, b = np.asarray(first, np.bool_), np.asarray(second, np.bool_)
    if a.shape != b.shape or len(a) == 0:
        raise ValueError(f"a paired difference needs the same questions, not {len(a)} and {len(b)}")
    only_a, only_b, count = int((a & ~b).sum()), int((b & ~a).sum()), len(a)
    n, x, y = count + 2.0, only_a + 0.5, only_b + 0.5
    middle, half = (y - x) / n, Z * math.sqrt(max(0.0, x + y - (y - x) ** 2 / n)) / n
    return Figure((only_b - only_a) / count, max(-1.0, middle - half), min(1.0, middle + half), count)


def paired_medians(first: ArrayLike, second: ArrayLike, seed: int = 0) -> Figure:
    """Return the median over the same N questions of second - first, with its bootstrap interval; both infinite count as no difference."""
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or len(a) == 0:
        raise ValueError(f"a paired difference needs the same questions, not {len(a)} and {len(b)}")
    with np.errstate(invalid="ignore"):
        return median(np.where(a == b, 0.0, b - a), seed)


def _resampled_medians(ordered: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    count = len(ordered)
    lower = (count + 1) // 2
    at = rng.beta(lower, count + 1 - lower, DRAWS)  # of the lower middle among `count` uniform draws
    values = ordered[np.minimum((at * count).astype(np.intp), count - 1)]
    if count % 2 == 1:
        return values
    above = at + (1.0 - at) * rng.beta(1, count - lower, DRAWS)  # the least of those left above it
    return _mean(values, ordered[np.minimum((above * count).astype(np.intp), count - 1)])


def _middle(ordered: NDArray[np.float64]) -> float:
    count = len(ordered)
    return float(_mean(ordered[[(count - 1) // 2]], ordered[[count // 2]])[0])


def _mean(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(a == b, a, 0.5 * a + 0.5 * b)  # the mean of two infinities is theirs


def _plain(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else value
