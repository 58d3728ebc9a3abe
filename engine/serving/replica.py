"""One process that holds an area: whether it can be asked, and what brings it back."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import suppress
from threading import Lock
from typing import Any, Literal, TypeVar

from crossgeo.engine.cluster.cluster import Actor
from crossgeo.indexer.area_rows import area_rows

T = TypeVar("T")
State = Literal["up", "slow", "down"]
FAILING_S = 30.0  # of nothing but errors, and another process takes its place
SILENT_S = 600.0  # without any answer, likewise: reading an area again may take minutes
_IDLE_S = 2.0  # an idle one is asked whether it is there
_LATE_S = 1.0  # and is slow when it does not say so
_FIRST_S, _SELDOM_S = 0.1, 0.5  # between such questions to one that is not


class Replica:
    """Knows from its answers whether it is there: up, slow (it owes answers) or down. Safe for threads."""

    def __init__(self, start: Callable[[Replica], Actor]) -> None:
        """Start it; it is down until it has answered."""
        self._start = start
        self.actor = start(self)
        self.trouble: str | None = None  # why it is down
        self.error: BaseException | None = None
        self._state: State = "down"
        self._lock = Lock()
        self._out = 0
        self._closed = False
        self._asking: Future[int] | None = None
        self._asked = 0.0
        self._answers = 0
        self._wait_s = _FIRST_S
        self._next = self._since = time.monotonic()

    @property
    def state(self) -> State:
        """Whether it is worth asking."""
        return self._state

    @property
    def load(self) -> int:
        """How many answers it owes."""
        return self._out

    def call(self, do: Callable[..., T], *args: Any) -> Future[T]:
        """Ask it; what becomes of that tells its state."""
        actor = self.actor
        with self._lock:
            self._out += 1
        try:
            future = actor.call(do, *args)
        except Exception as error:  # of a cluster that is lost, which questions must not fail of
            future = Future()
            future.set_exception(error)
        future.add_done_callback(lambda done: self._answered(actor, done))
        return future

    def late(self) -> None:
        """Ask it last until it has answered."""
        with self._lock:
            if self._state == "up":
                self._state, self._since = "slow", time.monotonic()
                self._next, self._wait_s = self._since, _FIRST_S

    def mind(self) -> None:
        """Ask whether it is there where that is not known, and replace it where it has not been there for long."""
        now = time.monotonic()
        with self._lock:
            if self._closed:
                return
            silent_s = 0.0 if self._asking is None else now - self._asked
            failing = self._asking is None and self._state == "down" and self.error is not None and now - self._since >= FAILING_S
            gone = failing or (silent_s >= SILENT_S and self._answers > 0)
            due = self._asking is None and now >= self._next
        if gone:
            self._replace()
        elif due:
            self._asked = now
            asking = self.call(area_rows)
            with self._lock:
                self._asking = None if asking.done() else asking
        elif silent_s >= _LATE_S:
            self.late()

    def close(self) -> None:
        """End it, and what is being started in its place."""
        with self._lock:
            self._closed = True
        self.actor.close()

    def _replace(self) -> None:
        old = self.actor
        with self._lock:
            self._asking, self._out, self._answers, self._since = None, 0, 0, time.monotonic()
        with suppress(Exception):
            old.close()
        try:
            new = self._start(self)
        except Exception as error:  # the next try is as far off as this one was
            self.trouble = str(error)
            return
        with self._lock:
            closed = self._closed
            if not closed:
                self.actor = new
        if closed:  # while it was started
            new.close()

    def _answered(self, actor: Actor, future: Future[Any]) -> None:
        error, now = None if future.cancelled() else future.exception(), time.monotonic()
        with self._lock:
            if actor is not self.actor:
                return
            self._out = max(0, self._out - 1)
            if future.cancelled():
                return
            if future is self._asking:
                self._asking = None
            if error is None:
                self._answers += 1
                self._state, self.trouble, self.error = "up", None, None
                self._next, self._wait_s = now + _IDLE_S, _FIRST_S
                return
            if self._state == "up":
                self._since = now
            self._state, self.trouble, self.error = "down", str(error), error
            self._next, self._wait_s = now + self._wait_s, min(2.0 * self._wait_s, _SELDOM_S)
