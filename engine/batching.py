"""Dynamic batching: single requests of several threads, gathered by shape into batches for a model, each handed its own result.

A request waits until its batch is full or the first in it has waited for long enough (adaptive batching; Crankshaw et al. 2017, Clipper,
sec. 4.3), so that a lone request pays a small delay and many at once share one pass.
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from crossgeo.errors import LimitError

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class BatcherStats:
    """What a batcher has done since it was made."""

    requests: int  # accepted
    refused: int  # because too many were waiting
    batches: int  # runs of the model; those of the halves of a failed batch count too
    rows: int  # of the requests in those runs: as many as requests, where each is of one row
    failed: int  # requests that ended with an error
    waiting: int  # now


@dataclass(frozen=True)
class _Request(Generic[Item, Result]):
    item: Item
    rows: int
    future: Future[Result]
    due: float  # when its batch is run even if it is not full


class Batcher(Generic[Item, Result]):
    """Runs a model on the requests of all threads together, in a thread of its own; a context manager.

    Where a batch fails, its halves are tried by themselves, and so on, so that one bad item fails alone.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        max_batch: int = 16,
        max_delay_ms: float = 5.0,
        max_waiting: int = 256,
        shape_of: Callable[[Item], Hashable] | None = None,
        rows_of: Callable[[Item], int] = lambda item: 1,
    ) -> None:
        """Batch requests for `run`, which is given items of one shape, of up to `max_batch` rows together or a single larger one, and
        returns as many results in their order. An item is of one row unless `rows_of` says of how many.

        With a delay of 0 a lone request is run at once, and what arrives while the model is busy goes together into its next batches.
        `max_waiting` requests may wait, those in a running batch not counted. `shape_of` says which items go together: by default those
        of one `.shape` and `.dtype`, as arrays and tensors have them.
        """
        if max_batch < 1 or max_waiting < 1 or not max_delay_ms >= 0.0:
            raise ValueError(f"max_batch {max_batch} and max_waiting {max_waiting} are at least 1, max_delay_ms {max_delay_ms} at least 0")
        self._run, self._shape_of, self._rows_of = run, shape_of or _shape, rows_of
        self._max_batch, self._delay_s, self._max_waiting = max_batch, max_delay_ms / 1000.0, max_waiting
        self._changed = Condition()
        self._groups: OrderedDict[Hashable, deque[_Request[Item, Result]]] = OrderedDict()  # the group of the oldest request first
        self._waiting = self._requests = self._refused = self._batches = self._rows = self._failed = 0
        self._closed = False
        self._thread = Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    def submit(self, item: Item) -> Future[Result]:
        """Ask for an item's result, which may be cancelled while it waits; raise LimitError where too many wait, or once it is closed."""
        shape, rows = self._shape_of(item), self._rows_of(item)
        with self._changed:
            if self._closed:
                raise LimitError("the model is being shut down and takes no more requests; ask again once it has been started anew")
            if self._waiting >= self._max_waiting:
                self._refused += 1
                raise LimitError(
                    f"{self._waiting} requests are waiting for the model, which is the limit; ask again later, or less at once"
                )
            future: Future[Result] = Future()
            self._groups.setdefault(shape, deque()).append(_Request(item, rows, future, time.monotonic() + self._delay_s))
            self._waiting += 1
            self._requests += 1
            self._changed.notify_all()
            return future

    def ask(self, item: Item, timeout_s: float | None = None) -> Result:
        """Return an item's result, or raise what the model raised for it; LimitError as `submit` does, and after `timeout_s`."""
        future = self.submit(item)
        try:
            return future.result(timeout_s)
        except TimeoutError:
            if future.done():  # just now, or the model raised it
                return future.result()
            future.cancel()
            raise LimitError(f"the model gave no answer within {timeout_s:g} s; ask again later, or allow more time") from None

    def stats(self) -> BatcherStats:
        """Return what it has done."""
        with self._changed:
            return BatcherStats(self._requests, self._refused, self._batches, self._rows, self._failed, self._waiting)

    def close(self, drain: bool = True) -> None:
        """Take no more requests and return when those that wait are answered at once or, without `drain`, cancelled."""
        with self._changed:
            self._closed = True
            dropped = [] if drain else [request for group in self._groups.values() for request in group]
            if not drain:
                self._groups.clear()
                self._waiting = 0
            self._changed.notify_all()
        for request in dropped:
            request.future.cancel()
        self._thread.join()

    def __enter__(self) -> Batcher[Item, Result]:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _work(self) -> None:
        while True:
            batch = self._next()
            if batch is None:
                return
            # A request that was cancelled while it waited is left out; from here on it cannot be cancelled any more.
            self._answer([request for request in batch if request.future.set_running_or_notify_cancel()])

    def _next(self) -> list[_Request[Item, Result]] | None:
        """Wait for a batch that is full or due, None once closed and empty."""
        with self._changed:
            while True:
                if not self._groups:
                    if self._closed:
                        return None
                    self._changed.wait()
                    continue
                oldest = next(iter(self._groups))
                left_s = self._groups[oldest][0].due - time.monotonic()
                if left_s <= 0.0 or self._closed:  # before full ones, or a rare shape would never have its turn
                    return self._take(oldest)
                full = [shape for shape, group in self._groups.items() if sum(request.rows for request in group) >= self._max_batch]
                if full:
                    return self._take(full[0])
                self._changed.wait(left_s)

    def _take(self, shape: Hashable) -> list[_Request[Item, Result]]:
        group = self._groups[shape]
        batch = [group.popleft()]
        rows = batch[0].rows
        while group and rows + group[0].rows <= self._max_batch:
            rows += group[0].rows
            batch.append(group.popleft())
        self._waiting -= len(batch)
        if not group:
            del self._groups[shape]
        else:  # others may have waited longer than what is left of it
            self._groups = OrderedDict(sorted(self._groups.items(), key=lambda named: named[1][0].due))
        return batch

    def _answer(self, batch: Sequence[_Request[Item, Result]]) -> None:
        if not batch:
            return
        with self._changed:
            self._batches += 1
            self._rows += sum(request.rows for request in batch)
        try:
            results = self._run([request.item for request in batch])
            if len(results) != len(batch):
                raise ValueError(f"the model gave {len(results)} results for {len(batch)} items")
        except BaseException as error:  # whatever it is, it is the requests' to raise; a thread that ends here would leave them waiting
            if len(batch) > 1:
                self._answer(batch[: len(batch) // 2])
                self._answer(batch[len(batch) // 2 :])
                return
            with self._changed:
                self._failed += 1
            batch[0].future.set_exception(error)
            return
        for request, result in zip(batch, results, strict=True):
            request.future.set_result(result)


def _shape(item: Any) -> Hashable:
    return tuple(item.shape), str(item.dtype)
