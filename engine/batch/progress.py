"""How far a batch is, and how it ended."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from crossgeo.engine.output import Record

FAILED = "error"  # stands among the statuses for a photo that could not be answered


@dataclass(frozen=True)
class BatchProgress:
    """How far a batch is; the counts of statuses add up to `done`."""

    done: int
    total: int  # photos that are known so far, all of them unless they come through a pipe
    located: int = 0
    ambiguous: int = 0
    low_confidence: int = 0
    outside: int = 0
    failed: int = 0
    resumed: int = 0  # of `done`, taken from the journal of an earlier run
    rate_per_s: float | None = None  # photos a second since this run began to answer; None until one is answered
    eta_s: float | None = None  # seconds left at that rate


@dataclass(frozen=True)
class BatchReport:
    """How a batch ended."""

    total: int
    failed: int
    resumed: int  # taken from the journal of an earlier, interrupted run
    out: tuple[Path, ...] = ()  # what was written
    counts: BatchProgress = field(default_factory=lambda: BatchProgress(0, 0))


class Tally:
    """Counts records by status."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._began = clock, clock()
        self._counts: Counter[str] = Counter()
        self._resumed = 0

    def add(self, status: str, resumed: bool = False) -> None:
        """Count one photo of a status, or FAILED."""
        self._counts[status] += 1
        self._resumed += resumed

    def change(self, before: str, after: str) -> None:
        """Count a photo that was counted before under another status."""
        self._counts[before] -= 1
        self._counts[after] += 1

    def progress(self, total: int) -> BatchProgress:
        """Return how far a batch of `total` photos is."""
        counts, done = self._counts, self._counts.total()
        answered, elapsed = done - self._resumed, self._clock() - self._began
        rate = answered / elapsed if answered and elapsed > 0.0 else None
        return BatchProgress(
            done, total, counts["located"], counts["ambiguous"], counts["low_confidence"], counts["outside_coverage"], counts[FAILED],
            self._resumed, rate, None if rate is None else (total - done) / rate,
        )  # fmt: skip


def status_of(record: Record) -> str:
    """Return a record's status, FAILED for one that holds an error."""
    return FAILED if "error" in record else str(record["status"])
