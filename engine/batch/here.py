"""Photos answered in one process: others that decode them, and threads that answer over one open search."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import asdict
from types import TracebackType
from typing import Self

from crossgeo.engine.answering import Answering
from crossgeo.engine.batch.pipeline import Ask, Pipeline, Task
from crossgeo.engine.decoder import Decoder
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.processor import processors

MOST_READERS = 4  # processes that decode photos
AHEAD = 2  # photos that wait decoded for each worker, beside the one it answers about


class Here:
    """What decodes and answers photos in this process; a context manager. The search is the caller's to close, after this."""

    def __init__(
        self, search: GeoSearch, workers: int | None = None, decoder: Decoder | None = None, ask: Ask | None = None,
        threads: int | None = None,
    ) -> None:  # fmt: skip
        """Answer `workers` photos at once, as many as there are processors unless told; a `decoder` and an `ask` stay the caller's.

        Workers share the processors, unless each is to compute with so many `threads`.
        """
        workers = workers or processors()
        self._readers = min(MOST_READERS, workers)
        self._ahead = (1 + AHEAD) * workers + self._readers
        self._opened = ExitStack()
        self._decoder = decoder or self._opened.enter_context(Decoder(self._readers))
        if ask is None:
            answering = Answering(search, workers, max_waiting=self._ahead, threads=threads)
            self._opened.callback(answering.close, drain=False)
            ask = _asking(answering)
        self._ask = ask

    def pipeline(self, options: BatchOptions, begin: Callable[[Task], None], stop: threading.Event | None = None) -> Pipeline:
        """Return what answers one run of photos, as `Pipeline` says; the next one may follow it."""
        return Pipeline(self._decoder, self._readers, self._ask, self._ahead, options, begin, stop)

    def close(self) -> None:
        """End the threads and processes; questions that nobody has begun to answer are cancelled."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def _asking(answering: Answering) -> Ask:
    def ask(photo: Photo, points: tuple[tuple[float, float], ...], options: BatchOptions) -> Future[Answer]:
        told = asdict(options)
        if len(points) > 1:
            return answering.run(lambda search: search.query(photo, points=points, **told))
        return answering.submit(photo, points[0] if points else None, options)

    return ask
