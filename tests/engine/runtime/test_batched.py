"""engine/runtime/batched.py: any number of rows, few sizes of batch, and what becomes of a batch that does not fit."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import Tensor

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Batched, OutOfMemory, batches
from crossgeo.errors import EngineError, LimitError


class Doubling:
    """A call that doubles its rows and has room for some of them."""

    def __init__(self, room: int = 1000) -> None:
        self.room, self.seen = room, list[int]()

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        self.seen.append(len(inputs[0]))
        if len(inputs[0]) > self.room:
            raise OutOfMemory
        return tuple(2.0 * rows for rows in inputs)


def rows(count: int) -> Array:
    return np.arange(3.0 * count, dtype=np.float32).reshape(count, 3)


@pytest.mark.parametrize("count", [1, 3, 8, 9, 21])
def test_every_row_is_answered_once_in_order(count: int) -> None:
    runtime = Batched(Doubling(), "doubling", 8)
    one, two = runtime.run_all(rows(count), rows(count) + 1.0)
    np.testing.assert_array_equal(one, 2.0 * rows(count))
    np.testing.assert_array_equal(two, 2.0 * rows(count) + 2.0)
    np.testing.assert_array_equal(runtime.run(rows(count)), one)


def test_a_back_end_sees_few_batch_sizes() -> None:
    call = Doubling()
    for count in range(1, 30):
        Batched(call, "doubling", 8).run(rows(count))
    assert set(call.seen) == {1, 2, 4, 8}


def test_batches_cover_each_row_once_in_powers_of_two() -> None:
    for count in range(1, 70):
        parts = list(batches(count, 16))
        assert [k for part in parts for k in range(part.start, part.stop)] == list(range(count))
        assert {part.stop - part.start for part in parts} <= {1, 2, 4, 8, 16}
    assert [part.stop - part.start for part in batches(27, 16)] == [16, 8, 2, 1]


@pytest.mark.parametrize("batch", [0, 12])
def test_a_batch_that_is_no_power_of_two_is_refused(batch: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        Batched(Doubling(), "doubling", batch)


class OnDevice(Doubling):
    """The same with tensors that stay where they are."""

    device = torch.device("cpu")

    def on_device(self, inputs: tuple[Array | Tensor, ...]) -> tuple[Tensor, ...]:
        assert all(isinstance(rows, Tensor) for rows in inputs)  # arrays would have been moved
        return tuple(torch.from_numpy(rows) for rows in self(tuple(np.asarray(rows) for rows in inputs)))


@pytest.mark.parametrize("call", [Doubling(room=2), OnDevice(room=2)])
def test_tensors_go_through_as_arrays_do(call: Doubling) -> None:
    said: list[str] = []
    runtime = Batched(call, "doubling", 4, said.append)
    one, two = runtime.run_tensors(torch.from_numpy(rows(5)), torch.from_numpy(rows(5)).half())
    assert np.array_equal(one.numpy(), 2.0 * rows(5)) and np.array_equal(two.float().numpy(), 2.0 * rows(5))
    assert call.seen == [4, 2, 2, 1] and said == ["doubling: out of memory; going on with batches of 2"]


def test_tensors_that_are_no_numbers_are_refused() -> None:
    with pytest.raises(EngineError, match="no numbers"):
        Batched(OnDevice(), "doubling", 4).run_tensors(torch.full((5, 1), torch.nan))


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        Batched(Doubling(), "doubling", 8).run(rows(0))


def test_out_of_memory_halves_the_batch_once_and_says_so() -> None:
    said: list[str] = []
    runtime = Batched(Doubling(room=4), "doubling", 8, said.append)
    np.testing.assert_array_equal(runtime.run(rows(21)), 2.0 * rows(21))
    assert runtime.largest == 4 and said == ["doubling: out of memory; going on with batches of 4"]
    runtime.run(rows(21))
    assert len(said) == 1  # it stays with what fits


@pytest.mark.parametrize(("room", "batch"), [(1, 8), (0, 1)])
def test_a_device_that_has_no_room_for_half_either_is_an_error(room: int, batch: int) -> None:
    with pytest.raises(LimitError, match="out of memory"):
        Batched(Doubling(room=room), "doubling", batch).run(rows(9))


def test_what_is_halved_is_the_batch_that_did_not_fit_not_the_largest_that_is_taken() -> None:
    said: list[str] = []
    call = Doubling(room=8)
    runtime = Batched(call, "doubling", 64, said.append)
    np.testing.assert_array_equal(runtime.run(rows(24)), 2.0 * rows(24))
    assert call.seen == [16, 8, 8, 8] and said == ["doubling: out of memory; going on with batches of 8"]
    runtime.run(rows(3))
    assert runtime.largest == 8 and len(said) == 1


def test_the_error_names_the_batches_that_were_tried_and_what_to_do() -> None:
    call = Doubling(room=4)
    with pytest.raises(LimitError, match=r"batches of 16 and of 8; give a smaller --max-batch, free the device.* another --device"):
        Batched(call, "doubling", 64, remedy="give a smaller --max-batch, ").run(rows(24))
    assert call.seen == [16, 8]


def test_threads_that_run_out_of_memory_together_halve_the_batch_once() -> None:
    said, meeting = list[str](), threading.Barrier(4)

    def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        if len(inputs[0]) == 8:
            meeting.wait(30)
            raise OutOfMemory
        return inputs

    runtime = Batched(call, "crowded", 8, said.append)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(runtime.run, [rows(8)] * 4))
    assert all(np.array_equal(one, rows(8)) for one in found)
    assert runtime.largest == 4 and said == ["crowded: out of memory; going on with batches of 4"]


def test_an_answer_that_is_no_number_is_an_error() -> None:
    given = rows(3)
    given[1, 1] = np.nan
    with pytest.raises(EngineError, match="no numbers"):
        Batched(Doubling(), "doubling", 8).run(given)


class Slow:
    """A call that is begun and waited for, and notes when."""

    def __init__(self) -> None:
        self.noted: list[str] = []

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return self.begin(inputs).arrays()

    def begin(self, inputs: tuple[Array, ...]) -> Begun:
        self.noted.append(f"begin {len(inputs[0])}")
        if len(inputs[0]) > 8:
            raise OutOfMemory
        return Begun(self, inputs[0])


class Begun:
    def __init__(self, call: Slow, rows: Array) -> None:
        self._call, self._rows = call, rows

    def arrays(self) -> tuple[Array, ...]:
        self._call.noted.append(f"take {len(self._rows)}")
        return (2 * self._rows,)


def test_a_call_that_need_not_be_waited_for_has_one_batch_in_flight() -> None:
    call = Slow()
    rows = np.arange(14, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(Batched(call, "slow", 8).run(rows), 2 * rows)
    assert call.noted == ["begin 8", "begin 4", "take 8", "begin 2", "take 4", "take 2"]


def test_what_does_not_fit_while_another_is_in_flight_is_run_again_in_smaller_batches() -> None:
    call, said = Slow(), list[str]()
    rows = np.arange(40, dtype=np.float32)[:, None]
    np.testing.assert_array_equal(Batched(call, "slow", 16, said.append).run(rows), 2 * rows)
    assert len(said) == 1 and call.noted[0] == "begin 16" and call.noted.count("take 8") == 5


def test_no_number_in_any_output_is_an_error() -> None:
    def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return inputs[0], np.where(inputs[0] > 0, np.float32(np.nan), np.float32(0))

    runtime = Batched(call, "second", 8)
    with pytest.raises(EngineError, match="second: gave values that are no numbers"):
        runtime.run_all(rows(3))
    with pytest.raises(EngineError, match="second: gave values that are no numbers"):
        runtime.run_tensors(rows(3))
