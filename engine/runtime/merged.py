"""Passes of several threads merged into one: what concurrent questions ask of a half goes through it together, where that pays.

On a processor it does not: a question's own passes are full, and a row costs no less in larger ones. A GPU runs them one after the other.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from types import TracebackType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.batching import Batcher
from crossgeo.engine.runtime import Array, Runtime
from crossgeo.engine.threads import computing_with
from crossgeo.processor import processors

MAX_WAITING = 65_536  # passes; a thread waits for one at a time, so that there are never more than threads


@dataclass(frozen=True)
class MergingStats:
    """What was merged since it was opened."""

    passes: int  # that were asked for
    batches: int  # that were run for them, those of the halves of a failed one too
    rows: int  # in those batches
    failed: int  # passes that ended with an error

    @property
    def mean_rows(self) -> float:
        """Rows of a batch; 0 before the first."""
        return self.rows / self.batches if self.batches else 0.0


@dataclass(frozen=True)
class _Pass:
    """What one thread asks of a half: inputs that all have so many rows."""

    runtime: Runtime
    inputs: tuple[Array | Tensor, ...]
    tensors: bool  # what is asked for: tensors on the runtime's device, or arrays

    @property
    def rows(self) -> int:
        return len(self.inputs[0])

    @property
    def kind(self) -> Hashable:
        """What passes that go together have in common: the half, and what its inputs' rows are."""
        return id(self.runtime), self.tensors, tuple((type(rows), tuple(rows.shape[1:]), str(rows.dtype)) for rows in self.inputs)


class Merging:
    """One thread through which the passes of all halves of one device go; a context manager, to be closed after who asks.

    An answer is that of its pass alone as far as the back end's rows do not depend on others: OpenVINO's do not, to the bit; torch's
    products differ in the last bits by how many rows they have.
    """

    def __init__(self, max_batch: int = 64, max_delay_ms: float = 0.0) -> None:
        """Merge up to `max_batch` rows; a pass waits up to `max_delay_ms` for others, and in any case while the device is busy."""
        self.max_batch = max_batch
        self._batcher: Batcher[_Pass, tuple[Any, ...]] = Batcher(
            _run, max_batch, max_delay_ms, MAX_WAITING, shape_of=lambda one: one.kind, rows_of=lambda one: one.rows
        )

    def over(self, runtime: Runtime) -> Runtime:
        """Return a runtime whose passes, of whatever threads, are merged before they go through this one."""
        return _Merged(runtime, self._batcher)

    def stats(self) -> MergingStats:
        """Return what it has done."""
        stats = self._batcher.stats()
        return MergingStats(stats.requests, stats.batches, stats.rows, stats.failed)

    def close(self) -> None:
        """Answer what waits, and take no more."""
        self._batcher.close()

    def __enter__(self) -> Merging:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


class _Merged:
    """A `Runtime` over another one."""

    def __init__(self, runtime: Runtime, batcher: Batcher[_Pass, tuple[Any, ...]]) -> None:
        self._runtime, self._batcher = runtime, batcher

    @property
    def label(self) -> str:
        """That of the runtime beneath: its answers are the same, to rounding."""
        return self._runtime.label

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for (B, ...) rows, B at least 1."""
        return self.run_all(batch)[0]

    def run_all(self, *inputs: Array) -> tuple[Array, ...]:
        """Return every output for inputs of B rows each; raises what the runtime raises for these rows alone."""
        return self._ask(inputs, tensors=False)

    @property
    def device(self) -> torch.device:
        """That of the runtime beneath."""
        return self._runtime.device

    def run_tensors(self, *inputs: Array | Tensor) -> tuple[Tensor, ...]:
        """Return every output as a tensor on `device`; raises as `run_all` does."""
        return self._ask(inputs, tensors=True)

    def _ask(self, inputs: tuple[Array | Tensor, ...], *, tensors: bool) -> tuple[Any, ...]:
        if len(inputs[0]) == 0:
            raise ValueError("an empty batch has no answer")
        return self._batcher.ask(_Pass(self._runtime, inputs, tensors))


def _run(passes: Sequence[_Pass]) -> list[tuple[Any, ...]]:
    """Run passes of one kind as one, in the thread of the batcher, which has all processors to compute with."""
    runtime, first = passes[0].runtime, passes[0].inputs
    joined: tuple[Any, ...] = first
    if len(passes) > 1:
        joined = tuple(_joined(rows) for rows in zip(*(one.inputs for one in passes), strict=True))
    ends = [0, *np.cumsum([one.rows for one in passes]).tolist()]
    with computing_with(processors()):
        outputs: tuple[Any, ...] = runtime.run_tensors(*joined) if passes[0].tensors else runtime.run_all(*joined)
    return [tuple(rows[start:end] for rows in outputs) for start, end in pairwise(ends)]


def _joined(parts: Sequence[Any]) -> Any:
    """Join arrays, or tensors, of one kind."""
    return torch.cat([*parts]) if isinstance(parts[0], Tensor) else np.concatenate(parts)
