"""Fitting a calibration of one kind of photo: chances by held-out log loss on half of the ground, the radius on the other half."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.calibrate.chances import METHODS, TOLD_M, Chances, Method, log_loss
from crossgeo.engine.calibrate.conformal import conformal_level, levels_of
from crossgeo.engine.calibrate.features import features_of
from crossgeo.engine.evidence import Evidence
from crossgeo.errors import InputError

Float = NDArray[np.float64]
FOLDS = 5
LEAST_PAIRS = 30  # of one kind
LEAST_CELLS = 5


@dataclass(frozen=True)
class Seen:
    """Pairs of one kind: what was known of each answer, how far it lay from the truth, and on which cell of ground."""

    evidence: tuple[Evidence, ...]
    distances_m: Float  # (N,)
    cells: NDArray[np.int64]  # (N,) any numbers; pairs of one cell stay together

    def __len__(self) -> int:
        return len(self.evidence)

    def part(self, where: NDArray[np.bool_]) -> Seen:
        """Return the pairs that are marked."""
        own = tuple(one for one, kept in zip(self.evidence, where, strict=True) if kept)
        return Seen(own, self.distances_m[where], self.cells[where])


@dataclass(frozen=True)
class Fitted:
    """Chances, and the level of the radius that holds; None where too few pairs were left to say."""

    chances: Chances
    level: float | None
    conformal_pairs: int


def fit_kind(seen: Seen, reach_m: float, seed: int = 0) -> Fitted:
    """Fit pairs of one kind of photo.

    Half of the cells of ground choose the method (by log loss on folds of cells) and fit it; the other half says at which level the radius
    holds. Raises InputError for fewer than LEAST_PAIRS pairs or LEAST_CELLS cells.
    """
    check_enough(seen)
    rows = features_of(seen.evidence)
    second = np.isin(folds_of(seen.cells, 2, seed), (1,))
    first = ~second
    method, penalty = choose(rows[first], seen.distances_m[first], seen.cells[first], seed)
    chances = Chances.fit(rows[first], seen.distances_m[first], method, penalty)
    levels = levels_of(chances.at(rows[second]), seen.distances_m[second], reach_m)
    return Fitted(chances, conformal_level(levels), int(second.sum()))


def check_enough(seen: Seen) -> None:
    """Raise InputError where there are too few pairs, or too little ground, to calibrate with."""
    cells = len(np.unique(seen.cells))
    if len(seen) < LEAST_PAIRS or cells < LEAST_CELLS:
        raise InputError(
            f"{len(seen)} photos on {cells} cells of ground are too few to calibrate with; give at least {LEAST_PAIRS} on {LEAST_CELLS} "
            "cells, better some hundreds all over the index"
        )


def choose(rows: Float, distances_m: Float, cells: NDArray[np.int64], seed: int) -> tuple[Method, float]:
    """Return the method and penalty of the least log loss on held-out cells; of equal ones the first."""
    fold = folds_of(cells, min(FOLDS, len(np.unique(cells))), seed)
    losses = []
    for method, penalty in METHODS:
        told = np.full((len(rows), 4), 0.5)
        for number in np.unique(fold):
            out = fold == number
            if not out.all():
                told[out] = Chances.fit(rows[~out], distances_m[~out], method, penalty, TOLD_M).told(rows[out])
        losses.append(log_loss(told, distances_m))
    return METHODS[int(np.argmin(losses))]


def folds_of(cells: NDArray[np.int64], count: int, seed: int) -> NDArray[np.int64]:
    """Return the fold of each of (N,) cells: whole cells go to one, drawn from the seed, each to the fold with the fewest pairs so far.

    What is drawn depends on the cells alone, not on the order of pairs.
    """
    names, where, sizes = np.unique(cells, return_inverse=True, return_counts=True)
    fold, given = np.zeros(len(names), np.int64), np.zeros(count)
    for cell in np.random.default_rng(seed).permutation(len(names)):
        fold[cell] = int(np.argmin(given))
        given[fold[cell]] += sizes[cell]
    return fold[where.ravel()]


def seen_of(evidence: Sequence[Evidence], distances_m: Sequence[float], cells: Sequence[int]) -> Seen:
    """Return pairs from plain sequences."""
    return Seen(tuple(evidence), np.array(distances_m, np.float64), np.array(cells, np.int64))
