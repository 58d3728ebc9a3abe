"""Any number of rows through a half that takes few sizes of batch, and what happens when a device has too little memory for one."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Literal, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.runtime import Array
from crossgeo.errors import EngineError, LimitError

_DEVICE = "free the device's memory, or take another --device or --runtime"

Call = Callable[[tuple[Array, ...]], tuple[Array, ...]]
R = TypeVar("R")
CPU = torch.device("cpu")


@runtime_checkable
class DeviceCall(Protocol):
    """A `Call` whose inputs may lie on its device already, and whose outputs may stay there."""

    device: torch.device

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the outputs of a batch as float32 arrays."""
        ...

    def on_device(self, inputs: tuple[Array | Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the outputs of a batch on the device, in tensors of their own."""
        ...


class Pending(Protocol):
    """Outputs that a device may be at work on still."""

    def arrays(self) -> tuple[Array, ...]:
        """Wait for them; once."""
        ...


@runtime_checkable
class Begins(Protocol):
    """A `Call` that need not be waited for."""

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the outputs of a batch."""
        ...

    def begin(self, inputs: tuple[Array, ...]) -> Pending:
        """Have the device begin with a batch."""
        ...


@runtime_checkable
class AnySize(Protocol):
    """A `Call` that brings batches to the sizes that it has by itself."""

    takes_any_size: Literal[True]

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        """Return the outputs of a batch."""
        ...


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


def cuts(call: Call, count: int, largest: int) -> Iterator[slice]:
    """Cut rows as `batches` does, or where a call takes any size into as few as there can be."""
    if isinstance(call, AnySize):
        return (slice(start, min(start + largest, count)) for start in range(0, count, largest))
    return batches(count, largest)


def in_turn(call: Call, parts: Iterable[tuple[Array, ...]]) -> Iterator[tuple[Array, ...]]:
    """Yield the outputs of batches in order, where the call can be left alone with one of them while the next is brought to it."""
    if not isinstance(call, Begins):
        yield from map(call, parts)
        return
    last: Pending | None = None
    for part in parts:
        begun = call.begin(part)
        if last is not None:
            yield last.arrays()
        last = begun
    if last is not None:
        yield last.arrays()


class Batched:
    """A `Runtime` over a call that takes up to `largest` rows at a time, for threads that may ask at once.

    `said` gets a line when batches had to be made smaller. `remedy` is what else a user can do about memory, up to the comma and blank.
    """

    def __init__(self, call: Call, label: str, largest: int, said: Callable[[str], None] | None = None, remedy: str = "") -> None:
        if largest < 1 or largest & (largest - 1):
            raise ValueError(f"batch must be a power of two, not {largest}")
        self._call, self.label, self.largest, self._said, self._remedy = call, label, largest, said, remedy
        self._lock = threading.Lock()

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output for (B, ...) rows, B at least 1."""
        return self.run_all(batch)[0]

    def run_all(self, *inputs: Array) -> tuple[Array, ...]:
        """Return every output for inputs of B rows each, B at least 1.

        Where a batch does not fit into the device's memory the pass is run once more in smaller ones, and later passes stay with them.
        Raises LimitError where these do not fit either, EngineError for an answer that is no number.
        """
        return self._with_room(len(inputs[0]), lambda largest: self._arrays(inputs, largest))

    @property
    def device(self) -> torch.device:
        """Where the call's tensors lie: the processor's memory, where it takes arrays alone."""
        return self._call.device if isinstance(self._call, DeviceCall) else CPU

    def run_tensors(self, *inputs: Array | Tensor) -> tuple[Tensor, ...]:
        """Return every output as a tensor on `device`; raises as `run_all` does."""
        call = self._call
        if isinstance(call, DeviceCall):
            return self._with_room(len(inputs[0]), lambda largest: self._tensors(call, inputs, largest))
        arrays = (_array(rows) if isinstance(rows, Tensor) else rows for rows in inputs)
        return tuple(torch.from_numpy(rows) for rows in self.run_all(*arrays))

    def _with_room(self, count: int, run: Callable[[int], R]) -> R:
        """Return what `run` does with batches so large, with smaller ones where memory is short the first time."""
        if count == 0:
            raise ValueError("an empty batch has no answer")
        largest = self.largest
        try:
            return run(largest)
        except OutOfMemory as error:
            tried = next(batches(count, largest))
            first = tried.stop - tried.start
            if first == 1:
                raise LimitError(f"{self.label}: out of memory for a single image; {_DEVICE}") from error
        second = self._smaller(first // 2)
        try:
            return run(second)
        except OutOfMemory as error:
            raise LimitError(f"{self.label}: out of memory for batches of {first} and of {second}; {self._remedy}{_DEVICE}") from error

    def _smaller(self, largest: int) -> int:
        """Take batches of `largest` and less from now on, unless another thread found that not even these fit; return what is taken."""
        with self._lock:
            lowered = largest < self.largest
            self.largest = min(largest, self.largest)
            taken = self.largest
        if lowered and self._said is not None:
            self._said(f"{self.label}: out of memory; going on with batches of {taken}")
        return taken

    def _arrays(self, inputs: tuple[Array, ...], largest: int) -> tuple[Array, ...]:
        parts = [*in_turn(self._call, (tuple(rows[part] for rows in inputs) for part in cuts(self._call, len(inputs[0]), largest)))]
        joined = parts[0] if len(parts) == 1 else tuple(np.concatenate(rows) for rows in zip(*parts, strict=True))
        self._check(all(np.isfinite(rows).all() for rows in joined))
        return joined

    def _tensors(self, call: DeviceCall, inputs: tuple[Array | Tensor, ...], largest: int) -> tuple[Tensor, ...]:
        parts = [call.on_device(tuple(rows[part] for rows in inputs)) for part in cuts(call, len(inputs[0]), largest)]
        joined = parts[0] if len(parts) == 1 else tuple(torch.cat(rows) for rows in zip(*parts, strict=True))
        self._check(bool(torch.stack([rows.isfinite().all() for rows in joined]).all()))
        return joined

    def _check(self, finite: bool) -> None:
        if not finite:
            raise EngineError(f"{self.label}: gave values that are no numbers; take --runtime torch, or another --precision")


def _array(rows: Tensor) -> Array:
    """A tensor as a slot has it: whole numbers as they are, all else in float32."""
    return (rows.float() if rows.is_floating_point() else rows).cpu().numpy()
