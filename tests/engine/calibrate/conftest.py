"""Made-up answers whose chances are known: a place is right with a chance that rises with its score, and lies far off where it is wrong."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.engine.calibrate.fit import Seen, seen_of
from crossgeo.engine.evidence import Evidence

Float = NDArray[np.float64]
CELLS = 40


def evidence(score: float = 0.6, margin: float | None = 0.1, rivals: int = 1, overlap: float = 1.0) -> Evidence:
    """Evidence of a drone photo."""
    return Evidence("drone", round(score, 4), round(score + 0.05, 4), 0.5, margin, rivals, overlap, 60.0, 5.0, 24)


def chance_of(score: Float) -> Float:
    """The true chance of a score."""
    return np.asarray(1.0 / (1.0 + np.exp(-14.0 * (score - 0.45))))


def drawn(count: int, seed: int) -> Seen:
    """Draw pairs."""
    rng = np.random.default_rng(seed)
    scores = rng.uniform(0.3, 0.9, count).round(4)
    right = rng.random(count) < chance_of(scores)
    metres = np.where(right, rng.gamma(2.0, 0.4, count), rng.uniform(30.0, 400.0, count))
    return seen_of([evidence(s) for s in scores], metres.tolist(), rng.integers(CELLS, size=count).tolist())


@pytest.fixture(scope="session")
def draw() -> Callable[[int, int], Seen]:
    """How to draw pairs: their number and a seed."""
    return drawn


@pytest.fixture(scope="session")
def make_evidence() -> Callable[..., Evidence]:
    """How to make evidence."""
    return evidence


@pytest.fixture(scope="session")
def true_chance() -> Callable[[Float], Float]:
    """The chance that made-up pairs of a score are right."""
    return chance_of


@pytest.fixture
def copied(tmp_path: Path) -> Callable[[Path], Path]:
    """How to have a copy of an index that a test may change."""

    def copy(index: Path) -> Path:
        return Path(shutil.copytree(index, tmp_path / "own.geo"))

    return copy
