"""Chances: how likely the best place lies within each rung of a ladder of distances, from the features of its evidence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.calibrate.features import NAMES, SCORE, SIGNS
from crossgeo.engine.calibrate.isotonic import fit_isotonic
from crossgeo.engine.calibrate.logistic import fit_logistic, sigmoid

Float = NDArray[np.float64]
Method = Literal["logistic", "isotonic", "constant"]
TOLD_M = (5.0, 10.0, 25.0, 50.0)  # what answers tell
LADDER_M = (0.25, 0.5, 1.0, 2.0, 3.5, 5.0, 7.5, 10.0, 15.0, 25.0, 50.0, 100.0, 250.0)
METHODS: tuple[tuple[Method, float], ...] = (("logistic", 0.3), ("logistic", 3.0), ("logistic", 30.0), ("isotonic", 0.0), ("constant", 0.0))


@dataclass(frozen=True)
class Chances:
    """Chances fitted by one method; features are held inside what the pairs showed, so nothing is extrapolated."""

    method: Method
    penalty: float
    low: Float  # (F,) of the pairs' features
    high: Float
    middle: Float
    scale: Float
    weights: Float  # (T, 1 + F), a row a rung; of "isotonic" (0, 1 + F)
    knots: tuple[tuple[Float, Float], ...] = ()  # of "isotonic": scores and chances, a pair a rung
    rungs_m: tuple[float, ...] = LADDER_M

    @classmethod
    def fit(cls, rows: Float, distances_m: Float, method: Method, penalty: float, rungs_m: tuple[float, ...] = LADDER_M) -> Chances:
        """Fit (N, F) features and the (N,) distances of their best places from the truth; the order of pairs makes no difference."""
        order = np.lexsort((*rows.T, distances_m))  # sums of floats depend on their order
        rows, distances_m = rows[order], distances_m[order]
        low, high, middle = rows.min(axis=0), rows.max(axis=0), rows.mean(axis=0)
        scale = rows.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        hits = [distances_m <= rung for rung in rungs_m]
        blank = np.zeros((0, 1 + rows.shape[1]))
        if method == "isotonic":
            knots = tuple(fit_isotonic(rows[:, SCORE], hit) for hit in hits)
            return cls(method, penalty, low, high, middle, scale, blank, knots, rungs_m)
        levelled = (rows - middle) / scale if method == "logistic" else np.zeros_like(rows)
        weights = np.stack([fit_logistic(levelled, hit, SIGNS, max(penalty, 0.1)) for hit in hits])
        return cls(method, penalty, low, high, middle, scale, weights, rungs_m=rungs_m)

    def at(self, rows: Float) -> Float:
        """Return (N, T) chances of (N, F) features, never falling along the ladder."""
        held = np.clip(rows, self.low, self.high)
        if self.method == "isotonic":
            found = np.stack([np.interp(held[:, SCORE], *knots) for knots in self.knots], axis=1)
        else:
            found = sigmoid(self.weights[:, 0] + (held - self.middle) / self.scale @ self.weights[:, 1:].T)
        return np.maximum.accumulate(found, axis=1)

    def told(self, rows: Float) -> Float:
        """Return (N, 4) chances within TOLD_M."""
        return self.at(rows)[:, [self.rungs_m.index(limit) for limit in TOLD_M]]

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        plain: dict[str, Any] = {"method": self.method, "penalty": self.penalty, "features": list(NAMES), "ladder_m": list(self.rungs_m)}
        for name in ("low", "high", "middle", "scale", "weights"):
            plain[name] = getattr(self, name).tolist()
        return {**plain, "knots": [[scores.tolist(), chances.tolist()] for scores, chances in self.knots]}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Chances:
        """Read plain data; raise KeyError, TypeError or ValueError where it is none, or of other features or rungs than these."""
        if list(data["features"]) != list(NAMES) or list(data["ladder_m"]) != list(LADDER_M) or data["method"] not in dict(METHODS):
            raise ValueError("chances of other features, distances or methods")
        low, high, middle, scale = (_row(data[name], len(NAMES)) for name in ("low", "high", "middle", "scale"))
        isotonic = data["method"] == "isotonic"
        knots = tuple((_row(scores, len(scores)), _row(chances, len(scores))) for scores, chances in data["knots"])
        weights = np.asarray(data["weights"], np.float64).reshape(-1, 1 + len(NAMES))
        if (len(knots), len(weights)) != ((len(LADDER_M), 0) if isotonic else (0, len(LADDER_M))) or not np.isfinite(weights).all():
            raise ValueError("chances without a fit for each distance")
        return cls(data["method"], float(data["penalty"]), low, high, middle, scale, weights, knots)


def log_loss(told: Float, distances_m: Float) -> float:
    """Return the mean log loss of (N, 4) chances within TOLD_M."""
    hits = distances_m[:, None] <= np.array(TOLD_M)
    sure = np.clip(told, 1e-9, 1.0 - 1e-9)
    return float(-np.where(hits, np.log(sure), np.log1p(-sure)).mean())


def _row(values: Any, count: int) -> Float:
    row = np.asarray(values, np.float64)
    if row.shape != (count,) or count == 0 or not np.isfinite(row).all():
        raise ValueError("chances with numbers missing")
    return row
