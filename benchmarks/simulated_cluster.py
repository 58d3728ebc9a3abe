"""A cluster at work, simulated event by event: workers that take shards, die and come back, a driver that takes in what they made.

Nothing in it is assumed of our code but what engine/cluster does: shards are given out in order to whichever worker is free, a shard of a
worker that died is given out again once that is noticed, and one that takes too long is given out twice, of which the first to end counts
and the other is ended.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

_FREE, _DONE, _DOWN, _NOTICED, _UP, _LATE = range(6)


@dataclass(frozen=True)
class Stage:
    """Shards that must all be taken in before the next stage begins."""

    name: str
    shards: int
    seconds: Sequence[float]  # of one shard on a worker, measured; a shard's is drawn from these, or its own where there are as many
    start_s: float = 0.0  # until a fresh worker begins its first shard: models, sources
    take_in_s: float = 0.0  # of the driver for each shard, in order, beside the workers
    after_s: float = 0.0  # of the driver alone once all are taken in


@dataclass(frozen=True)
class Machines:
    """What the work is done on."""

    nodes: int
    workers: int  # of a node
    begin_s: float = 0.0  # before anything: the driver's own start
    fails_per_hour: float = 0.0  # of a node
    deaths: Sequence[float] = ()  # when one of the nodes, whichever, fails besides
    back_s: float = 120.0  # until a node that failed works again
    noticed_s: float = 8.4  # until a failure is noticed (reliability.md, section 4)
    stalls: float = 0.0  # share of shards that take `stall` times as long: a disk, a neighbour
    stall: float = 10.0
    least_s: float = 30.0  # a shard that takes longer than this and `slower` times the median is given out twice
    slower: float = 4.0


@dataclass
class Run:
    """How a simulated run went."""

    seconds: float = 0.0
    by_stage: dict[str, float] = field(default_factory=dict)
    failures: int = 0
    done_again: int = 0  # shards given out more than once
    busy_s: float = 0.0  # of all workers


def simulate(stages: Sequence[Stage], machines: Machines, rng: np.random.Generator) -> Run:
    """Return one run; equal generators give equal runs."""
    run = Run()
    now = machines.begin_s
    for stage in stages:
        began = now
        now = _Stage(stage, machines, rng, run).run(now) + stage.after_s
        run.by_stage[stage.name] = now - began
    run.seconds = now
    return run


class _Stage:
    def __init__(self, stage: Stage, machines: Machines, rng: np.random.Generator, run: Run) -> None:
        self._stage, self._machines, self._rng, self._run = stage, machines, rng, run
        own = len(stage.seconds) == stage.shards
        times = np.asarray(stage.seconds) if own else rng.choice(np.asarray(stage.seconds), stage.shards)
        slow = rng.random(stage.shards) < machines.stalls
        self._usual_s = times
        self._seconds = np.where(slow, times * machines.stall, times)
        self._late_s = max(machines.least_s, machines.slower * float(np.median(times)))
        workers = machines.nodes * machines.workers
        self._node = [w // machines.workers for w in range(workers)]
        self._doing: list[int | None] = [None] * workers
        self._doers: dict[int, set[int]] = {}  # workers that do a shard
        self._since = [0.0] * workers
        self._turn = [0] * workers  # what a worker was told to do last: older ends no longer count
        self._fresh = [True] * workers
        self._up = [True] * machines.nodes
        self._waiting: deque[int] = deque(range(stage.shards))
        self._done_at = np.full(stage.shards, math.inf)
        self._left = stage.shards
        self._idle: set[int] = set()
        self._twice: set[int] = set()
        self._events: list[tuple[float, int, int, int, int]] = []
        self._order = itertools.count()

    def run(self, now: float) -> float:
        """Return when the driver has taken in the last shard."""
        for worker in range(len(self._node)):
            self._at(now, _FREE, worker)
        if self._machines.fails_per_hour:
            for node in range(self._machines.nodes):
                self._at(now + self._to_failure(), _DOWN, node)
        for when in self._machines.deaths:
            if when >= now:
                self._at(when, _DOWN, int(self._rng.integers(self._machines.nodes)))
        while self._left:
            now, _, kind, who, what = heapq.heappop(self._events)
            if kind == _FREE:
                self._give(now, who)
            elif kind == _DONE:
                self._ended(now, who, what)
            elif kind == _LATE:
                self._late(now, who, what)
            elif kind == _DOWN:
                self._down(now, who)
            elif kind == _NOTICED:
                self._again(now, what)
            else:
                self._up[who] = True
                if self._machines.fails_per_hour:
                    self._at(now + self._to_failure(), _DOWN, who)
                for worker, node in enumerate(self._node):
                    if node == who:
                        self._fresh[worker] = True
                        self._at(now, _FREE, worker)
        taken = 0.0
        for at in self._done_at if self._stage.take_in_s else self._done_at[-1:]:  # in order, as the files are written
            taken = max(taken, float(at)) + self._stage.take_in_s
        return max(taken, float(self._done_at.max()))

    def _at(self, when: float, kind: int, who: int, what: int = 0) -> None:
        heapq.heappush(self._events, (when, next(self._order), kind, who, what))

    def _to_failure(self) -> float:
        return float(self._rng.exponential(3600.0 / self._machines.fails_per_hour))

    def _give(self, now: float, worker: int) -> None:
        if not self._up[self._node[worker]] or self._doing[worker] is not None:
            return
        while self._waiting and math.isfinite(self._done_at[self._waiting[0]]):
            self._waiting.popleft()
        if not self._waiting:
            self._idle.add(worker)
            return
        self._idle.discard(worker)
        shard = self._waiting.popleft()
        start_s = self._stage.start_s if self._fresh[worker] else 0.0
        again = shard in self._twice
        took = start_s + float(
            self._usual_s[shard] if again else self._seconds[shard]
        )  # what stalls a shard is where it runs, not the shard
        self._fresh[worker] = False
        self._doing[worker], self._since[worker] = shard, now
        self._doers.setdefault(shard, set()).add(worker)
        self._turn[worker] += 1
        self._at(now + took, _DONE, worker, self._turn[worker])
        if took > self._late_s + start_s:
            self._at(now + self._late_s + start_s, _LATE, worker, self._turn[worker])

    def _ended(self, now: float, worker: int, turn: int) -> None:
        shard = self._doing[worker]
        if turn != self._turn[worker] or shard is None:
            return
        self._leave(now, worker)
        if math.isinf(self._done_at[shard]):
            self._done_at[shard] = now
            self._left -= 1
        for other in sorted(self._doers.get(shard, ())):  # the other try is ended, and its process with it
            self._leave(now, other)
            self._turn[other] += 1
            self._fresh[other] = True
            self._at(now, _FREE, other)
        self._give(now, worker)

    def _leave(self, now: float, worker: int) -> int | None:
        """Take a worker from its shard, which is returned."""
        shard, self._doing[worker] = self._doing[worker], None
        if shard is not None:
            self._doers[shard].discard(worker)
            self._run.busy_s += now - self._since[worker]
        return shard

    def _late(self, now: float, worker: int, turn: int) -> None:
        shard = self._doing[worker]
        if turn == self._turn[worker] and shard is not None and shard not in self._twice:
            self._again(now, shard)

    def _again(self, now: float, shard: int) -> None:
        if math.isfinite(self._done_at[shard]):
            return
        self._twice.add(shard)
        self._run.done_again += 1
        self._waiting.appendleft(shard)
        for worker in sorted(self._idle):
            self._give(now, worker)
            break

    def _down(self, now: float, node: int) -> None:
        self._run.failures += 1
        self._up[node] = False
        self._at(now + self._machines.back_s, _UP, node)
        for worker, own in enumerate(self._node):
            if own != node:
                continue
            self._idle.discard(worker)
            self._turn[worker] += 1
            shard = self._leave(now, worker)
            if shard is not None:
                self._at(now + self._machines.noticed_s, _NOTICED, worker, shard)


@dataclass(frozen=True)
class Fleet:
    """What serves: shards of an index, each in replicas, of which a question touches some."""

    shards: int
    replicas: int
    touched: int  # shards that one question asks
    answer_ms: Sequence[float]  # of a shard, measured
    front_ms: float  # of the front, beside its shards
    hedge_ms: float  # after which another replica is asked, too
    deadline_ms: float
    fails_per_hour: float = 0.0  # of a replica
    back_s: float = 5.0  # until a replica that died answers again
    stalls: float = 0.0  # share of answers that never come within the deadline


@dataclass(frozen=True)
class Served:
    """How questions went."""

    p50_ms: float
    p99_ms: float
    partial: float  # share of questions that miss an area
    hedged: float  # share of shards' answers that were asked for twice


def serve(fleet: Fleet, questions: int, rng: np.random.Generator) -> Served:
    """Return how questions, each by itself, are answered: the slowest of its shards counts."""
    shape = questions, fleet.touched
    down = fleet.fails_per_hour * fleet.back_s / 3600.0 / (1.0 + fleet.fails_per_hour * fleet.back_s / 3600.0)

    def answer() -> np.ndarray:
        took = rng.choice(np.asarray(fleet.answer_ms), shape)
        return np.where(rng.random(shape) < down + fleet.stalls, math.inf, took)

    first = answer()
    hedged = first > fleet.hedge_ms
    best = first
    for number in range(1, fleet.replicas):
        best = np.where(hedged, np.minimum(best, number * fleet.hedge_ms + answer()), best)
    whole = best.max(axis=1)
    shown = np.minimum(whole, fleet.deadline_ms) + fleet.front_ms
    return Served(
        float(np.percentile(shown, 50)), float(np.percentile(shown, 99)), float((whole > fleet.deadline_ms).mean()), float(hedged.mean())
    )
