"""Work done by a Ray cluster: where a shard runs, and who is alive, is Ray's; what is tried again is `dispatch.py`'s."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from crossgeo.engine.cluster import dispatch
from crossgeo.engine.cluster.answer import unfit
from crossgeo.engine.cluster.cluster import Actor
from crossgeo.engine.cluster.ray_actor import RayActor
from crossgeo.engine.cluster.ray_connect import LABEL, LABEL_VALUE, Connection, Where, connect
from crossgeo.engine.cluster.task import Package
from crossgeo.engine.cluster.work import C, Job, Outcome, P, R, S, Shard
from crossgeo.errors import ClusterError

T = TypeVar("T")
_FRESH_S = 2.0  # that what is known of the nodes stays believed
_SILENT_S = 30.0  # that a head node may be before it is given up
_PATIENCE_S = 120.0  # for a node to come back that can do the job
_ASKED_S = 5.0  # for where tries are
_PLACED_S = 60.0  # for an actor whose node Ray chooses to be started, before another one is placed apart from it


@dataclass(frozen=True)
class Node:
    """A node of the cluster: what it has, and whether `geo cluster start` started it."""

    id: str
    label: str
    cpus: float
    gpus: float
    memory_bytes: float
    settled: bool

    def tries(self, cpus: float, gpus: float, memory_bytes: float = 0.0) -> int:
        """Return how many processes with these needs it has room for, others left aside."""
        needs = [(self.cpus, cpus), (self.gpus, gpus), (self.memory_bytes, memory_bytes)]
        return int(min((has / wants for has, wants in needs if wants > 0.0), default=1))


class RayCluster:
    """A Ray cluster behind `Cluster`."""

    def __init__(self, where: str, workers: int | None = None) -> None:
        self._limit = workers
        self._connection = connect(Where.of(where))
        self._ray = self._connection.ray
        self._seen: list[Node] = []
        self._looked, self._silent_since = -_FRESH_S, math.inf
        self._actors: list[RayActor] = []
        self._later = ThreadPoolExecutor(1, "calls")
        self._lock, self._placing = threading.Lock(), threading.Lock()

    @property
    def label(self) -> str:
        """Return the address and the number of nodes."""
        nodes = len(self.nodes())
        return f"Ray at {self._connection.where.address}, {nodes} node{'s' if nodes != 1 else ''}"

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return that the cluster lets anybody in, and which nodes were started without the settings that `geo cluster start` gives."""
        said = []
        if self._connection.open_to_all:
            said.append(
                f"{self._connection.where.address}: this cluster asks for no token: whoever reaches it can run programs on its nodes; "
                "start it with `geo cluster start`, which makes one"
            )
        if strange := [node.label for node in self.nodes() if not node.settled]:
            said.append(
                f"{', '.join(strange)}: not started by `geo cluster start`, so a node that is cut off may hold everything up for minutes; "
                "see docs/howto/cluster.md"
            )
        return tuple(said)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for actor in self._actors:
            actor.close()
        self._later.shutdown(wait=False, cancel_futures=True)
        with suppress(Exception):  # a connection that is lost cannot be ended either, which is no error of its own
            self._ray.shutdown()

    def nodes(self) -> list[Node]:
        """Return the nodes that are alive; where the head node is silent, those that were, and after a while ClusterError."""
        with self._lock:
            if time.monotonic() - self._looked > _FRESH_S:
                self._looked = time.monotonic()
                if self._connection.answers():  # or Ray would wait for it, and end this process after a minute
                    with self._connection.held():
                        self._seen, self._silent_since = [_node(found) for found in self._ray.nodes() if found["Alive"]], math.inf
                else:
                    self._silent_since = min(self._silent_since, self._looked)
            if time.monotonic() - self._silent_since > _SILENT_S:
                raise ClusterError(
                    f"the head node of the cluster at {self._connection.where.address} does not answer any more; look at it, start the "
                    "cluster again if need be, and give the same command: it goes on"
                )
            return self._seen

    def look(self, timeout_s: float = 60.0) -> dict[str, Mapping[str, str] | None]:
        """Return what each node runs, by its label: names with versions; None where it does not say so in time, or has no crossgeo."""
        refs = {node.label: self._task("look", 0.0, 0.0, node.id).remote() for node in self.nodes()}
        ready, _ = self._ray.wait(list(refs.values()), num_returns=len(refs), timeout=timeout_s)
        return {label: self._told(ref) if ref in ready else None for label, ref in refs.items()}

    def _told(self, ref: Any) -> Mapping[str, str] | None:
        with suppress(self._ray.exceptions.RayError):
            told: Mapping[str, str] = self._ray.get(ref)[1]
            return told
        return None

    def workers(self, job: Job[C, S, P, R]) -> int:
        """Return how many shards the nodes have processors and GPUs for, those of other programs not left out."""
        count = sum(node.tries(job.cpus, job.gpus, job.memory_bytes) for node in self.nodes())
        return count if self._limit is None else min(count, self._limit)

    def run(
        self, job: Job[C, S, P, R], shards: Iterable[Shard[P] | None], stop: threading.Event | None = None
    ) -> Generator[Outcome[P, R], None, None]:
        """Do all shards, as `Cluster.run` says; ClusterError where no node has what the job needs."""
        package = Package.of_job(job)
        if self.workers(job) == 0:
            raise ClusterError(
                f"no node of {self.label} has {job.cpus:g} processors{f', {job.gpus:g} GPUs' if job.gpus else ''} and "
                f"{job.memory_bytes / 1e9:g} GB of memory; add one that has"
            )
        return _closing(pool := _RayPool(self, self._connection, job, package), dispatch.run(job, shards, pool, stop))

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
        """Start an actor, as `Cluster.actor` says; ClusterError where no node has what it needs."""
        fit = [node for node in self.nodes() if node.tries(cpus, gpus, memory_bytes) > 0]
        if not fit:
            raise ClusterError(
                f"no node of {self.label} has {cpus:g} processors, {gpus:g} GPUs and {memory_bytes} bytes for {name}; add one that has"
            )
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_restarts": -1, "max_task_retries": 0}
        if memory_bytes:
            options["memory"] = memory_bytes
        taken = {other.placed(_PLACED_S) for other in apart_from if isinstance(other, RayActor)}
        package = Package.of(setup, None, context)
        with self._placing:  # or several that are started at once would all choose the same node
            self._actors = [actor for actor in self._actors if not actor.closed]
            meant = ""
            if taken:
                load = [actor.place for actor in self._actors]
                apart = [node for node in fit if node.label not in taken]
                chosen = min(apart or fit, key=lambda node: load.count(node.label))
                options["scheduling_strategy"], meant = self._on(chosen.id, soft=True), chosen.label
            self._actors.append(RayActor(self._connection, package, name, options, meant, self._later))
            return self._actors[-1]

    def fit(self, job: Job[Any, Any, Any, Any], avoid: frozenset[str] = frozenset()) -> list[Node]:
        """Return the nodes that could do a shard, but for some."""
        return [node for node in self.nodes() if node.label not in avoid and node.tries(job.cpus, job.gpus, job.memory_bytes) > 0]

    def task(self, job: Job[Any, Any, Any, Any], node: Node | None = None) -> Any:
        """Return Ray's function that does a shard, wherever Ray wants to or on one node."""
        return self._task("attempt", job.cpus, job.gpus, "" if node is None else node.id, job.memory_bytes)

    def clerk(self) -> Any:
        """Start what keeps where tries are."""
        from crossgeo.engine.cluster import ray_task

        return self._ray.remote(num_cpus=0, max_restarts=-1)(ray_task.Clerk).remote()

    def _task(self, function: str, cpus: float, gpus: float, node_id: str = "", memory_bytes: int = 0) -> Any:
        from crossgeo.engine.cluster import ray_task

        # Ray's own retries would not say which shard a worker died of, nor whether its node went, so `dispatch` does them. A process is
        # used again (`max_calls`, which is 1 by itself with GPUs): it keeps its models.
        options: dict[str, Any] = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": 0, "retry_exceptions": False, "max_calls": 0}
        if memory_bytes:
            options["memory"] = memory_bytes
        if node_id:
            options["scheduling_strategy"] = self._on(node_id, soft=False)
        return self._ray.remote(**options)(getattr(ray_task, function))

    def _on(self, node_id: str, soft: bool) -> Any:
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        return NodeAffinitySchedulingStrategy(node_id, soft=soft, _spill_on_unavailable=soft)


