"""How shards are given out, whoever does them: halved or tried again where a worker died, given out twice where
it is late, tried on another node where a disk is full. A cluster brings a `Pool`, which starts tries and says how they ended.
"""

from __future__ import annotations

import statistics
import threading
import time
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any, Generic, Protocol

from crossgeo.engine.cluster.answer import error_of, on_node
from crossgeo.engine.cluster.task import Report
from crossgeo.engine.cluster.work import C, Job, Outcome, P, R, S, Shard
from crossgeo.errors import ClusterError, LimitError

_POLL_S = 0.1  # how soon a shard that has come, `stop` and a late shard are seen
_COPIES = 3  # of one shard, at most, at once
_RECENT = 500  # shards that the median is of
_LOST = 20  # nodes lost under one shard before the cluster is given up
_MANY = 24  # workers that end before anything is finished, which is no shard's fault


@dataclass(frozen=True)
class End:
    """How a try ended: with a report, or its worker died (`why`, for people), of itself or (`with_node`) because its node went."""

    number: int
    node: str
    report: Report | None = None
    why: str = ""
    with_node: bool = False


class Pool(Protocol):
    """What does the tries of one job."""

    def room(self) -> int:
        """Return how many more tries can be started now."""
        ...

    def start(self, number: int, shard: Shard[Any], avoid: frozenset[str]) -> None:
        """Start a try, on none of the nodes `avoid` if there is another."""
        ...

    def ended(self, timeout_s: float) -> list[End]:
        """Return what has ended, waiting at most so long for something."""
        ...

    def cancel(self, number: int) -> None:
        """End a try; nothing more is said of it."""
        ...

    def others(self, nodes: frozenset[str]) -> bool:
        """Return whether there are other nodes than these."""
        ...


@dataclass
class _Task(Generic[P]):
    """A shard that is not finished."""

    shard: Shard[P]
    tries: set[int] = field(default_factory=set)
    begun: float = 0.0  # when it was given out last
    copies: int = 0  # given out beside one that is late
    died: int = 0
    lost: int = 0  # with their nodes
    full: frozenset[str] = frozenset()  # nodes without room for it


def run(
    job: Job[C, S, P, R], shards: Iterable[Shard[P] | None], pool: Pool, stop: threading.Event | None
) -> Generator[Outcome[P, R], None, None]:
    """Do all shards with a pool, as `Cluster.run` says."""
    dispatch = _Dispatch(job, iter(shards), pool, stop or threading.Event())
    try:
        yield from dispatch.outcomes()
    finally:
        dispatch.cancel()


class _Dispatch(Generic[C, S, P, R]):
    def __init__(self, job: Job[C, S, P, R], shards: Iterator[Shard[P] | None], pool: Pool, stop: threading.Event) -> None:
        self._job, self._shards, self._pool, self._stop = job, shards, pool, stop
        self._ready: deque[_Task[P]] = deque()  # to be given out again, before any new one
        self._out: dict[int, _Task[P]] = {}
        self._number = 0
        self._exhausted = False
        self._seconds: deque[float] = deque(maxlen=_RECENT)  # a unit of size, of those finished
        self._deaths = 0  # since anything was finished

    def outcomes(self) -> Iterator[Outcome[P, R]]:
        while not self._stop.is_set():
            self._give_out()
            if not self._out:
                if self._exhausted and not self._ready:
                    return
                self._stop.wait(_POLL_S)
            for end in self._pool.ended(_POLL_S) if self._out else ():
                yield from self._settle(end)
                if self._stop.is_set():
                    return

    def cancel(self) -> None:
        """End whatever is out."""
        for number in self._out:
            self._pool.cancel(number)
        self._out.clear()

    def _give_out(self) -> None:
        for _ in range(self._pool.room()):
            task = self._next()
            if task is None:
                return
            self._number += 1
            task.tries.add(self._number)
            task.begun = time.monotonic()
            self._out[self._number] = task
            self._pool.start(self._number, task.shard, task.full)

    def _next(self) -> _Task[P] | None:
        if self._ready:
            return self._ready.popleft()
        if (late := self._late()) is not None:
            late.copies += 1
            return late
        if not self._exhausted:
            try:
                shard = next(self._shards)
            except StopIteration:
                self._exhausted = True
            else:
                return None if shard is None else _Task(shard)
        return None

    def _late(self) -> _Task[P] | None:
        if not self._seconds or not self._out:
            return None
        now = time.monotonic()
        oldest = min(self._out.values(), key=lambda task: task.begun)
        if now - oldest.begun <= self._job.least_s:
            return None
        median = statistics.median(self._seconds)
        for task in self._out.values():
            allowed = max(self._job.least_s, self._job.slower * median * task.shard.size)
            if now - task.begun > allowed and task.copies < _COPIES - 1:
                return task
        return None

    def _settle(self, end: End) -> Iterator[Outcome[P, R]]:
        task = self._out.pop(end.number, None)
        if task is None:
            return
        task.tries.discard(end.number)
        report = end.report
        if report is None:
            yield from self._bury(task, end)
        elif report.kind in {"bug", "unfit"}:
            error = error_of(report, end.node, f"{self._job.name} of {task.shard.key}")
            assert error is not None
            raise error
        elif isinstance(report.error, LimitError):
            self._elsewhere(task, end.node, report.error)
        else:
            self._forget(task)
            self._deaths = 0
            self._seconds.append(report.seconds / max(task.shard.size, 1))
            yield Outcome(task.shard, report.value, report.error, node=end.node, seconds=report.seconds)

    def _forget(self, task: _Task[P]) -> None:
        """End the other tries of a shard that is finished."""
        for number in task.tries:
            del self._out[number]
            self._pool.cancel(number)
        task.tries.clear()

    def _elsewhere(self, task: _Task[P], node: str, error: LimitError) -> None:
        task.full |= {node}
        if task.tries:
            return
        if not self._pool.others(task.full):
            raise on_node(node, error)
        self._ready.appendleft(task)

    def _bury(self, task: _Task[P], end: End) -> Iterator[Outcome[P, R]]:
        """Have a shard whose worker died tried again, halved, or reported."""
        if end.with_node:
            task.lost += 1
            if task.lost > _LOST:
                raise ClusterError(f"{task.lost} nodes were lost while they did {task.shard.key}; look at the cluster's machines")
        else:
            task.died += 1
            self._deaths += 1
            if self._deaths > _MANY and not self._seconds:
                raise ClusterError(
                    f"{self._deaths} workers ended before any of them finished a shard of {self._job.name} "
                    f"(the last on {end.node}: {end.why}); they may lack memory: give it fewer workers"
                )
        if task.tries:
            return  # another try of it goes on
        parts = self._job.halve(task.shard) if self._job.halve is not None and not end.with_node else ()
        if parts:  # which is a retry, too, and finds a culprit in half as many deaths
            self._ready.extendleft(_Task(part) for part in reversed(parts))
        elif end.with_node or task.died <= self._job.retries:
            self._ready.appendleft(task)
        else:
            yield Outcome(task.shard, died=task.died, node=end.node)
