"""Judging a calibration on ground that it was not fitted to, over several splits, with intervals from a bootstrap over cells of ground."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.calibrate.chances import TOLD_M
from crossgeo.engine.calibrate.conformal import radii_at
from crossgeo.engine.calibrate.features import features_of
from crossgeo.engine.calibrate.fit import fit_kind
from crossgeo.engine.status import Sure
from crossgeo.errors import InputError
from crossgeo.training.calibration.observing import Observed
from crossgeo.training.evaluation.statistics import Figure
from crossgeo.training.splits import split_by_area

Float = NDArray[np.float64]
SPLITS = 10
FIT, JUDGED = "fit", "judged"
SHARES = {FIT: 0.7, JUDGED: 0.3}
DRAWS = 1000
BINS = 10


@dataclass(frozen=True)
class HeldOut:
    """What was told of pairs that were held out, one row a pair and split."""

    told: Float  # (N, 4) chances within TOLD_M
    radii_m: Float  # (N,)
    spread_m: Float  # (N,) radii without calibration
    distances_m: Float  # (N,)
    cells: NDArray[np.int64]  # (N,)
    splits: int


def hold_out(observed: Observed, reach_m: float, gap_m: float, seed: int = 0, splits: int = SPLITS) -> HeldOut | None:
    """Fit on seven tenths of the ground and tell of the rest, over splits of different seeds; None where too few are left for it."""
    parts: list[tuple[Float, ...]] = []
    cells: list[NDArray[np.int64]] = []
    for number in range(splits):
        try:
            names = np.array(split_by_area(observed.xy, SHARES, observed.cell_m, gap_m, seed + number))
            fitted = fit_kind(observed.seen.part(names == FIT), reach_m, seed + number)
        except InputError:
            continue
        new = observed.seen.part(names == JUDGED)
        if fitted.level is None or len(new) == 0:
            continue
        rows = features_of(new.evidence)
        spread = np.array([one.spread_m for one in new.evidence])
        parts.append((fitted.chances.told(rows), radii_at(fitted.chances.at(rows), fitted.level, reach_m), spread, new.distances_m))
        cells.append(new.cells)
    if not parts:
        return None
    told, radii, spread, distances = (np.concatenate(column) for column in zip(*parts, strict=True))
    return HeldOut(told, radii, spread, distances, np.concatenate(cells), len(parts))


def figures(held: HeldOut, sure: Sure, seed: int = 0) -> dict[str, Any]:
    """Return the figures of what was told, each with its interval of 95 %, by name (docs/formats.md)."""
    draws = _Draws(held.cells, seed)
    within = held.distances_m[:, None] <= np.array(TOLD_M)
    number = TOLD_M.index(sure.within_m)
    located = held.told[:, number] >= sure.located
    out = {
        "coverage": draws.mean(held.distances_m <= held.radii_m),
        "median_radius_m": draws.median(held.radii_m),
        "coverage_uncalibrated": draws.mean(held.distances_m <= held.spread_m),
        "located": draws.mean(located),
        "located_right": draws.mean(within[:, number], located) if located.any() else None,
    }
    for k, limit in enumerate(TOLD_M):
        p, y = held.told[:, k], within[:, k].astype(np.float64)
        own = {"share": draws.mean(y), "brier": draws.mean((p - y) ** 2), "ece": draws.off(_bins(p), p - y)}
        out |= {f"{name}_{limit:g}_m": figure for name, figure in own.items()}
    plain: dict[str, Any] = {name: None if figure is None else figure.to_json() for name, figure in out.items()}
    return {**plain, "splits": held.splits, "pairs": len(held.told), "cells": len(draws.names)}


class _Draws:
    """Bootstraps in which whole cells of ground are drawn; figures with the percentiles of what they come to."""

    def __init__(self, cells: NDArray[np.int64], seed: int) -> None:
        self.names, self._where = np.unique(cells, return_inverse=True)
        self._where = self._where.ravel()
        count = len(self.names)
        self._times = (
            np.random.default_rng(seed).multinomial(count, np.full(count, 1.0 / count), DRAWS).astype(np.float64)
        )  # (DRAWS, cells)

    def mean(self, values: NDArray[Any], chosen: NDArray[np.bool_] | None = None) -> Figure:
        """The mean of (N,) values, of those that are chosen."""
        kept = np.ones(len(values)) if chosen is None else chosen.astype(np.float64)
        sums, counts = self._sums(kept * np.asarray(values, np.float64)), self._sums(kept)
        drawn = self._times @ counts
        some = drawn > 0.0
        return self._figure(sums.sum() / counts.sum(), (self._times @ sums)[some] / drawn[some], int(kept.sum()))

    def off(self, bins: NDArray[np.int64], off: Float) -> Figure:
        """The expected calibration error: the means of (N,) differences by bin, without sign, each weighed by its pairs."""
        table = np.stack([self._sums(off * (bins == b)) for b in np.unique(bins)])  # (bins, cells)
        counts = self._times @ self._sums(np.ones(len(off)))
        drawn = np.abs(self._times @ table.T).sum(axis=1) / counts
        return self._figure(np.abs(table.sum(axis=1)).sum() / len(off), drawn, len(off))

    def median(self, values: Float) -> Figure:
        """The median of (N,) values."""
        order = np.argsort(values)
        ranked, where = values[order], self._where[order]
        drawn = []
        for times in self._times:
            sums = np.cumsum(times[where])
            drawn.append(ranked[np.searchsorted(sums, 0.5 * sums[-1])])
        return self._figure(float(np.median(values)), np.array(drawn), len(values))

    def _sums(self, values: Float) -> Float:
        return np.asarray(np.bincount(self._where, values, len(self.names)), np.float64)

    @staticmethod
    def _figure(value: float, drawn: Float, count: int) -> Figure:
        low, high = np.quantile(drawn, [0.025, 0.975]).tolist()
        return Figure(float(value), min(low, float(value)), max(high, float(value)), count)


def reliability(told: Float, hits: NDArray[np.bool_]) -> list[tuple[float, float, int]]:
    """Return (mean chance, share of hits, count) of at most BINS bins of (N,) chances, as many pairs in each as can be."""
    bins = _bins(told)
    return [(float(told[bins == b].mean()), float(hits[bins == b].mean()), int((bins == b).sum())) for b in np.unique(bins)]


def _bins(told: Float) -> NDArray[np.int64]:
    """Equal chances are in one bin."""
    edges = np.unique(np.quantile(told, np.linspace(0.0, 1.0, BINS + 1)[1:-1]))
    return np.searchsorted(edges, told, side="left").astype(np.int64)
