"""One question at a time, until engine/answering.py is there."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from crossgeo.engine.batch import BatchOptions
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.search import GeoSearch


class LiveSearch:
    def __init__(self, path: Path, open: Callable[[Path], GeoSearch]) -> None:
        self.path, self._search = path, open(path)

    @contextmanager
    def current(self) -> Iterator[GeoSearch]:
        yield self._search

    def close(self) -> None:
        self._search.close()


class Answering:
    def __init__(self, search: LiveSearch, workers: int | None = None, max_waiting: int = 64) -> None:
        self._live, self._pool = search, ThreadPoolExecutor(1, thread_name_prefix="answer")

    def submit(
        self, photo: Photo | Path | bytes, point: tuple[float, float] | None = None, options: BatchOptions | None = None,
        points: Sequence[tuple[float, float]] = (),
    ) -> Future[Answer]:  # fmt: skip
        return self._pool.submit(self._ask, photo, point, options or BatchOptions())

    def _ask(self, photo: Photo | Path | bytes, point: tuple[float, float] | None, options: BatchOptions) -> Answer:
        with self._live.current() as search:
            return search.query(photo, point=point, **asdict(options))

    def close(self, drain: bool = True) -> None:
        self._pool.shutdown(cancel_futures=not drain)
