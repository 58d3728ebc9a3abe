"""Photos answered by the workers of a cluster: cut into shards, sent again where something is left, in place of one process's pipeline."""

from __future__ import annotations

import os
import statistics
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from crossgeo.engine.batch.identity import of_search
from crossgeo.engine.batch.pipeline import Stopped, Task, record_of
from crossgeo.engine.batch.shard import Back, Photos, Sent, Told, Worker, answer, halve, shard_of
from crossgeo.engine.cluster import Cluster, Job, Outcome, Shard
from crossgeo.engine.cluster.answer import on_node
from crossgeo.engine.output import Record
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError, MismatchError

MOST = 256  # photos in a shard
STREAMED = 64  # of photos that come one by one: more would wait for those behind them
FIRST = 8  # until a shard is answered: what a spell has no room for travels in vain
SPELLS = 2  # that a shard may be long, by the median of those answered: a worker may be faster, and what it leaves is sent again
RECENT = 32  # shards that this median is of
SHARDS_LEFT = 4  # for each worker, as long as there are photos enough: they get smaller towards the end, so that workers end together
SPELL_S = 5.0  # for which a worker goes on: what is lost with it, waited for at Ctrl-C, and passes between two words of progress


@dataclass
class NodeTally:
    """What one node did."""

    photos: int = 0
    seconds: float = 0.0  # of all its workers, together
    given_up: int = 0  # photos that ended the workers that answered them


@dataclass
class Spread:
    """Where the photos of a batch are answered: by the workers of a cluster, each of which opens the search once.

    with open_cluster("local", 2) as cluster, GeoSearch.open("city.geo") as search:
        run_batch(search, "photos/", "results.geojson", spread=Spread(cluster, partial(GeoSearch.open, "city.geo")))
    """

    cluster: Cluster
    open: Callable[[], GeoSearch]  # as the driver's search was opened; pickled
    gpus: float = 0.0  # of each worker
    spell_s: float = SPELL_S
    nodes: dict[str, NodeTally] = field(default_factory=dict)  # what was done, by node
    workers: int = 0  # photos that can be answered at once, when it was looked at last

    def place(
        self, search: GeoSearch, options: BatchOptions, count: int | None, died: Callable[[Task], None], stop: threading.Event | None
    ) -> Sharded:
        """Return what answers the photos of one batch, `count` if that is known; `died` is told of each that ended its workers."""
        told = Told(self.open, of_search(search), os.fspath(Path.cwd()), self.spell_s)
        job = Job("locate", Worker, answer, told, halve, gpus=self.gpus)
        return Sharded(self, job, options, count, died, stop or threading.Event())


class Sharded:
    """Asks the workers of a cluster about items; at most what these have at hand is out, whatever the batch's length."""

    def __init__(
        self, spread: Spread, job: Job[Told, Worker, Photos, Back], options: BatchOptions, count: int | None,
        died: Callable[[Task], None], stop: threading.Event,
    ) -> None:  # fmt: skip
        self._spread, self._job, self._options, self._count, self._died, self._stop = spread, job, options, count, died, stop
        self._out: dict[int, Sent] = {}  # sent and not answered, by number
        self._back: deque[Sent] = deque()  # to be sent again, before others
        self._room: deque[float] = deque(maxlen=RECENT)  # photos that a spell would have had room for, by the shards answered last
        self._pulled = 0  # how many items there were, those that needed no asking included
        self._ended = False  # no further item comes
        self._first: tuple[str, str] | None = None  # the node that answered first, and how its models run

    def run(self, tasks: Iterator[Task | None]) -> Iterator[tuple[Task, Record]]:
        """Yield each item's record as it is done; `tasks` yields None while no further item has come yet.

        Raises Stopped, once what workers are at is answered, where that is asked for; InputError for a photo that a node does not see.
        """
        with closing(self._spread.cluster.run(self._job, self._shards(tasks))) as outcomes:
            for outcome in outcomes:
                yield from self._results(outcome)
        if self._out or self._back or not self._ended:
            raise Stopped

    def _shards(self, tasks: Iterator[Task | None]) -> Iterator[Shard[Photos] | None]:
        while not self._stop.is_set():
            some = self._some(tasks)
            if some:
                self._out |= {sent.task.number: sent for sent in some}
                yield shard_of(Photos(tuple(some), self._options))
            elif self._ended and not self._out:
                return
            else:
                yield None

    def _some(self, tasks: Iterator[Task | None]) -> list[Sent]:
        """Take what goes into one shard; nothing where nothing has come."""
        some: list[Sent] = []
        size = self._size()
        while len(some) < size and (sent := self._back.popleft() if self._back else self._pull(tasks)) is not None:
            if sent.task.alone and some:
                self._back.appendleft(sent)
                break
            some.append(sent)
            if sent.task.alone:
                break
        return some

    def _pull(self, tasks: Iterator[Task | None]) -> Sent | None:
        try:
            task = None if self._ended else next(tasks)
        except StopIteration:
            self._ended, task = True, None
        if task is None:
            return None
        self._pulled = task.number + 1
        return Sent(task, task.item.file[0])  # asked of the disk once, however often it is sent: a network drive takes long

    def _size(self) -> int:
        """How many photos the next shard may hold."""
        self._spread.workers = max(1, self._spread.cluster.workers(self._job))
        fits = SPELLS * statistics.median(self._room) if self._room else FIRST
        coming = 0 if self._ended else None if self._count is None else self._count - self._pulled
        most = STREAMED if coming is None else min(MOST, (len(self._back) + coming) // (SHARDS_LEFT * self._spread.workers))
        return max(1, min(most, int(fits)))

    def _results(self, outcome: Outcome[Photos, Back]) -> Iterator[tuple[Task, Record]]:
        if outcome.error is not None:
            raise on_node(outcome.node, outcome.error)
        node = self._spread.nodes.setdefault(outcome.node or "a node that was lost", NodeTally())
        node.seconds += outcome.seconds
        photos = {sent.task.number: sent for sent in outcome.shard.payload.sent}
        if outcome.result is not None:
            self._check_alike(outcome.node, outcome.result.runtimes)
            self._room.append(len(outcome.result.given) * self._spread.spell_s / max(outcome.seconds, 1e-6))
        for given in () if outcome.result is None else outcome.result.given:
            sent = photos.pop(given.number)
            if given.unseen and sent.task.item.file[0] == sent.size:
                path, size = Path.cwd() / sent.task.item.path, sent.size
                raise InputError(
                    f"{path}: is not what it is here ({size} bytes) on {outcome.node}; let all nodes see the photos by these paths"
                )
            node.photos += 1
            yield self._out.pop(given.number).task, given.record
        for number in photos:
            left = self._out.pop(number)
            task = left.task
            if outcome.died:
                node.given_up += 1
                times = f"ended {outcome.died} times over it ({outcome.why})"
                why = f"{task.item.path}: the worker that answered this photo alone {times}; leave it out"
                yield task, record_of(task.item, None, InputError(why))
                self._died(task)
            else:
                self._back.append(left)

    def _check_alike(self, node: str, runtimes: str) -> None:
        """Raise MismatchError where a node's models run otherwise than the first one's: answers would depend on who gave them."""
        self._first = self._first or (node, runtimes)
        if runtimes != self._first[1]:
            raise MismatchError(
                f"{node} answers by {runtimes}, and {self._first[0]} by {self._first[1]}; "
                "name what all nodes have with --runtime, --precision and --device"
            )
