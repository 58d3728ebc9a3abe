"""Any number of rows through a half that takes few sizes of batch, and what happens when a device has too little memory for one."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.runtime import Array
from crossgeo.errors import EngineError, LimitError

Call = Callable[[tuple[Array, ...]], tuple[Array, ...]]


class OutOfMemory(Exception):
    """A back end's device has no memory for a batch."""


class UnreadableError(EngineError):
    """A back end cannot make anything of an engine's file: it is of another card or version, or none."""


def batches(count: int, largest: int) -> Iterator[slice]:
    """Cut `count` rows into batches of `largest` and then of halving sizes, so that kernels see few shapes and nothing is padded.

    `largest` is a power of two, so that 27 by 16 is 16, 8, 2 and 1.
    """
    start, size = 0, largest
    while start < count:
        while size > count - start:
            size //= 2
        yield slice(start, start + size)
        start += size


class Batched:
    """A `Runtime` over a call that takes up to `largest` rows at a time.

    `said` gets a line when batches had to be made smaller.
    """

    def __init__(self, call: Call, label: str, largest: int, said: Callable[[str], None] | None = None) -> None:
        if largest < 1 or largest & (largest - 1):
            raise ValueError(f"batch must be a power of two, not {largest}")
        self._call, self.label, self.largest, self._said = call, label, largest, said

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for (B, ...) rows, B at least 1."""
        return self.run_all(batch)[0]

    def run_all(self, *inputs: Array) -> tuple[Array, ...]:
        """Return every output for inputs of B rows each, B at least 1.

        Raises LimitError where not even one smaller batch fits into the device's memory, EngineError for an answer that is no number.
        """
        count = len(inputs[0])
        if count == 0:
            raise ValueError("an empty batch has no answer")
        try:
            return self._joined(inputs, count)
        except OutOfMemory as error:
            if self.largest == 1:
                raise LimitError(f"{self.label}: out of memory for a single image; free the device, or take another --runtime") from error
            self.largest //= 2
            if self._said is not None:
                self._said(f"{self.label}: out of memory; going on with batches of {self.largest}")
        try:
            return self._joined(inputs, count)
        except OutOfMemory as error:
            raise LimitError(
                f"{self.label}: out of memory for batches of {self.largest}, too; free the device, or give a smaller --batch"
            ) from error

    def _joined(self, inputs: tuple[Array, ...], count: int) -> tuple[Array, ...]:
        parts = [self._call(tuple(rows[part] for rows in inputs)) for part in batches(count, self.largest)]
        joined = parts[0] if len(parts) == 1 else tuple(np.concatenate(rows) for rows in zip(*parts, strict=True))
        if not np.isfinite(joined[0]).all():
            raise EngineError(f"{self.label}: gave values that are no numbers; take --runtime torch, or another --precision")
        return joined
