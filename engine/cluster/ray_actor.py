"""An actor of a Ray cluster, and what it is asked while it has no room for more."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any, TypeVar

from crossgeo.engine.cluster.answer import settle, unfit
from crossgeo.engine.cluster.ray_connect import Connection
from crossgeo.engine.cluster.task import Package
from crossgeo.errors import ClusterError, WorkerDiedError

T = TypeVar("T")
_AT_ONCE = 2  # calls that an actor has: one that it answers, and the next


class RayActor:
    """An actor of Ray, which starts it again when it dies.

    What it is asked waits here until it has room for it: an actor of Ray answers whatever has reached it, cancelled or not, so that
    questions which nobody waits for any more would be worked on before those that count.
    """

    def __init__(
        self, connection: Connection, package: Package, name: str, options: Mapping[str, Any], meant: str, later: Executor
    ) -> None:
        """Start it, on the node `meant` where there is room; `later` sends what has waited."""
        from crossgeo.engine.cluster.ray_task import RayHost

        self._ray, self._name, self._meant, self._later = connection.ray, name, meant, later
        with connection.held():
            self._handle = self._ray.remote(**options)(RayHost).remote(package)
            self._first: Future[str] = self._handle.where.remote().future()
        self._node = ""
        self._first.add_done_callback(self._placed)
        self._waiting: dict[Future[Any], bytes] = {}
        self._out = 0  # calls that were sent, and not answered
        self._sending = False
        self._closed = False
        self._lock = threading.Lock()

    @property
    def node(self) -> str:
        """Return the node where it answered last; empty until it is started for the first time."""
        return self._node

    @property
    def place(self) -> str:
        """Return the node where it answered last, else the one that was chosen for it; empty where that is Ray's choice and not known."""
        return self._node or self._meant

    @property
    def closed(self) -> bool:
        """Return whether it was ended."""
        return self._closed

    def placed(self, timeout_s: float) -> str:
        """Return `place`; where it is not known, wait until the actor is started, or the time is over."""
        if not self.place:
            with suppress(Exception):  # one that cannot start is nowhere
                self._node = self._first.result(timeout_s)
        return self.place

    def call(self, do: Callable[..., T], *args: Any) -> Future[T]:
        """Ask, as `Actor.call` says; what is cancelled before it was sent is not sent."""
        future: Future[T] = Future()
        body = pickle.dumps((do, args), protocol=5)
        with self._lock:
            closed = self._closed
            if not closed:
                self._waiting[future] = body
        if closed:
            future.set_exception(self._gone())
            return future
        future.add_done_callback(self._forget)
        self._send_on()
        return future

    def close(self) -> None:
        """End it."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        with suppress(Exception):
            self._ray.kill(self._handle, no_restart=True)
        self._end_waiting()

    def _gone(self) -> WorkerDiedError:
        how = "was closed" if self._closed else "died"
        return WorkerDiedError(f"{self._node or 'a node of the cluster'}: {self._name} {how} before it answered")

    def _end_waiting(self) -> None:
        with self._lock:
            waiting, self._waiting = list(self._waiting), {}
        for future in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(self._gone())

    def _placed(self, first: Future[str]) -> None:
        if first.exception() is None:
            self._node = self._node or first.result()

    def _forget(self, future: Future[Any]) -> None:
        """Let go of what was cancelled at once: an actor that does not answer would keep it."""
        with self._lock:
            self._waiting.pop(future, None)

    def _send_on(self) -> None:
        """Send what waits, in the order of asking, as far as there is room; one thread at a time."""
        with self._lock:
            if self._sending:
                return
            self._sending = True
        while (call := self._next()) is not None:
            self._send(*call)

    def _next(self) -> tuple[Future[Any], bytes] | None:
        with self._lock:
            while self._waiting and self._out < _AT_ONCE:
                future = next(iter(self._waiting))
                body = self._waiting.pop(future)
                if future.set_running_or_notify_cancel():
                    self._out += 1
                    return future, body
            self._sending = False
            return None

    def _send(self, future: Future[Any], body: bytes) -> None:
        try:
            sent = self._handle.call.remote(body).future()
        except Exception as error:
            sent = Future()
            sent.set_exception(error)
        sent.add_done_callback(lambda done: self._answered(done, future))

    def _answered(self, done: Future[Any], future: Future[Any]) -> None:
        errors = self._ray.exceptions
        if isinstance(done.exception(), errors.RayActorError):
            self._end_waiting()  # or it would wait until the actor is back, which may read for minutes; others may answer at once
        with self._lock:
            self._out -= 1
            more = bool(self._waiting)
        if more:  # not here: in the thread that brings answers Ray Client would wait for itself
            with suppress(RuntimeError):  # the cluster is closed, and its actors with it
                self._later.submit(self._send_on)
        try:
            self._node, report = done.result()
        except errors.RayActorError:
            future.set_exception(self._gone())
        except errors.RayTaskError as error:
            future.set_exception(unfit(error))
        except Exception as error:
            future.set_exception(ClusterError(f"{self._name}: the cluster is lost: {' '.join(str(error).split())}"))
        else:
            settle(future, report, self._node, self._name)
