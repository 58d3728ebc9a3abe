"""engine/runtime/staging.py on a card that does everything as late as it may: who does not wait sees what was there before."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from crossgeo.engine.runtime.staging import DEPTH, Staging
from crossgeo.engine.runtime.torch import laid


class LateEvent:
    """Is reached once its stream has done what it had been told before."""

    def __init__(self, stream: LateStream) -> None:
        self.reached, self._stream = False, stream

    def synchronize(self) -> None:
        while not self.reached:
            self._stream.step()


class LateStream:
    """Does what it is told in order, when somebody waits for it."""

    def __init__(self) -> None:
        self.todo: deque[Callable[[], None]] = deque()

    def step(self) -> None:
        self.todo.popleft()()

    def record_event(self) -> LateEvent:
        event = LateEvent(self)
        self.todo.append(lambda: setattr(event, "reached", True))
        return event

    def wait_event(self, event: LateEvent) -> None:
        self.todo.append(event.synchronize)


def later(target: Tensor, source: Tensor, times: int = 1) -> None:
    """Write what is there by now."""
    target.copy_(times * source)


class LateCard:
    """A `Card` whose memory is the processor's, and holds -1 where nothing was copied."""

    def __init__(self) -> None:
        self.compute, self.pinnings = LateStream(), 0
        self._now: LateStream | None = None

    def stream(self) -> LateStream:
        return LateStream()

    def computing(self) -> LateStream:
        return self.compute

    @contextmanager
    def within(self, stream: LateStream) -> Iterator[None]:
        self._now = stream
        yield
        self._now = None

    def pinned(self, size: int) -> Tensor:
        self.pinnings += 1
        return torch.full((size,), 255, dtype=torch.uint8)

    def empty(self, like: Tensor) -> Tensor:
        return torch.full_like(like, -1)

    def copy(self, target: Tensor, source: Tensor) -> None:
        assert self._now is not None
        self._now.todo.append(lambda: later(target, source))

    def used_in(self, tensor: Tensor, stream: Any) -> None:
        pass

    def doubled(self, given: Tensor) -> Tensor:
        """Compute in the stream of the calling thread."""
        out = torch.full_like(given, -1)
        self.compute.todo.append(lambda: later(out, given, 2))
        return out


def rows(number: int, count: int = 4) -> Tensor:
    return torch.full((count, 3), float(number))


def test_a_batch_goes_there_is_computed_and_comes_back_with_one_in_flight() -> None:
    card = LateCard()
    staged, waiting, found = Staging(card), deque[Any](), []
    for number in range(10):
        waiting.append(staged.take((card.doubled(staged.put(rows(number))),)))
        if len(waiting) == 2:
            found.append(waiting.popleft().arrays()[0])
    found.append(waiting.popleft().arrays()[0])
    for number, one in enumerate(found):
        np.testing.assert_array_equal(one, 2 * rows(number))
    assert card.pinnings <= 2 * DEPTH


def test_nobody_waits_before_results_are_taken() -> None:
    card = LateCard()
    staged = Staging(card)
    taken = staged.take((card.doubled(staged.put(rows(7))),))
    assert len(card.compute.todo) == 3  # it waits for the rows, computes, and says so: none of it is done yet
    np.testing.assert_array_equal(taken.arrays()[0], 2 * rows(7))
    assert not card.compute.todo


def test_a_buffer_is_not_written_while_its_copy_is_under_way() -> None:
    card = LateCard()
    staged = Staging(card)
    given = [staged.put(rows(number)) for number in range(2 * DEPTH + 1)]
    out = [staged.take((card.doubled(one),)) for one in given]
    for number, one in enumerate(out):
        np.testing.assert_array_equal(one.arrays()[0], 2 * rows(number))


def test_results_not_taken_yet_keep_their_memory_and_what_was_taken_is_not_written_over() -> None:
    card = LateCard()
    staged = Staging(card)
    out = [staged.take((card.doubled(staged.put(rows(number))),)) for number in range(3 * DEPTH)]
    found = [one.arrays()[0] for one in reversed(out)]
    staged.take((card.doubled(staged.put(rows(99))),)).arrays()
    for number, one in enumerate(reversed(found)):
        np.testing.assert_array_equal(one, 2 * rows(number))


@pytest.mark.parametrize("dtype", [torch.uint8, torch.float32, torch.int64])
def test_batches_of_other_sizes_and_types_go_through_the_same_buffers(dtype: Any) -> None:
    card = LateCard()
    staged = Staging(card)
    for count in (1, 8, 3, 16, 2, 9):
        given = torch.arange(count * 3).reshape(count, 3).to(dtype)
        outputs = card.doubled(staged.put(given)), staged.put(rows(5))
        twice, five = staged.take(outputs).arrays()
        np.testing.assert_array_equal(twice, 2 * given)
        np.testing.assert_array_equal(five, rows(5))
        assert torch.from_numpy(twice).dtype == dtype


@pytest.mark.parametrize("kind", ["as networks take them", "channels first", "mirrored", "clicks"])
def test_images_go_to_a_gpu_in_the_order_that_their_bytes_have_and_arrive_channels_last(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    card, gpu, copied = LateCard(), torch.device("cuda"), list[Tensor]()
    monkeypatch.setattr("crossgeo.engine.runtime.torch.staging", lambda device: Staging(card))
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 5, 4)).astype(np.float32)
    given = {
        "as networks take them": np.ascontiguousarray(images.transpose(0, 2, 3, 1)).transpose(0, 3, 1, 2),
        "channels first": images,
        "mirrored": images[..., ::-1],
        "clicks": images[:, :2, 0, 0],
    }[kind]

    def copy(target: Tensor, source: Tensor) -> None:
        """Do it at once."""
        later(target, source)
        copied.append(source)

    monkeypatch.setattr(card, "copy", copy)
    found = laid(given, gpu)
    np.testing.assert_array_equal(found.numpy(), given)
    assert len(copied) == 1 and copied[0].is_contiguous()
    assert found.is_contiguous(memory_format=torch.channels_last) if found.ndim == 4 else found.is_contiguous()
