"""The interface of whatever gives out work: `open_cluster` says who does."""

from __future__ import annotations

import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, Protocol, Self, TypeVar

from crossgeo.engine.cluster.work import C, Job, Outcome, P, R, S, Shard
from crossgeo.errors import UsageError

T = TypeVar("T")


class Actor(Protocol):
    """A process that keeps a state and answers calls, one after the other; when it dies it is started again, its state made anew."""

    def call(self, do: Callable[..., T], *args: Any) -> Future[T]:
        """Ask for `do(state, *args)`, `do` being of a module.

        The future's error is what `do` or `setup` raised (a GeoError, or WorkerBugError for a bug), and WorkerDiedError where the process
        ended before it answered: whoever asked may ask again.
        """
        ...

    @property
    def node(self) -> str:
        """Return where it runs, for people; empty while that is not known."""
        ...

    def close(self) -> None:
        """End it; calls that it has not answered end with WorkerDiedError."""
        ...


class Cluster(Protocol):
    """Workers on one machine or on many; a context manager that ends what it started."""

    @property
    def label(self) -> str:
        """Return who does the work, for people: "2 processes here", "Ray at 10.0.0.5:6379, 3 nodes"."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a user should know of this cluster, a sentence each: that anybody may use it, say."""
        ...

    def __enter__(self) -> Self: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None: ...

    def workers(self, job: Job[C, S, P, R]) -> int:
        """Return how many shards of a job can be done at once, as the cluster is now."""
        ...

    def run(
        self, job: Job[C, S, P, R], shards: Iterable[Shard[P] | None], stop: threading.Event | None = None
    ) -> Generator[Outcome[P, R], None, None]:
        """Do all shards and give their outcomes as they finish, in any order; a halved shard's halves come in its place.

        Shards are taken in the caller's thread as there is room for them, None saying that there is none yet. Once `stop` is set, what
        is out is cancelled and the iterator ends; so it is when the generator is closed.

        Raises MismatchError where code or versions of a worker are others than here, WorkerBugError for a bug in `do` or `setup`, any
        GeoError of `setup`, LimitError of `do` where no other node has room either (all of them name the node), and ClusterError where
        workers are lost for good.
        """
        ...

    def actor(
        self,
        setup: Callable[[C], Any],
        context: C,
        *,
        name: str,
        cpus: float = 1.0,
        gpus: float = 0.0,
        memory_bytes: int = 0,
        apart_from: Sequence[Actor] = (),
    ) -> Actor:
        """Start an actor; on a node where none of `apart_from` runs, if there is one with room."""
        ...


def open_cluster(where: str, workers: int | None = None) -> Cluster:
    """Open what `--cluster` names: "local" (processes here, `workers` of them, one a processor unless said), "ray" or "auto" (the Ray that
    runs on this machine), "HOST:PORT" (a Ray cluster that this machine belongs to) or "ray://HOST:PORT" (one it does not belong to).

    Raises UsageError for another word, ClusterError where there is no such cluster, or Ray is not installed.
    """
    if workers is not None and workers < 1:
        raise UsageError(f"{workers} workers: at least one is needed")
    if where == "local":
        from crossgeo.engine.cluster.local import LocalCluster

        return LocalCluster(workers)
    if where in {"ray", "auto"} or ":" in where:
        from crossgeo.engine.cluster.ray_cluster import RayCluster

        return RayCluster(where, workers)
    raise UsageError(f"no cluster {where!r}; give local, ray, HOST:PORT or ray://HOST:PORT")
