"""As much of Ray as `RayCluster.actor` takes, in this process: actors answer when the test says so, and nothing is waited for."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from ray import exceptions

from crossgeo.engine.cluster import ray_cluster, task
from crossgeo.engine.cluster.ray_connect import Connection, Where
from crossgeo.engine.cluster.ray_task import label_of


@dataclass
class Ref:
    """What a call gives."""

    done: Future[Any] = field(default_factory=Future)

    def future(self) -> Future[Any]:
        return self.done


@dataclass
class Handle:
    """An actor; `asked` has the calls that reached it."""

    node: str | None  # that it was started on; None: Ray's choice
    started: Ref = field(default_factory=Ref)
    asked: list[tuple[Any, Ref]] = field(default_factory=list)
    answered: int = 0

    @property
    def where(self) -> Any:
        return SimpleNamespace(remote=lambda: self.started)

    @property
    def call(self) -> Any:
        return SimpleNamespace(remote=self._take)

    @property
    def args(self) -> list[Any]:
        """What it was asked with."""
        return [args for (_, args), _ in self.asked]

    def answer(self, node: str = "here") -> None:
        """Answer the first call that is not."""
        self.answered += 1
        self.asked[self.answered - 1][1].done.set_result((node, task.Report("done", self.args[self.answered - 1])))

    def die(self) -> None:
        """Answer nothing of what has reached it, and be there for what comes."""
        dying, self.answered = self.asked[self.answered :], len(self.asked)
        for _, ref in dying:
            ref.done.set_exception(exceptions.RayActorError())

    def _take(self, body: bytes) -> Ref:
        self.asked.append((pickle.loads(body), Ref()))
        return self.asked[-1][1]


class FakeRay:
    """The module."""

    exceptions = exceptions

    def __init__(self, nodes: Sequence[str]) -> None:
        """Have nodes, each named by a digit below 16."""
        self.names = nodes
        self.handles: list[Handle] = []
        self.broken = False  # it can start nothing

    def nodes(self) -> list[Mapping[str, Any]]:
        has = {"CPU": 4.0, "memory": 1e9}
        return [{"Alive": True, "NodeID": _id(name), "NodeManagerAddress": "10.0.0.1", "Resources": has} for name in self.names]

    def label(self, name: str) -> str:
        """Return the label of a node."""
        return label_of("10.0.0.1", _id(name))

    def remote(self, **options: Any) -> Callable[[type], Any]:
        strategy = options.get("scheduling_strategy")

        def start(package: task.Package) -> Handle:
            if self.broken:
                raise exceptions.RayError("the head node is gone")
            self.handles.append(Handle(None if strategy is None else strategy.node_id[0]))
            return self.handles[-1]

        return lambda host: SimpleNamespace(remote=start)

    def kill(self, handle: Handle, no_restart: bool) -> None:
        handle.die()

    def shutdown(self) -> None:
        pass


class Wire(Connection):
    """A connection whose other end answers."""

    def answers(self) -> bool:
        return True


def _id(name: str) -> str:
    return 56 * name


def cluster_of(ray: FakeRay, monkeypatch: Any) -> ray_cluster.RayCluster:
    """Return a cluster of these nodes."""
    monkeypatch.setattr(ray_cluster, "connect", lambda where: Wire(ray, where, False))
    return ray_cluster.RayCluster(Where("10.0.0.1", 6379).address)
