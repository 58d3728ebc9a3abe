"""The rows of an index on a cluster: areas hold them, and are asked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

import numpy as np

from crossgeo.engine.serving.asking import Wanted, ask
from crossgeo.engine.serving.held import HeldArea
from crossgeo.engine.serving.shelf import FOLDER, Shelf
from crossgeo.errors import ClusterError
from crossgeo.indexer.area_rows import area_descriptors, put_on_shelf, search_area
from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.partition import areas_of
from crossgeo.indexer.vectors import Ids, Vectors, best, nothing

T = TypeVar("T")
_PATIENT_S = 600.0  # for what must be whole
_ASKING: ContextVar[_Question | None] = ContextVar("asking", default=None)


@dataclass(eq=False)
class _Question:
    """What one question goes without; an area that was missing once is, to the end of it."""

    of: SpreadRows
    missing: set[int] = field(default_factory=set)


class SpreadRows:
    """Searches an index whose rows lie on a shelf (`RowSearch`)."""

    def __init__(self, index: GeoIndex, shelf: Shelf, generations: Generations) -> None:
        """Put an index's areas on the shelf and wait until they answer; raise what `Shelf.take` does."""
        self._shelf, self._generations, self._dim = shelf, generations, index.manifest.dim
        folder = shelf.options.folder
        folder = index.path / FOLDER if folder is None else folder
        self.areas = areas_of(index, shelf.options.tiles)
        self._area_of = np.empty(len(index), np.int32)
        for number, area in enumerate(self.areas):
            self._area_of[area.ids] = number
        self._path, self._closed = index.path, False
        self._use, self._used = shelf.use(folder.resolve()), list[str]()
        self._held: list[HeldArea] = []
        generations.opened(index.path)
        try:
            self._held = shelf.take(put_on_shelf(index, area, folder, self._uses) for area in self.areas)
        except BaseException:
            self.close()
            raise

    def search(self, queries: Vectors, k: int, ids: Ids | None) -> tuple[Vectors, Ids]:
        """Return the best of the areas that have any of `ids`, as `RowSearch` says."""
        wanted: dict[int, Wanted[tuple[Vectors, Ids]]] = {}
        for number, own in self._concerned(ids):
            area = self.areas[number]
            rows = None if own is None or len(own) == len(area.ids) else np.searchsorted(area.ids, own)
            searched = len(area.ids) if rows is None else len(rows)
            wanted[number] = Wanted(self._held[number], search_area, (queries, k, rows), len(queries) * searched)
        found = [(scores, self.areas[number].ids[rows]) for number, (scores, rows) in self._asked(wanted).items()]
        if not found:
            return nothing(len(queries))
        return best(np.concatenate([f[0] for f in found], axis=1), np.concatenate([f[1] for f in found], axis=1), k)

    def descriptors(self, ids: Ids) -> Vectors:
        """Return the descriptors (n, D) of tiles (n,); zeros for those of areas that are missing."""
        out = np.zeros((len(ids), self._dim), np.float32)
        places: dict[int, Ids] = {}
        wanted: dict[int, Wanted[Vectors]] = {}
        for number in np.unique(self._area_of[ids]).tolist():
            places[number] = np.flatnonzero(self._area_of[ids] == number)
            rows = np.searchsorted(self.areas[number].ids, ids[places[number]])
            wanted[number] = Wanted(self._held[number], area_descriptors, (rows,), len(rows))
        for number, rows_of in self._asked(wanted).items():
            out[places[number]] = rows_of
        return out

    @contextmanager
    def question(self) -> Iterator[None]:
        """Answer what this thread asks until the block is left from the areas that answer in time."""
        asking = _Question(self)
        token = _ASKING.set(asking)
        try:
            yield
        finally:
            _ASKING.reset(token)
            self._shelf.counts.count("partial", bool(asking.missing))

    def missing(self) -> tuple[Bounds, ...]:
        """Return the areas that this thread's question goes without."""
        asking = self._question()
        return () if asking is None else tuple(self.areas[number].bounds for number in sorted(asking.missing))

    def to(self, device: str) -> None:
        """Rows stay where they are."""

    def metrics(self) -> dict[str, Any]:
        """Return how many areas and replicas there are, answer and do so in time (`alive`), what was asked, and why a replica is down."""
        counts, held = self._shelf.counts, self._held
        return {
            "shards": len(held),
            "shards_answering": sum(area.answers for area in held),
            "shards_alive": sum(area.alive > 0 for area in held),
            "replicas": sum(area.wanted for area in held),
            "replicas_alive": sum(area.alive for area in held),
            "asked": counts.asked,
            "hedged": counts.hedged,
            "failed": counts.failed,
            "missed": counts.missed,
            "partial": counts.partial,
            "trouble": next((area.trouble for area in held if area.trouble is not None), None),
        }

    def close(self) -> None:
        """Let go of the areas; those that no other generation has are closed."""
        if not self._closed:
            self._closed = True
            self._shelf.release(self._held)
            self._use.drop(self._used, superseded=self._generations.closed(self._path))

    def _uses(self, name: str) -> None:
        self._use.add(name)
        self._used.append(name)

    def _concerned(self, ids: Ids | None) -> Iterator[tuple[int, Ids | None]]:
        """The areas that have some of the ids, and which."""
        if ids is None:
            yield from ((number, None) for number in range(len(self.areas)))
            return
        areas = self._area_of[ids]
        for number in np.unique(areas).tolist():
            yield number, ids[areas == number]

    def _question(self) -> _Question | None:
        asking = _ASKING.get()
        return asking if asking is not None and asking.of is self else None

    def _asked(self, wanted: dict[int, Wanted[T]]) -> dict[int, T]:
        """Ask areas, and return what they answer in the order of areas; outside of a question all of them must."""
        asking = self._question()
        numbers = [number for number in wanted if asking is None or number not in asking.missing]
        within_s = _PATIENT_S if asking is None else self._shelf.options.deadline_s
        answers = ask([wanted[number] for number in numbers], self._shelf.latencies, self._shelf.counts, within_s)
        silent = [number for place, number in enumerate(numbers) if place not in answers]
        if asking is not None:
            asking.missing |= set(silent)
        elif silent:
            raise ClusterError(f"{self._held[silent[0]].files.folder}: nobody who holds it answered within {within_s:g} s; ask again later")
        return {numbers[place]: answers[place] for place in sorted(answers)}


class Generations:
    """How many generations of each index are open."""

    def __init__(self) -> None:
        self._open: dict[Path, int] = {}
        self._lock = Lock()

    def opened(self, path: Path) -> None:
        """Count one more."""
        with self._lock:
            self._open[path] = self._open.get(path, 0) + 1

    def closed(self, path: Path) -> bool:
        """Count one less, and say whether another is open."""
        with self._lock:
            self._open[path] -= 1
            return self._open[path] > 0


class OnShelf:
    """Opens the rows of indexes on a shelf, one generation after the other: `GeoIndex.open(path, OnShelf(shelf))`."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf, self._generations = shelf, Generations()

    def __call__(self, index: GeoIndex) -> SpreadRows:
        """Open those of an index."""
        return SpreadRows(index, self.shelf, self._generations)
