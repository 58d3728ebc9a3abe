"""Asking several areas at once, until a deadline: a second replica where the first is slow, another where one dies."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from threading import Lock
from typing import Any, Generic, TypeVar

from crossgeo.engine.serving.held import HeldArea
from crossgeo.engine.serving.latency import Latencies
from crossgeo.engine.serving.replica import Replica

T = TypeVar("T")
_AGAIN_S = 0.03  # before an area is looked at again of which no replica can be asked


@dataclass
class Counts:
    """What was asked so far; safe for threads."""

    asked: int = 0  # areas, each time
    hedged: int = 0  # requests that went to another replica because the first was slow
    failed: int = 0  # that ended with an error, and went to another replica or to the same one again
    missed: int = 0  # areas that did not answer before the deadline
    partial: int = 0  # questions answered without some area
    _lock: Lock = field(default_factory=Lock, repr=False)

    def count(self, name: str, more: int = 1) -> None:
        """Add to one of them."""
        with self._lock:
            setattr(self, name, getattr(self, name) + more)


@dataclass(frozen=True)
class Wanted(Generic[T]):
    """What is to be asked of an area."""

    area: HeldArea
    do: Callable[..., T]
    args: tuple[Any, ...]
    work: int  # products of descriptors that it takes, about


class _Open(Generic[T]):
    """An area that has not answered yet."""

    def __init__(self, number: int, wanted: Wanted[T], patience_s: float) -> None:
        self.number, self.wanted, self.patience_s = number, wanted, patience_s
        self.out: dict[Future[T], tuple[Replica, float]] = {}
        self.asked: set[Replica] = set()
        self.due = -math.inf  # when another replica is asked

    def send(self, now: float, events: SimpleQueue[tuple[int, Future[T]]], counts: Counts) -> None:
        """Ask a replica that was not asked yet, if there is one; where none owes an answer, any."""
        replica = self.wanted.area.pick(self.asked)
        if replica is None and not self.out:
            replica = self.wanted.area.pick()
        if replica is None:
            self.due = now + (self.patience_s if self.out else _AGAIN_S)
            return
        counts.count("hedged", bool(self.out))
        self.asked.add(replica)
        self.due = now + self.patience_s
        future = replica.call(self.wanted.do, *self.wanted.args)
        self.out[future] = replica, now
        future.add_done_callback(lambda done: events.put((self.number, done)))


def ask(wanted: Sequence[Wanted[T]], latencies: Latencies, counts: Counts, within_s: float) -> dict[int, T]:
    """Return what areas answer, by their place in `wanted`; those that do not in time are left out."""
    events: SimpleQueue[tuple[int, Future[T]]] = SimpleQueue()
    still = {number: _Open(number, one, latencies.patience_s(one.work)) for number, one in enumerate(wanted)}
    found: dict[int, T] = {}
    counts.count("asked", len(still))
    until = time.monotonic() + within_s
    while still and (now := time.monotonic()) < until:
        for one in still.values():
            if now >= one.due:
                one.send(now, events, counts)
        try:
            number, future = events.get(timeout=max(0.0, min(until, *(one.due for one in still.values())) - time.monotonic()))
        except Empty:
            continue
        if number not in still or future not in still[number].out:
            continue
        one = still[number]
        _, began = one.out.pop(future)
        if future.exception() is None:
            latencies.took(one.wanted.work, time.monotonic() - began)
            found[number] = future.result()
            del still[number]
            _let_be(one)
        else:
            counts.count("failed")
            one.due = -math.inf if not one.out else one.due
            one.asked -= {replica for replica in one.asked if replica.state == "down"}
    for one in still.values():
        _let_be(one)
    counts.count("missed", len(still))
    return found


def _let_be(one: _Open[Any]) -> None:
    """Wait no more for those who were slower than others or the deadline."""
    for future, (replica, began) in one.out.items():
        if time.monotonic() - began >= one.patience_s:
            replica.late()
        future.cancel()
