"""An area that some processes hold."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from itertools import count
from threading import Lock

from crossgeo.engine.cluster.cluster import Actor
from crossgeo.engine.serving.replica import Replica
from crossgeo.indexer.area_rows import AreaFiles

Start = Callable[[AreaFiles, Sequence[Actor]], Actor]
_ORDER = {"up": 0, "slow": 1, "down": 2}


class HeldArea:
    """The replicas of one area, which lie on different nodes where there are several."""

    def __init__(self, files: AreaFiles, replicas: int, start: Start) -> None:
        """Start the first; `complete` starts the others, which find made what the first one makes."""
        self.files, self.wanted = files, replicas
        self.users = 0
        self._start = start
        self.replicas: list[Replica] = []
        self._turns, self._adding = count(), Lock()
        self._add()

    def complete(self) -> None:
        """Start the replicas that are not there yet."""
        with self._adding:
            while len(self.replicas) < self.wanted:
                self._add()

    def pick(self, without: Collection[Replica] = ()) -> Replica | None:
        """Return the replica to ask, the least loaded of those that answer; None while all others are down."""
        turn = next(self._turns)
        able = [replica for replica in self.replicas if replica.state != "down" and replica not in without]
        able = able[turn % len(able) :] + able[: turn % len(able)] if able else []
        return min(able, key=lambda replica: (_ORDER[replica.state], replica.load), default=None)

    @property
    def alive(self) -> int:
        """How many replicas answer in time."""
        return sum(replica.state == "up" for replica in self.replicas)

    @property
    def answers(self) -> bool:
        """Whether it has a replica that answers, in time or late: one is late already when there is much to do."""
        return any(replica.state != "down" for replica in self.replicas)

    @property
    def trouble(self) -> str | None:
        """Why a replica is down; None where none is, or nobody knows."""
        return next((replica.trouble for replica in self.replicas if replica.trouble is not None), None)

    def close(self) -> None:
        """End all of them."""
        for replica in self.replicas:
            replica.close()

    def _add(self) -> None:
        self.replicas.append(Replica(lambda own: self._start(self.files, [other.actor for other in self.replicas if other is not own])))
