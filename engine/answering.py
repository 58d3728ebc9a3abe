"""Answering many at once: questions of several threads, answered by a pool of workers over one open search.

Each answer is that of its question alone, to the last digit: workers share what they read, never what they reckon with.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path
from threading import Condition, Thread
from types import TracebackType
from typing import Any, Generic, TypeVar

from crossgeo.engine.live import LiveSearch
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.threads import computing_with
from crossgeo.errors import LimitError
from crossgeo.processor import processors

Result = TypeVar("Result")
_USUAL = BatchOptions()


@dataclass(frozen=True)
class AnsweringStats:
    """What was asked since it was opened, and what goes on now."""

    workers: int
    busy: int  # workers that answer just now
    waiting: int  # questions that no worker has taken yet
    asked: int  # questions taken in
    answered: int
    failed: int  # that ended with an error
    refused: int  # not taken in, because too many waited
    cancelled: int  # by who asked, or at closing, before a worker took them
    waited_s: float  # of all questions that a worker took, together
    worked_s: float  # of all workers, together
    stages_ms: dict[str, float]  # of all answers, together, by stage as in `Answer.timings_ms`


@dataclass(frozen=True)
class _Asked(Generic[Result]):
    ask: Callable[[GeoSearch], Result]
    future: Future[Result]
    since: float


class Answering:
    """Workers over one search, or over the newest generation of a live one; a context manager."""

    def __init__(
        self,
        search: GeoSearch | LiveSearch,
        workers: int | None = None,
        max_waiting: int = 64,
        threads: int | None = None,
    ) -> None:
        """Answer with as many `workers` as there are processors, unless told, which share these; `max_waiting` questions may wait for one.

        Each computes with so many `threads` where others need processors, too.

        The search is the caller's to close, after this.
        """
        count = workers if workers is not None else processors()
        if count < 1 or max_waiting < 1:
            raise ValueError(f"workers {count} and max_waiting {max_waiting} are at least 1")
        self._search, self._max_waiting = search, max_waiting
        self._compute = threads or max(1, processors() // count)
        self._changed = Condition()
        self._queue: deque[_Asked[Any]] = deque()
        self._busy = self._asked = self._answered = self._failed = self._refused = self._cancelled = 0
        self._waited_s = self._worked_s = 0.0
        self._stages_ms: dict[str, float] = {}
        self._closed = False
        self._threads = [Thread(target=self._work, name=f"answering-{number}", daemon=True) for number in range(count)]
        for thread in self._threads:
            thread.start()

    def submit(
        self, photo: Photo | str | Path | bytes, point: tuple[float, float] | None = None, options: BatchOptions = _USUAL
    ) -> Future[Answer]:
        """Ask what `GeoSearch.query` is asked; the future may be cancelled while it waits.

        Raises LimitError where too many wait, and once it is closed.
        """
        told = asdict(options)
        return self.run(lambda search: search.query(photo, point=point, **told))

    def run(self, ask: Callable[[GeoSearch], Result]) -> Future[Result]:
        """Have a worker ask a search whatever it may be asked; the search is pinned until that is done. LimitError as `submit`."""
        with self._changed:
            if self._closed:
                raise LimitError("the search is being shut down and takes no more questions; ask again once it has been started anew")
            if len(self._queue) >= self._max_waiting:
                self._drop_cancelled()
            if len(self._queue) >= self._max_waiting:
                self._refused += 1
                raise LimitError(f"{len(self._queue)} questions are waiting, which is the limit; ask again later, or fewer at once")
            future: Future[Result] = Future()
            self._queue.append(_Asked(ask, future, time.monotonic()))
            self._asked += 1
            self._changed.notify()
            return future

    def stats(self) -> AnsweringStats:
        """Return what it has done, and does."""
        with self._changed:
            return AnsweringStats(
                len(self._threads), self._busy, len(self._queue), self._asked, self._answered, self._failed, self._refused,
                self._cancelled, self._waited_s, self._worked_s, dict(self._stages_ms),
            )  # fmt: skip

    def close(self, drain: bool = True) -> None:
        """Take no more questions and return when those that wait are answered or, without `drain`, cancelled."""
        with self._changed:
            self._closed = True
            dropped = [] if drain else list(self._queue)
            if not drain:
                self._queue.clear()
                self._cancelled += len(dropped)
            self._changed.notify_all()
        for asked in dropped:
            asked.future.cancel()
        for thread in self._threads:
            thread.join()

    def __enter__(self) -> Answering:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(drain=kind is None)

    def _drop_cancelled(self) -> None:
        left = deque(asked for asked in self._queue if not asked.future.cancelled())
        self._cancelled += len(self._queue) - len(left)
        self._queue = left

    def _work(self) -> None:
        # Threads inside one question wait for one another; as many questions as processors, each in one thread, wait for nobody.
        with computing_with(self._compute):
            self._answer_all()

    def _answer_all(self) -> None:
        while (asked := self._next()) is not None:
            began = time.monotonic()
            try:
                with self._pinned() as search:
                    result = asked.ask(search)
            except (
                BaseException
            ) as error:  # whatever it is, it is who asked that raises it; a thread that ends here would leave others waiting
                self._done(began, None)
                asked.future.set_exception(error)
            else:
                self._done(began, result)
                asked.future.set_result(result)
            del asked  # what was asked and answered is not held while waiting for the next

    def _pinned(self) -> AbstractContextManager[GeoSearch]:
        return self._search.current() if isinstance(self._search, LiveSearch) else nullcontext(self._search)

    def _next(self) -> _Asked[Any] | None:
        """Wait for a question that nobody cancelled; None once closed and empty."""
        with self._changed:
            while True:
                while self._queue:
                    asked = self._queue.popleft()
                    if asked.future.set_running_or_notify_cancel():
                        self._busy += 1
                        self._waited_s += time.monotonic() - asked.since
                        return asked
                    self._cancelled += 1
                if self._closed:
                    return None
                self._changed.wait()

    def _done(self, began: float, result: object | None) -> None:
        with self._changed:
            self._busy -= 1
            self._worked_s += time.monotonic() - began
            if result is None:
                self._failed += 1
                return
            self._answered += 1
            if isinstance(result, Answer):
                for stage, took in result.timings_ms.items():
                    self._stages_ms[stage] = self._stages_ms.get(stage, 0.0) + took
