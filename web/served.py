"""The indexes that are served, by name: each the newest generation of a folder, with the workers that answer from it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from crossgeo.engine.answering import Answering
from crossgeo.engine.live import LiveSearch
from crossgeo.engine.mosaic import SmallBlocks
from crossgeo.engine.runtime.merged import Merging
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import UsageError
from crossgeo.web.problems import Problem


@dataclass(frozen=True)
class Opening:
    """How indexes are opened."""

    open: Callable[[Path], GeoSearch]
    warm: Callable[[GeoSearch], object] | None = None  # called with each generation before it answers
    workers: int | None = None  # of each index; None: as many as there are processors
    waiting: int = 64  # questions of each index
    every_s: float = 2.0  # how often a newer generation is looked for
    merging: Merging | None = None  # what the models of all of them run through; the caller's to close, after them


class Served:
    """One index."""

    def __init__(self, name: str, path: Path, how: Opening) -> None:
        self.name, self.path = name, path
        self.live = LiveSearch(path, how.open, how.warm, how.every_s)
        self.answering = Answering(self.live, how.workers, max_waiting=how.waiting)
        self._small: tuple[str, SmallBlocks] | None = None

    @contextmanager
    def pinned(self) -> Iterator[tuple[GeoSearch, SmallBlocks]]:
        """Pin the newest generation, with the small blocks that map tiles are drawn from."""
        with self.live.current() as search:
            kept, digest = self._small, search.index.manifest.hash
            if kept is None or kept[0] != digest:
                kept = self._small = digest, SmallBlocks()
            yield search, kept[1]

    def shards(self) -> dict[str, Any]:
        """Return who holds the rows that answer, as `RowSearch.metrics` has it; nothing where this process does."""
        with self.live.current() as search:
            return search.index.rows.metrics()

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Return what happened since the index was opened, in all its generations, as `GeoSearch.metrics` has it."""
        with self.live.current() as search:
            return search.metrics()

    def close(self) -> None:
        """Answer what waits, then close the index."""
        self.answering.close()
        self.live.close()


class Indexes:
    """All of them; a context manager."""

    def __init__(self, paths: Mapping[str, Path], how: Opening) -> None:
        """Open each index; raise what opening does, and UsageError where there is none."""
        if not paths:
            raise UsageError("there is no index to serve; name one")
        self.merging = how.merging
        self._closing = ExitStack()
        self._by_name: dict[str, Served] = {}
        with ExitStack() as opened:
            for name, path in paths.items():
                served = self._by_name[name] = Served(name, path, how)
                opened.callback(served.close)
            self._closing = opened.pop_all()

    def __iter__(self) -> Iterator[Served]:
        return iter(self._by_name.values())

    def named(self, name: str | None) -> Served:
        """Return an index by its name, the first without one; raise Problem where there is no such index."""
        if name is None:
            return next(iter(self))
        if name not in self._by_name:
            raise Problem("not-found", f"no index is called {name!r}; GET /v1/indexes names them")
        return self._by_name[name]

    def close(self) -> None:
        """Answer what waits, then close them all."""
        self._closing.close()

    def __enter__(self) -> Indexes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def names_of(paths: list[Path]) -> dict[str, Path]:
    """Name each index by its folder, without .geo; raise UsageError where two would have one name."""
    out: dict[str, Path] = {}
    for path in paths:
        name = path.resolve().name.removesuffix(".geo") or "index"
        if name in out:
            raise UsageError(f"{path} and {out[name]} would both be served as {name}; rename one of the folders")
        out[name] = path
    return out
