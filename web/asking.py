"""From an upload to its answer: decoded in a process with limits, put in the queue of its index, waited for while somebody listens."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import IO, Any, TypeVar

from fastapi import Request

from crossgeo.engine.decoder import Decoder
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import GeoError, LimitError, StoreError
from crossgeo.web.metrics import Metrics, Reading
from crossgeo.web.problems import Problem
from crossgeo.web.served import Indexes, Served
from crossgeo.web.settings import Limits

Result = TypeVar("Result")
Points = tuple[tuple[float, float], ...]
SHARDS = {
    "shards": "Areas that the index is spread over",
    "shards_alive": "Areas of which a replica answers in time",
    "replicas": "Processes that are to hold areas",
    "replicas_alive": "Processes that hold areas and answer in time",
    "asked": "Requests to areas, of all indexes",
    "hedged": "Requests that went to another replica because the first was slow, of all indexes",
    "failed": "Requests that ended with an error and went elsewhere, of all indexes",
    "missed": "Requests that no replica answered in time, of all indexes",
    "partial": "Questions that were answered without some area, of all indexes",
}


class Asker:
    """Asks the indexes that are served; of one event loop, a context manager."""

    def __init__(self, indexes: Indexes, limits: Limits, metrics: Metrics) -> None:
        self.indexes, self.limits, self._metrics = indexes, limits, metrics
        self._decoder = Decoder(limits.decoders, limits.decode_s)
        self._readers = ThreadPoolExecutor(limits.decoders, thread_name_prefix="decoding")
        self._decoding = 0  # photos that are being decoded, or wait for that
        self._pixel_bytes = 0  # of decoded photos that wait, or are being answered

    def __enter__(self) -> Asker:
        self._readers.submit(self._decoder.warm)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._decoder.close()
        self._readers.shutdown(cancel_futures=True)

    def check_room(self) -> None:
        """Raise Problem where no index takes more questions: better before an upload than after it."""
        if all(served.answering.stats().waiting >= self.limits.waiting for served in self.indexes):
            raise _busy(f"{self.limits.waiting} questions are waiting, which is the limit; ask again later")

    async def photo(self, source: IO[bytes] | Path, name: str) -> Photo:
        """Decode an upload, or a file that was one; raise what `Decoder.read` does, Problem where too many photos wait for that."""
        if self._decoding >= self.limits.decoders + self.limits.waiting:
            raise _busy("too many photos are waiting to be decoded; ask again later")
        self._decoding += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, source, name)
        finally:
            self._decoding -= 1

    def _read(self, source: IO[bytes] | Path, name: str) -> Photo:
        try:
            data = source.read_bytes() if isinstance(source, Path) else source.read()  # here, so that few uploads are in memory
        except OSError as error:
            raise StoreError(f"{name}: what was uploaded cannot be read again ({error.strerror or error}); send it again") from error
        return self._decoder.read(data, name, self.limits.photo_px)

    async def answer(
        self, served: Served, photo: Photo, points: Points, options: BatchOptions, left: Callable[[], Any] | None = None
    ) -> Answer:
        """Ask, and wait for the answer; Problem `busy` where too many wait, `slow` where it takes too long.

        `left` is awaited beside it: when it returns, as after too long a time, the question is taken back.
        """
        told: dict[str, Any] = {**asdict(options), "point": points[0] if len(points) == 1 else None}
        if len(points) > 1:
            told["points"] = points
        try:
            answer = await self.run(served, photo, lambda search: search.query(photo, **told), left)
        except GeoError:
            self._metrics.photo(served.name, "error", {})
            raise
        self._metrics.photo(served.name, answer.status, answer.timings_ms)
        return answer

    async def run(self, served: Served, photo: Photo, ask: Callable[[GeoSearch], Result], left: Callable[[], Any] | None = None) -> Result:
        """Have a worker ask a search whatever it may be asked of a photo; as `answer`."""
        with self._holding(photo):
            try:
                future = served.answering.run(ask)
            except LimitError as error:
                raise _busy(str(error)) from error
            return await self._answered(future, left)

    def readings(self) -> Iterator[Reading]:
        """Yield what is to be read of queues and generations."""
        yield "geo_decoding", "Photos that are being decoded or wait for that", {}, self._decoding
        yield "geo_waiting_pixel_bytes", "Bytes of decoded photos that wait or are being answered", {}, self._pixel_bytes
        if self.indexes.merging is not None:
            merged = self.indexes.merging.stats()
            yield "geo_passes", "Passes of models that questions asked for", {}, merged.passes
            yield "geo_pass_batches", "Batches that they were run in, merged", {}, merged.batches
            yield "geo_pass_batch_rows", "Rows of a batch on average", {}, merged.mean_rows
            yield "geo_passes_failed", "Passes that ended with an error", {}, merged.failed
        for served in self.indexes:
            index, queue, live = {"index": served.name}, served.answering.stats(), served.live.stats()
            yield "geo_questions_waiting", "Questions that wait for a worker", index, queue.waiting
            yield "geo_questions_busy", "Workers that answer", index, queue.busy
            yield "geo_workers", "Workers", index, queue.workers
            yield "geo_questions_refused", "Questions that were refused because too many waited", index, queue.refused
            yield "geo_index_generation", "The generation that answers", index, live.generation
            yield "geo_index_behind", "1 where the newest generation could not be opened", index, live.trouble is not None
            told = served.metrics()
            yield from _kept(index, told)
            for name, value in told.get("shards", {}).items():
                if name in SHARDS:
                    yield f"geo_{name}" if name.startswith(("shards", "replicas")) else f"geo_shards_{name}", SHARDS[name], index, value

    @contextmanager
    def _holding(self, photo: Photo) -> Iterator[None]:
        if self._pixel_bytes and self._pixel_bytes + photo.pixels.nbytes > self.limits.pixel_bytes:
            raise _busy("the photos that wait take all the memory that there is for them; ask again later")
        self._pixel_bytes += photo.pixels.nbytes
        try:
            yield
        finally:
            self._pixel_bytes -= photo.pixels.nbytes

    async def _answered(self, future: Future[Result], left: Callable[[], Any] | None) -> Result:
        answer = asyncio.wrap_future(future)
        waiting: set[asyncio.Future[Any]] = {answer}
        if left is not None:
            waiting.add(asyncio.ensure_future(left()))
        try:
            await asyncio.wait(waiting, timeout=self.limits.answer_s, return_when=asyncio.FIRST_COMPLETED)
            if answer.done():
                return answer.result()
            raise Problem("slow", f"there was no answer within {self.limits.answer_s:g} s; ask again later", retry_after_s=30)
        finally:
            for task in waiting:
                task.cancel()


def _kept(index: dict[str, str], told: dict[str, dict[str, Any]]) -> Iterator[Reading]:
    """Yield what is to be read of what models made of imagery and is kept, of what `GeoSearch.metrics` has told."""
    for name in ("object_features", "cells"):
        own, of = told[name], {**index, "cache": name}
        for where in ("memory", "disk", "device") if name == "object_features" else ("memory", "disk"):
            yield "geo_cache_hits", "Times that what a model made of imagery was kept already", {**of, "where": where}, own[f"{where}_hits"]
            yield "geo_cache_bytes", "Bytes that are kept", {**of, "where": where}, own[f"{where}_bytes"]
        yield "geo_cache_misses", "Times that it had to be made", of, own["misses"]
        yield "geo_cache_damaged", "Values and files on disk that were found damaged and are made again", of, own["damaged"]
        why = {**of, "reason": own["trouble"] or ""}
        yield "geo_cache_trouble", "1 where the folder of a cache is not used any more, and why", why, own["trouble"] is not None
    yield (
        "geo_cells_from_index",
        "Cells of the 5 m step that the index itself had, which no cache is asked for",
        index,
        told["cells"]["from_index"],
    )


async def left(request: Request) -> None:
    """Return when the client has closed the connection."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _busy(detail: str) -> Problem:
    return Problem("busy", detail, retry_after_s=5)
