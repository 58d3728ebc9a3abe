"""Actors in this process that a test stops, lets go on, kills and brings back."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from threading import Lock
from typing import Any, TypeVar

from inline_cluster import InlineCluster

from crossgeo.engine.cluster import Actor, Job, task
from crossgeo.engine.cluster.answer import settle
from crossgeo.errors import WorkerDiedError

T = TypeVar("T")


class GatedCluster(InlineCluster):
    """Its actors answer at once unless told otherwise; `actors` has them in the order of their start."""

    def __init__(self, nodes: Sequence[str] = ("one", "two", "three")) -> None:
        super().__init__(nodes)
        self.actors: list[GatedActor] = []
        self.room = 100  # for shards at once
        self.stops = False  # whether actors are stopped from their start

    def workers(self, job: Job[Any, Any, Any, Any]) -> int:
        return self.room

    def actor(self, setup: Callable[[Any], Any], context: Any, *, name: str, cpus: float = 1.0, gpus: float = 0.0,
              memory_bytes: int = 0, apart_from: Sequence[Actor] = ()) -> Actor:  # fmt: skip
        taken = {other.node for other in apart_from}
        node = next((node for node in self.nodes if node not in taken), self.nodes[0])
        self.actors.append(GatedActor(task.Package.of(setup, None, context), context, node))
        self.actors[-1].stopped = self.stops
        return self.actors[-1]

    def of(self, name: str) -> list[GatedActor]:
        """Return the open actors of an area."""
        return [actor for actor in self.actors if actor.context.name == name and not actor.closed]


class GatedActor:
    """One of them."""

    def __init__(self, package: task.Package, context: Any, node: str) -> None:
        self._package, self.context, self.node = package, context, node
        self._host = task.Host(package, node)
        self.closed = self.dead = self.stopped = False
        self.answered: list[str] = []  # names of what it was asked
        self._waiting: list[tuple[Future[Any], bytes, str]] = []
        self._lock = Lock()

    def call(self, do: Callable[..., T], *args: Any) -> Future[T]:
        future: Future[T] = Future()
        body = pickle.dumps((do, args))
        with self._lock:
            if not self.dead and not self.closed and self.stopped:
                self._waiting.append((future, body, do.__name__))
                return future
        if self.dead or self.closed:
            future.set_exception(WorkerDiedError(f"{self.node}: died before it answered"))
        else:
            self._answer(future, body, do.__name__)
        return future

    def stop(self) -> None:
        """Answer nothing until it goes on, as a process that SIGSTOP reached."""
        self.stopped = True

    def go_on(self) -> None:
        """Answer what waits, and all that comes."""
        with self._lock:
            self.stopped, waiting, self._waiting = False, self._waiting, []
        for future, body, name in waiting:
            if future.set_running_or_notify_cancel():
                self._answer(future, body, name)

    def kill(self) -> None:
        """Die, and stay dead until it is brought back."""
        with self._lock:
            self.dead, waiting, self._waiting = True, self._waiting, []
        for future, _, _ in waiting:
            if future.set_running_or_notify_cancel():
                future.set_exception(WorkerDiedError(f"{self.node}: died before it answered"))

    def come_back(self) -> None:
        """Be there again, its state made anew."""
        self._host = task.Host(self._package, self.node)
        self.dead = False

    def close(self) -> None:
        self.closed = True
        self.kill()

    def _answer(self, future: Future[Any], body: bytes, name: str) -> None:
        self.answered.append(name)
        settle(future, pickle.loads(pickle.dumps(self._host.call(body))), self.node, "rows")
