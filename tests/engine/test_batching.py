"""Requests of many threads share batches, each gets its own result or its own error, and none is left waiting."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo.engine.batching import Batcher
from crossgeo.errors import InputError, LimitError

LONG_MS = 600_000.0  # a batch that waits for so long has to be filled, or closed
WAIT_S = 60.0
Pixels = NDArray[np.float32]


class Model:
    """Doubles what it is given; keeps the batches, fails at negative items, and may be held."""

    def __init__(self) -> None:
        self.batches: list[list[float]] = []
        self.free, self.busy = threading.Event(), threading.Event()
        self.free.set()

    def __call__(self, items: Sequence[Pixels]) -> list[Pixels]:
        self.busy.set()
        assert self.free.wait(WAIT_S)
        self.batches.append([float(item.flat[0]) for item in items])
        stacked = np.stack(items)
        if (stacked < 0).any():
            raise InputError(f"{int((stacked[:, 0] < 0).sum())} of {len(stacked)} are negative")
        return list(stacked * 2)


def item(value: float, size: int = 3) -> Pixels:
    return np.full(size, value, np.float32)


def asked(batcher: Batcher[Any, Any], items: Sequence[Any]) -> list[Any]:
    """Ask from a thread for each item; return the results and errors in their order."""

    def one(value: Any) -> Any:
        try:
            return batcher.ask(value, WAIT_S)
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(items)) as threads:
        return list(threads.map(one, items))


def held(model: Model, batcher: Batcher[Any, Any]) -> Future[Any]:
    """Keep the model busy with one request until `model.free` is set."""
    model.free.clear()
    future = batcher.submit(item(0.5))
    assert model.busy.wait(WAIT_S)
    return future


def test_requests_of_many_threads_share_a_batch_and_each_gets_its_own_result() -> None:
    model = Model()
    with Batcher(model, max_batch=8, max_delay_ms=LONG_MS) as batcher:
        results = asked(batcher, [item(n) for n in range(16)])
        assert batcher.stats().batches == 2
    assert [float(result[0]) for result in results] == [2.0 * n for n in range(16)]
    assert sorted(len(batch) for batch in model.batches) == [8, 8]


def test_a_lone_request_is_run_once_its_delay_is_over() -> None:
    model = Model()
    with Batcher(model, max_batch=8, max_delay_ms=1.0) as batcher:
        assert batcher.ask(item(3.0), WAIT_S).tolist() == [6.0] * 3
    assert model.batches == [[3.0]]


def test_a_batch_holds_one_shape_and_type() -> None:
    model = Model()
    with Batcher(model, max_batch=2, max_delay_ms=LONG_MS) as batcher:
        results = asked(batcher, [item(1), item(2, 5), item(3), item(4, 5), item(5).astype(np.float64), item(6).astype(np.float64)])
    assert [len(result) for result in results] == [3, 5, 3, 5, 3, 3]
    assert [result.dtype for result in results[-2:]] == [np.float64] * 2
    assert {tuple(sorted(batch)) for batch in model.batches} == {(1.0, 3.0), (2.0, 4.0), (5.0, 6.0)}


def test_what_goes_together_may_be_said() -> None:
    batches: list[list[str]] = []

    def run(words: Sequence[str]) -> list[int]:
        batches.append(list(words))
        return [len(word) for word in words]

    with Batcher(run, max_batch=2, max_delay_ms=LONG_MS, shape_of=lambda word: word[0]) as batcher:
        assert asked(batcher, ["apple", "bee", "ant", "bear"]) == [5, 3, 3, 4]
    assert {tuple(sorted(batch)) for batch in batches} == {("ant", "apple"), ("bear", "bee")}


def test_tensors_are_batched_too() -> None:
    with Batcher(lambda items: list(torch.stack([*items]).sum(dim=1)), max_batch=4, max_delay_ms=LONG_MS) as batcher:
        assert asked(batcher, [torch.full((3,), float(n)) for n in range(4)]) == [3.0 * n for n in range(4)]


@pytest.mark.parametrize("poison", [0, 3, 7])
def test_one_poisoned_item_fails_alone(poison: int) -> None:
    model = Model()
    with Batcher(model, max_batch=8, max_delay_ms=LONG_MS) as batcher:
        results = asked(batcher, [item(-1 if n == poison else n + 1) for n in range(8)])
        stats = batcher.stats()
    assert isinstance(results[poison], InputError) and "1 of 1" in str(results[poison])
    assert [float(result[0]) for n, result in enumerate(results) if n != poison] == [2.0 * (n + 1) for n in range(8) if n != poison]
    assert (stats.requests, stats.failed, stats.batches) == (8, 1, 7)  # 8, 4 and 4, 2 and 2, 1 and 1


def test_where_all_fail_each_gets_an_error() -> None:
    def run(items: Sequence[Pixels]) -> list[Pixels]:
        raise MemoryError(str(len(items)))

    with Batcher(run, max_batch=5, max_delay_ms=LONG_MS) as batcher:
        assert [str(error) for error in asked(batcher, [item(n) for n in range(5)])] == ["1"] * 5


@pytest.mark.parametrize("error", [KeyboardInterrupt(), SystemExit(3), TimeoutError("of the model")])
def test_whatever_the_model_raises_ends_one_request_and_not_the_thread(error: BaseException) -> None:
    failing = [True]

    def run(items: Sequence[Pixels]) -> list[Pixels]:
        if failing.pop() if failing else False:
            raise error
        return list(items)

    with Batcher(run, max_batch=1) as batcher:
        with pytest.raises(type(error)) as caught:
            batcher.ask(item(1), WAIT_S)
        assert caught.value is error
        assert batcher.ask(item(2), WAIT_S).tolist() == [2.0] * 3


def test_a_model_that_gives_too_few_results_is_an_error() -> None:
    run: Callable[[Sequence[Pixels]], list[Pixels]] = lambda items: list(items)[1:]  # noqa: E731
    with Batcher(run, max_batch=2, max_delay_ms=LONG_MS) as batcher:
        assert all("0 results for 1" in str(error) for error in asked(batcher, [item(1), item(2)]))


def test_more_than_may_wait_are_refused_and_the_others_answered() -> None:
    model = Model()
    with Batcher(model, max_batch=1, max_waiting=3) as batcher:
        first = held(model, batcher)
        waiting = [batcher.submit(item(n)) for n in range(3)]
        with pytest.raises(LimitError, match="3 requests are waiting"):
            batcher.submit(item(9))
        assert (batcher.stats().waiting, batcher.stats().refused) == (3, 1)
        model.free.set()
        assert [float(future.result(WAIT_S)[0]) for future in [first, *waiting]] == [1.0, 0.0, 2.0, 4.0]
        assert batcher.ask(item(9), WAIT_S)[0] == 18.0
        assert batcher.stats().waiting == 0


def test_a_full_batch_of_one_shape_does_not_wait_for_a_lone_request_of_another() -> None:
    model = Model()
    with Batcher(model, max_batch=2, max_delay_ms=LONG_MS) as batcher:
        lone = batcher.submit(item(1, 9))
        assert [float(result[0]) for result in asked(batcher, [item(2), item(3)])] == [4.0, 6.0]
        assert not lone.done()
    assert lone.result(WAIT_S)[0] == 2.0


def test_a_request_of_a_rare_shape_is_not_passed_over_for_full_batches() -> None:
    model = Model()
    with Batcher(model, max_batch=2, max_delay_ms=0.0) as batcher:
        held(model, batcher)
        futures = [batcher.submit(item(1, 9)), *(batcher.submit(item(n)) for n in (2, 3, 4, 5))]
        model.free.set()
        assert [float(future.result(WAIT_S)[0]) for future in futures] == [2.0, 4.0, 6.0, 8.0, 10.0]
    assert model.batches == [[0.5], [1.0], [2.0, 3.0], [4.0, 5.0]]


def test_closing_answers_those_who_wait_and_refuses_others() -> None:
    model = Model()
    batcher: Batcher[Pixels, Pixels] = Batcher(model, max_batch=4, max_delay_ms=LONG_MS)
    waiting = [batcher.submit(item(n)) for n in range(3)]
    batcher.close()
    assert [float(future.result(0)[0]) for future in waiting] == [0.0, 2.0, 4.0]
    with pytest.raises(LimitError, match="shut down"):
        batcher.submit(item(9))
    batcher.close()


def test_closing_at_once_cancels_those_who_wait_but_not_what_runs() -> None:
    model = Model()
    batcher: Batcher[Pixels, Pixels] = Batcher(model, max_batch=1)
    running = held(model, batcher)
    waiting = [batcher.submit(item(n)) for n in range(3)]
    closing = threading.Thread(target=batcher.close, kwargs={"drain": False})
    closing.start()
    for future in waiting:
        with pytest.raises(CancelledError):
            future.result(WAIT_S)
    model.free.set()
    closing.join(WAIT_S)
    assert not closing.is_alive() and running.result(0)[0] == 1.0
    assert model.batches == [[0.5]]


def test_a_request_given_up_is_not_run() -> None:
    model = Model()
    with Batcher(model, max_batch=1) as batcher:
        held(model, batcher)
        with pytest.raises(LimitError, match=r"within 0\.01 s"):
            batcher.ask(item(7), 0.01)
        kept = batcher.submit(item(8))
        model.free.set()
        assert kept.result(WAIT_S)[0] == 16.0
    assert model.batches == [[0.5], [8.0]]


def test_many_threads_with_many_shapes_all_get_their_own() -> None:
    model = Model()
    failures: list[Any] = []

    def client(seed: int) -> None:
        rng = np.random.default_rng(seed)
        for _ in range(50):
            value, size = float(rng.integers(-2, 20)), int(rng.integers(1, 4))
            try:
                result = batcher.ask(item(value, size), WAIT_S)
                good = value >= 0 and result.tolist() == [2 * value] * size
            except InputError:
                good = value < 0
            if not good:
                failures.append((value, size))

    with Batcher(model, max_batch=4, max_delay_ms=0.5, max_waiting=12) as batcher:
        threads = [threading.Thread(target=client, args=(seed,)) for seed in range(12)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
        assert not any(thread.is_alive() for thread in threads)
        assert (batcher.stats().requests, batcher.stats().waiting) == (600, 0)
    assert failures == []
    assert max(map(len, model.batches)) <= 4


@pytest.mark.parametrize("wrong", [{"max_batch": 0}, {"max_waiting": 0}, {"max_delay_ms": -1.0}, {"max_delay_ms": float("nan")}])
def test_limits_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="at least"):
        Batcher(list, **wrong)