def _node(found: Mapping[str, Any]) -> Node:
    from crossgeo.engine.cluster.ray_task import label_of

    has = found["Resources"]
    return Node(
        found["NodeID"],
        label_of(found["NodeManagerAddress"], found["NodeID"]),
        has.get("CPU", 0.0),
        has.get("GPU", 0.0),
        has.get("memory", 0.0),
        found.get("Labels", {}).get(LABEL) == LABEL_VALUE,
    )


def _closing(pool: _RayPool, outcomes: Generator[T, None, None]) -> Generator[T, None, None]:
    with closing(pool), closing(outcomes):
        yield from outcomes


class _RayPool:
    """The tasks of one job."""

    def __init__(self, cluster: RayCluster, connection: Connection, job: Job[Any, Any, Any, Any], package: Package) -> None:
        self._cluster, self._held, self._ray, self._job = cluster, connection.held, connection.ray, job
        self._package = self._ray.put(package)
        self._clerk = cluster.clerk()
        self._refs: dict[Any, int] = {}
        self._plain = cluster.task(job)
        self._none_since: float | None = None

    def room(self) -> int:
        workers = self._cluster.workers(self._job)
        if workers > 0:
            self._none_since = None
        elif self._none_since is None:
            self._none_since = time.monotonic()
        elif time.monotonic() - self._none_since > _PATIENCE_S:
            raise ClusterError(
                f"all nodes of the cluster that could {self._job.name} are gone; start them again, and give the same command"
            )
        return max(0, workers - len(self._refs))

    def start(self, number: int, shard: Shard[Any], avoid: frozenset[str]) -> None:
        others = self._cluster.fit(self._job, avoid) if avoid else []
        task = self._cluster.task(self._job, others[number % len(others)]) if others else self._plain
        with self._held():
            self._refs[task.remote(self._package, shard.payload, number, self._clerk)] = number

    def ended(self, timeout_s: float) -> list[dispatch.End]:
        with self._held():
            ready, _ = self._ray.wait(list(self._refs), num_returns=1, timeout=timeout_s)
            if ready and len(self._refs) > 1:
                ready, _ = self._ray.wait(list(self._refs), num_returns=len(self._refs), timeout=0)
            numbers = [self._refs[ref] for ref in ready]
            ends = [self._end(ref, self._refs.pop(ref)) for ref in ready]
            if numbers:
                self._clerk.forget.remote(numbers)
            return ends

    def cancel(self, number: int) -> None:
        for ref in [ref for ref, of in self._refs.items() if of == number]:
            del self._refs[ref]
            with suppress(Exception):  # whatever is wrong with the connection: what was to be ended does not count any more
                self._ray.cancel(ref, force=True)
                self._clerk.forget.remote([number])

    def others(self, nodes: frozenset[str]) -> bool:
        return bool(self._cluster.fit(self._job, nodes))

    def places(self, numbers: Iterable[int]) -> dict[int, dispatch.Place]:
        with self._held():
            try:
                found = self._ray.get(self._clerk.places.remote(list(numbers)), timeout=_ASKED_S)
            except self._ray.exceptions.RayError:  # its node went, or is busy: nothing is known for now
                return {}
        now = time.monotonic()
        return {number: dispatch.Place(node, None if for_s is None else now - for_s) for number, (node, for_s) in found.items()}

    def close(self) -> None:
        """End what keeps where tries are."""
        with suppress(Exception):  # a connection that is lost took it along
            self._ray.kill(self._clerk)

    def _end(self, ref: Any, number: int) -> dispatch.End:
        errors = self._ray.exceptions
        try:
            node, report = self._ray.get(ref)
        except errors.RayTaskError as error:  # what `perform` does not answer for itself
            raise unfit(error) from error
        except (errors.WorkerCrashedError, errors.OutOfMemoryError) as error:
            why = "it lacked memory" if isinstance(error, errors.OutOfMemoryError) else "it crashed or was killed"
            return dispatch.End(number, self.places([number]).get(number, dispatch.Place()).node, why=why)
        except (
            errors.NodeDiedError,
            errors.LocalRayletDiedError,
            errors.ObjectLostError,
            errors.TaskUnschedulableError,
            errors.TaskCancelledError,
        ):
            return dispatch.End(number, self.places([number]).get(number, dispatch.Place()).node, with_node=True)
        return dispatch.End(number, node, report)
