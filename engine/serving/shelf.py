"""The areas that a cluster holds for the generations that are open, and who looks after them.

Areas are known by their content, so that a generation which is opened beside another shares with it the areas that have not changed.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Lock, Thread
from types import TracebackType

from crossgeo.engine.cluster.cluster import Actor, Cluster
from crossgeo.engine.cluster.work import Job
from crossgeo.engine.serving.asking import Counts
from crossgeo.engine.serving.held import HeldArea
from crossgeo.engine.serving.latency import Latencies
from crossgeo.errors import ClusterError, GeoError, UsageError, WorkerDiedError
from crossgeo.indexer.area_rows import AreaFiles, area_descriptors, open_area
from crossgeo.indexer.shelf_use import ShelfUse

FOLDER = "shards"
_MIND_S = 0.05
_OTHERS_S = 30.0  # for replicas beside the first, which a new generation does not wait for longer
_TIDY_S = 600.0
_CPUS = 0.1  # of a node for each replica: most wait most of the time


@dataclass(frozen=True)
class ShardOptions:
    """How an index is spread over a cluster."""

    tiles: int = 1_000_000  # of an area, about
    replicas: int = 2
    deadline_s: float = 2.0  # of a search; what has not answered by then is missing
    folder: Path | None = None  # that all nodes see; None: in the index
    start_s: float = 3600.0  # for an area to be made and read, after the one before it

    def __post_init__(self) -> None:
        """Refuse what cannot be; raises UsageError."""
        if self.tiles < 1 or self.replicas < 1 or not self.deadline_s > 0.0 or not self.start_s > 0.0:
            told = f"{self.tiles} tiles, {self.replicas} replicas, {self.deadline_s:g} s, {self.start_s:g} s to start"
            raise UsageError(f"{told}: each must be more than nothing")


class Shelf:
    """Holds areas on a cluster, which stays the caller's to close; a context manager, safe for threads."""

    def __init__(self, cluster: Cluster, options: ShardOptions) -> None:
        self.options, self.counts, self.latencies = options, Counts(), Latencies(options.deadline_s)
        self._cluster = cluster
        self._held: dict[Path, HeldArea] = {}
        self._lock, self._stop, self._no_more = Lock(), Event(), Event()
        self._uses: dict[Path, ShelfUse] = {}
        self._using = Lock()
        self._threads = [Thread(target=do, name=name, daemon=True) for do, name in ((self._mind, "replicas"), (self._tidy, "shelves"))]
        for thread in self._threads:
            thread.start()

    def take(self, files: Iterable[AreaFiles]) -> list[HeldArea]:
        """Return areas once each has a replica that answers; raise what opening one raises, ClusterError where that takes too long."""
        taken: list[HeldArea] = []
        opening: list[HeldArea] = []
        try:
            at_once = max(1, self._cluster.workers(Job("areas", open_area, area_descriptors, None)))
            for told in files:  # of more at once than there are processors none would be there before all are
                opening = self._wait(opening, at_once - 1)
                taken.append(self._taken(told))
                opening.append(taken[-1])
            self._wait(opening, 0)
            self._wait_for_others(taken)
        except BaseException:
            self.release(taken)
            raise
        return taken

    def release(self, areas: Sequence[HeldArea]) -> None:
        """Close areas that nobody else has taken."""
        for held in areas:
            with self._lock:
                held.users -= 1
                last = held.users == 0 and self._held.pop(held.files.folder, None) is not None
            if last:
                held.close()

    def use(self, folder: Path) -> ShelfUse:
        """Return what keeps the files of areas in a folder from being removed; those that nobody uses are, after a while."""
        with self._using:
            if folder not in self._uses:
                self._uses[folder] = ShelfUse(folder)
            return self._uses[folder]

    def tidy(self) -> None:
        """Remove files that nobody has used for long."""
        with self._using:
            uses = list(self._uses.values())
        for use in uses:
            with suppress(GeoError, OSError):  # another time
                use.tidy()

    def open_no_more(self) -> None:
        """Have every `take` that waits, and later ones, raise ClusterError: whoever closes a service waits for its openings to end."""
        self._no_more.set()

    def close(self) -> None:
        """End all replicas."""
        self.open_no_more()
        self._stop.set()
        for thread in self._threads:
            thread.join()
        with self._lock:
            left, self._held = list(self._held.values()), {}
        for held in left:
            held.close()
        for use in self._uses.values():
            use.close()

    def __enter__(self) -> Shelf:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _start(self, files: AreaFiles, beside: Sequence[Actor]) -> Actor:
        name = f"rows {files.name[:10]}"
        return self._cluster.actor(open_area, files, name=name, cpus=_CPUS, memory_bytes=files.memory_bytes, apart_from=beside)

    def _taken(self, told: AreaFiles) -> HeldArea:
        with self._lock:
            held = self._held.get(told.folder)
            if held is None:
                held = self._held[told.folder] = HeldArea(told, self.options.replicas, self._start)
            held.users += 1
            return held

    def _wait(self, opening: Sequence[HeldArea], most: int) -> list[HeldArea]:
        """Wait until at most so many of the areas have no replica that answers, and return those."""
        since = time.monotonic()
        while True:
            still = [held for held in opening if not held.answers]
            for held in opening:
                if held not in still:
                    held.complete()  # the first made what the others read
            since = time.monotonic() if len(still) < len(opening) else since
            opening = still
            if len(still) <= most:
                return still
            for held in still:
                self._check(held)
            if self._no_more.is_set():
                raise ClusterError(f"{self._cluster.label}: it is being closed, and {still[0].files.folder} was not opened before")
            if time.monotonic() - since >= self.options.start_s:
                trouble = next((f" ({held.trouble})" for held in still if held.trouble), "")
                raise ClusterError(
                    f"{self._cluster.label}: {still[0].files.folder} was not opened within {self.options.start_s:g} s{trouble}; "
                    "see that the cluster has room for all areas, or give more time (--shard-start-s)"
                )
            self._no_more.wait(_MIND_S)

    def _wait_for_others(self, areas: Sequence[HeldArea]) -> None:
        until = time.monotonic() + _OTHERS_S
        while time.monotonic() < until and any(held.alive < held.wanted for held in areas) and not self._no_more.wait(_MIND_S):
            pass

    @staticmethod
    def _check(held: HeldArea) -> None:
        """Raise what no other try mends: a damaged index, a folder that a node does not see."""
        for replica in held.replicas:
            if replica.error is not None and not isinstance(replica.error, WorkerDiedError):
                raise replica.error

    def _mind(self) -> None:
        while not self._stop.wait(_MIND_S):
            with self._lock:
                replicas = [replica for held in self._held.values() for replica in list(held.replicas)]
            for replica in replicas:
                replica.mind()

    def _tidy(self) -> None:
        while not self._stop.wait(_TIDY_S):
            self.tidy()
