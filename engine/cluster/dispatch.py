"""How shards are given out, whoever does them: halved or tried again where a worker died, given out twice where it is late, tried on
another node where that may help. A cluster brings a `Pool`, which starts tries and says how they ended; `nodes.py` says which to avoid.
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
from crossgeo.engine.cluster.nodes import Sick
from crossgeo.engine.cluster.task import Report
from crossgeo.engine.cluster.work import C, Job, Outcome, P, R, S, Shard
from crossgeo.errors import ClusterError, GeoError, LimitError, StoreError

_POLL_S = 0.1  # how soon a shard that has come, `stop` and a late shard are seen
_LOOK_S = 1.0  # how often it is looked who is late
_COPIES = 3  # of one shard, at most, at once
_WAITING_S = 600.0  # for a worker to be there and set up: engines may have to be built
_RECENT = 500  # shards that the median is of
_LOST = 20  # nodes lost under one shard before the cluster is given up
_MANY = 24  # workers that end before anything is finished, which is no shard's fault
_REFUSALS = 3  # of one shard by nodes without room, or by storage, before it is believed: each costs the work of a whole shard


@dataclass(frozen=True)
class End:
    """How a try ended: with a report, or its worker died (`why`, for people), of itself or (`with_node`) because its node went."""

    number: int
    node: str  # "" where that is not known
    report: Report | None = None
    why: str = ""
    with_node: bool = False


@dataclass(frozen=True)
class Place:
    """Where a try is, and since when (`time.monotonic()`) its worker is at it, set up and all; None while it is not."""

    node: str = ""
    begun: float | None = None


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

    def places(self, numbers: Iterable[int]) -> dict[int, Place]:
        """Return where tries are that have begun, as far as that is known."""
        ...


@dataclass(eq=False)
class _Task(Generic[P]):
    """A shard that is not finished."""

    shard: Shard[P]
    tries: dict[int, float] = field(default_factory=dict)  # that are out, and when they were given out
    copies: int = 0  # given out beside one that is late
    died: int = 0
    lost: int = 0  # with their nodes
    refused: int = 0
    full: frozenset[str] = frozenset()  # nodes that refused it: without room, mostly
    where: frozenset[str] = frozenset()  # nodes where its workers died
    before: frozenset[str] = frozenset()  # nodes where those died that did the shard which this was cut from


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
        self._deaths = 0
        self._sick = Sick()
        self._looked = time.monotonic()

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
            yield from self._look_for_late()

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
            avoid = self._avoided(task)
            task.tries[self._number] = time.monotonic()
            self._out[self._number] = task
            self._pool.start(self._number, task.shard, avoid)

    def _next(self) -> _Task[P] | None:
        if self._ready:
            return self._ready.popleft()
        if not self._exhausted:
            try:
                shard = next(self._shards)
            except StopIteration:
                self._exhausted = True
            else:
                return None if shard is None else _Task(shard)
        return None

    def _avoided(self, task: _Task[P]) -> frozenset[str]:
        """Return the nodes that a try should not go to, as many of them as leave others."""
        avoid: frozenset[str] = frozenset()
        beside = frozenset(place.node for place in self._pool.places(task.tries).values()) if task.tries else frozenset()
        for more in (task.full, task.where, beside, self._sick.nodes(), task.before):
            wider = avoid | (more - {""})
            avoid = wider if wider != avoid and self._pool.others(wider) else avoid
        return avoid

    # What is late

    def _look_for_late(self) -> Iterator[Outcome[P, R]]:
        """Give shards that take too long out once more, and those that were given out often enough up, as if their workers had died."""
        now = time.monotonic()
        if not self._out or now - self._looked < _LOOK_S:
            return
        self._looked = now
        newest = {max(task.tries): task for task in self._out.values() if task not in self._ready}
        old = {number: task for number, task in newest.items() if now - task.tries[number] > self._job.least_s}
        places = self._pool.places(old) if old else {}
        for number, task in old.items():
            place = places.get(number, Place())
            if place.begun is None:  # it may wait for its turn behind another driver's work, which is no fault of its own
                if now - task.tries[number] > _WAITING_S and task.copies < _COPIES - 1:
                    yield from self._hurry(task, place.node)
            elif now - place.begun > self._allowed_s(task.shard):
                yield from self._hurry(task, place.node)

    def _allowed_s(self, shard: Shard[P]) -> float:
        if not self._seconds:
            return self._job.longest_s
        return max(self._job.least_s, self._job.slower * statistics.median(self._seconds) * shard.size)

    def _hurry(self, task: _Task[P], node: str) -> Iterator[Outcome[P, R]]:
        if task.copies < _COPIES - 1:
            task.copies += 1
            self._again([task])
            return
        number, task.copies = max(task.tries), 0
        self._end_tries(task)
        yield from self._bury(task, End(number, node, why="it did not end, and was ended"))

    # What has ended

    def _settle(self, end: End) -> Iterator[Outcome[P, R]]:
        task = self._out.pop(end.number, None)
        if task is None:
            return
        del task.tries[end.number]
        report = end.report
        if report is None:
            yield from self._bury(task, end)
        elif report.kind in {"bug", "unfit"}:
            error = error_of(report, end.node, f"{self._job.name} of {task.shard.key}")
            assert error is not None
            raise error
        elif isinstance(report.error, LimitError | StoreError):
            self._elsewhere(task, end.node, report.error)
        else:
            self._end_tries(task)
            self._sick.works(end.node)
            self._seconds.append(report.seconds / max(task.shard.size, 1))
            yield Outcome(task.shard, report.value, report.error, node=end.node, seconds=report.seconds)

    def _end_tries(self, task: _Task[P]) -> None:
        """End all tries of a shard, and forget that it was to be given out once more."""
        for number in task.tries:
            del self._out[number]
            self._pool.cancel(number)
        task.tries.clear()
        self._ready = deque(other for other in self._ready if other is not task)

    def _elsewhere(self, task: _Task[P], node: str, error: GeoError) -> None:
        """Have a shard tried on another node: room is what a node has, and storage may have failed just once."""
        task.full |= {node}
        task.refused += 1
        if task.tries:
            return
        again = task.refused < _REFUSALS and (isinstance(error, StoreError) or self._pool.others(task.full))
        if not again:
            raise on_node(node, error)
        self._again([task])

    def _again(self, tasks: list[_Task[P]]) -> None:
        for task in reversed(tasks):
            if task not in self._ready:
                self._ready.appendleft(task)

    def _bury(self, task: _Task[P], end: End) -> Iterator[Outcome[P, R]]:
        """Have a shard whose worker died tried again, halved, or reported."""
        if end.with_node:
            task.lost += 1
            if task.lost > _LOST:
                raise ClusterError(f"{task.lost} nodes were lost while they did {task.shard.key}; look at the cluster's machines")
        else:
            task.died += 1
            task.where |= {end.node} - {""}
            self._sick.died(end.node)
            self._deaths += 1
            if self._deaths > _MANY and not self._seconds:
                raise ClusterError(
                    f"{self._deaths} workers ended before any of them finished a shard of {self._job.name} "
                    f"(the last {self._on(end.node)}: {end.why}); they may lack memory: give it fewer workers"
                )
        if task.tries:
            return  # another try of it goes on
        self._end_tries(task)  # it may wait to be given out beside the try that has just ended
        parts = self._job.halve(task.shard) if self._job.halve is not None and not end.with_node else ()
        if parts:  # which is a retry, too, and finds a culprit in half as many deaths
            self._again([_Task(part, before=task.before | task.where) for part in parts])
        elif end.with_node or task.died <= self._job.retries:
            self._again([task])
        else:
            self._sick.works(end.node)  # it was the shard, then
            yield Outcome(task.shard, died=task.died, why=end.why, node=end.node)

    @staticmethod
    def _on(node: str) -> str:
        return f"on {node}" if node else "on one of its nodes"
