"""Rows on their way to a GPU and back, beside what it computes: pinned memory that is used again, and streams of their own for copies.

A batch is copied to the card while the one before is computed and the results of the one before that come back. Nobody waits for the card
until results are taken.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from crossgeo.engine.runtime import Array

DEPTH = 3  # buffers: one is filled, one is copied, one waits


class Card(Protocol):
    """What a GPU does that the processor does not; tests have one that does all as late as it may."""

    def stream(self) -> Any:
        """Return a new stream, with `wait_event` and `record_event`."""
        ...

    def computing(self) -> Any:
        """Return the stream that the calling thread computes in."""
        ...

    def within(self, stream: Any) -> AbstractContextManager[Any]:
        """Return a context in which copies go through a stream."""
        ...

    def pinned(self, size: int) -> Tensor:
        """Return so many bytes of the processor's memory that copies may use while it goes on."""
        ...

    def empty(self, like: Tensor) -> Tensor:
        """Return memory of the card, of the shape and type of a tensor."""
        ...

    def copy(self, target: Tensor, source: Tensor) -> None:
        """Begin to copy in the stream of the context."""
        ...

    def used_in(self, tensor: Tensor, stream: Any) -> None:
        """Have the memory of a tensor of the card kept until what a stream does by now is done."""
        ...


class Cuda:
    """A `Card` of CUDA."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def stream(self) -> Any:
        return torch.cuda.Stream(self._device)  # type: ignore[no-untyped-call]

    def computing(self) -> Any:
        return torch.cuda.current_stream(self._device)

    def within(self, stream: Any) -> AbstractContextManager[Any]:
        return torch.cuda.stream(stream)

    def pinned(self, size: int) -> Tensor:
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def empty(self, like: Tensor) -> Tensor:
        return torch.empty(like.shape, dtype=like.dtype, device=self._device)

    def copy(self, target: Tensor, source: Tensor) -> None:
        target.copy_(source, non_blocking=True)

    def used_in(self, tensor: Tensor, stream: Any) -> None:
        tensor.record_stream(stream)


@dataclass
class _Buffer:
    memory: Tensor  # bytes, pinned
    done: Any = None  # event after which it may be written again

    def like(self, tensor: Tensor) -> Tensor:
        """Return its memory in the shape and type of a tensor."""
        size = tensor.numel() * tensor.element_size()
        return self.memory[:size].view(tensor.dtype).view(tensor.shape)


class _Buffers:
    """Pinned buffers, the one that was given back first before the others; none is written before its copy is done."""

    def __init__(self, card: Card) -> None:
        self._card, self._free, self._made = card, deque[_Buffer](), 0

    def take(self, size: int) -> _Buffer:
        if self._made < DEPTH or not self._free:
            self._made += 1
            return _Buffer(self._card.pinned(size))
        found = self._free.popleft()
        if found.done is not None:
            found.done.synchronize()
        return found if len(found.memory) >= size else _Buffer(self._card.pinned(size))

    def give(self, buffer: _Buffer) -> None:
        self._free.append(buffer)


class Taken:
    """Results on their way back; `arrays` waits for them, once."""

    def __init__(self, parts: Sequence[tuple[_Buffer, Tensor]], done: Any, buffers: _Buffers) -> None:
        self._parts, self._done, self._buffers = parts, done, buffers

    def arrays(self) -> tuple[Array, ...]:
        """Return the results in memory of their own."""
        self._done.synchronize()
        out = tuple(laid.numpy().copy() for _, laid in self._parts)
        for buffer, _ in self._parts:
            self._buffers.give(buffer)
        self._parts = ()
        return out


class Here:
    """Results that lie in the processor's memory already, taken as `Taken` is."""

    def __init__(self, outputs: Sequence[Tensor]) -> None:
        self._outputs = outputs

    def arrays(self) -> tuple[Array, ...]:
        """Return the results."""
        return tuple(output.numpy() for output in self._outputs)


class Staging:
    """The way to a card and back of one thread, whose own stream computes."""

    def __init__(self, card: Card) -> None:
        self._card, self._there, self._back = card, card.stream(), card.stream()
        self._inputs, self._outputs = _Buffers(card), _Buffers(card)

    def put(self, source: Tensor) -> Tensor:
        """Begin to copy a contiguous tensor of the processor to the card; what the calling thread computes from now on comes after."""
        card = self._card
        buffer = self._inputs.take(source.numel() * source.element_size())
        laid = buffer.like(source)
        laid.copy_(source)
        with card.within(self._there):
            given = card.empty(source)
            card.copy(given, laid)
        buffer.done = self._there.record_event()
        self._inputs.give(buffer)
        card.computing().wait_event(buffer.done)
        card.used_in(given, card.computing())
        return given

    def take(self, outputs: Sequence[Tensor]) -> Taken:
        """Begin to copy contiguous results back, once what the calling thread has begun to compute is done."""
        card, parts = self._card, []
        self._back.wait_event(card.computing().record_event())
        for output in outputs:
            buffer = self._outputs.take(output.numel() * output.element_size())
            laid = buffer.like(output)
            with card.within(self._back):
                card.copy(laid, output)
            card.used_in(output, self._back)
            parts.append((buffer, laid))
        return Taken(parts, self._back.record_event(), self._outputs)


_own = threading.local()


def staging(device: torch.device) -> Staging:
    """Return the calling thread's way to a GPU."""
    every: dict[torch.device, Staging] = _own.__dict__.setdefault("every", {})
    if device not in every:
        every[device] = Staging(Cuda(device))
    return every[device]
