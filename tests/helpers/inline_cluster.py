"""A cluster in this process, for tests of what uses one: with nodes of any name, and deaths by `Died`."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Self, TypeVar

from crossgeo.engine.cluster import Actor, Job, Outcome, Shard, dispatch, task
from crossgeo.engine.cluster.answer import settle
from crossgeo.errors import WorkerDiedError

T = TypeVar("T")


class Died(BaseException):
    """Raised by `do` or a call, it stands for the death of the process."""


class InlineCluster:
    """Workers that take turns in this process, one on each of `nodes`; `node` is where `do` runs just now."""

    def __init__(self, nodes: Sequence[str] = ("here",)) -> None:
        self.nodes = nodes
        self.node = nodes[0]
        self.warnings: tuple[str, ...] = ()
        self.begun: list[tuple[str, str]] = []  # node and key of each try

    @property
    def label(self) -> str:
        return f"{len(self.nodes)} nodes in this process"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        task.end_states()

    def workers(self, job: Job[Any, Any, Any, Any]) -> int:
        return len(self.nodes)

    def run(
        self, job: Job[Any, Any, Any, Any], shards: Iterable[Shard[Any] | None], stop: threading.Event | None = None
    ) -> Generator[Outcome[Any, Any], None, None]:
        return dispatch.run(job, shards, _InlinePool(self, task.Package.of_job(job)), stop)

    def actor(
        self,
        setup: Callable[[Any], Any],
        context: Any,
        *,
        name: str,
        cpus: float = 1.0,
        gpus: float = 0.0,
        memory_bytes: int = 0,
        apart_from: Sequence[Actor] = (),
    ) -> Actor:
        taken = {other.node for other in apart_from}
        node = next((node for node in self.nodes if node not in taken), self.nodes[0])
        return InlineActor(task.Package.of(setup, None, context), name, node)


class _InlinePool:
    def __init__(self, cluster: InlineCluster, package: task.Package) -> None:
        self._cluster, self._package = cluster, package
        self._waiting: dict[int, tuple[str, Shard[Any]]] = {}

    def room(self) -> int:
        return len(self._cluster.nodes) - len(self._waiting)

    def start(self, number: int, shard: Shard[Any], avoid: frozenset[str]) -> None:
        busy = {node for node, _ in self._waiting.values()}
        free = [node for node in self._cluster.nodes if node not in avoid] or list(self._cluster.nodes)
        node = next((node for node in free if node not in busy), free[0])
        self._cluster.begun.append((node, shard.key))
        self._waiting[number] = node, shard

    def ended(self, timeout_s: float) -> list[dispatch.End]:
        number = next(iter(self._waiting))
        node, shard = self._waiting.pop(number)
        self._cluster.node = node
        try:
            report = task.perform(self._package, pickle.loads(pickle.dumps(shard.payload)), node)
        except Died:
            task.end_states()
            return [dispatch.End(number, node, why="SIGKILL")]
        return [dispatch.End(number, node, pickle.loads(pickle.dumps(report)))]

    def cancel(self, number: int) -> None:
        self._waiting.pop(number, None)

    def others(self, nodes: frozenset[str]) -> bool:
        return not nodes.issuperset(self._cluster.nodes)

    def places(self, numbers: Iterable[int]) -> dict[int, dispatch.Place]:
        return {number: dispatch.Place(self._waiting[number][0]) for number in numbers if number in self._waiting}


class InlineActor:
    """An actor in this process: calls are answered at once."""

    def __init__(self, package: task.Package, name: str, node: str) -> None:
        self._package, self._name, self.node = package, name, node
        self._host = task.Host(package, node)
        self.closed = False

    def call(self, do: Callable[..., T], *args: Any) -> Future[T]:
        future: Future[T] = Future()
        if self.closed:
            future.set_exception(WorkerDiedError(f"{self.node}: {self._name} was closed before it answered"))
            return future
        try:
            settle(future, pickle.loads(pickle.dumps(self._host.call(pickle.dumps((do, args))))), self.node, self._name)
        except Died:
            self._host = task.Host(self._package, self.node)
            future.set_exception(WorkerDiedError(f"{self.node}: {self._name} died before it answered"))
        return future

    def close(self) -> None:
        self.closed = True
