"""The stages of a batch: photos are decoded ahead, a few questions are open at a time, answers come as they are done."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol

from crossgeo.engine.batch.item import BatchItem
from crossgeo.engine.decoder import Decoder
from crossgeo.engine.output import Record
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer, error_json
from crossgeo.engine.question import BatchOptions
from crossgeo.errors import GeoError, InputError, LimitError, UsageError

_ITEM_ERRORS = (InputError, LimitError, UsageError)  # the photo's own fault; a damaged index or missing weights stop the batch
_POLL_S = 0.1  # how soon it is seen that a batch is to stop, or that a full search has room again
_Points = tuple[tuple[float, float], ...]


class Stopped(Exception):
    """The batch was told to stop; what was answered is kept."""


class Ask(Protocol):
    """Hands a question on; LimitError where too many wait, which is tried again."""

    def __call__(self, photo: Photo, points: _Points, options: BatchOptions) -> Future[Answer]: ...


@dataclass(frozen=True)
class Task:
    """An item to ask about; `alone` with no other beside it, since the program may die of it."""

    number: int
    item: BatchItem
    key: str
    alone: bool = False


class Pipeline:
    """Asks about items as long as fewer than `ahead` are decoded or asked about; memory is bounded by that, not by the batch."""

    def __init__(
        self, decoder: Decoder, readers: int, ask: Ask, ahead: int, options: BatchOptions, begin: Callable[[Task], None],
        stop: threading.Event | None = None,
    ) -> None:  # fmt: skip
        """Read with up to `readers` at once; `begin` is told of each item that is handed to `ask`, before it is."""
        self._decoder, self._readers, self._ask, self._ahead = decoder, readers, ask, ahead
        self._options, self._begin, self._stop = options, begin, stop or threading.Event()
        self._events: queue.SimpleQueue[tuple[Task, Future[Photo] | Future[Answer]]] = queue.SimpleQueue()
        self._asked: dict[int, Future[Answer]] = {}
        self._photos: dict[int, Photo] = {}  # that are open questions
        self._refused: deque[tuple[Task, Photo]] = deque()  # decoded, while the search had no room

    def run(self, tasks: Iterator[Task | None]) -> Iterator[tuple[Task, Record]]:
        """Yield each item's record as it is done; `tasks` yields None while no further item has come yet.

        Raises Stopped, once the questions that are open are answered, where that is asked for.
        """
        open_, following, alone, ended = 0, None, False, False
        pool = ThreadPoolExecutor(self._readers, thread_name_prefix="decode")
        try:
            while open_ or not ended:
                if self._stop.is_set():
                    self._take_back()
                    if not self._asked:
                        raise Stopped
                while not (ended or alone or self._stop.is_set()) and open_ < self._ahead:
                    try:
                        following = following or next(tasks)
                    except StopIteration:
                        ended = True
                        break
                    if following is None or (following.alone and open_):
                        break
                    if following.item.fault is not None:
                        yield following, record_of(following.item, None, following.item.fault)
                    else:
                        self._read(pool, following)
                        open_, alone = open_ + 1, following.alone
                    following = None
                if open_ or not ended:
                    for task, record in self._next():
                        open_, alone = open_ - 1, False
                        yield task, record
        finally:
            for future in self._asked.values():
                future.cancel()
            pool.shutdown(wait=False, cancel_futures=True)

    def _read(self, pool: ThreadPoolExecutor, task: Task) -> None:
        read = pool.submit(self._decoder.read, task.item.path, task.item.name)
        read.add_done_callback(lambda done: self._events.put((task, done)))

    def _next(self) -> Iterator[tuple[Task, Record]]:
        """Wait for what comes next, and yield a record where it is one."""
        for _ in range(len(self._refused)):
            self._hand_on(*self._refused.popleft())
        try:
            task, done = self._events.get(timeout=_POLL_S)
        except queue.Empty:
            return
        if done.cancelled():
            if self._stop.is_set():
                return
            raise Stopped  # whoever answers is closing
        try:
            result = done.result()
        except _ITEM_ERRORS as error:
            fault: GeoError = error
        except MemoryError:
            fault = LimitError(f"{task.item.name}: there is not enough memory to answer it; close other programs, or make it smaller")
        else:
            if isinstance(result, Photo):
                if not self._stop.is_set():
                    self._hand_on(task, result)
            else:
                del self._asked[task.number]
                yield task, record_of(task.item, self._photos.pop(task.number), result)
            return
        self._asked.pop(task.number, None)
        yield task, record_of(task.item, self._photos.pop(task.number, None), fault)

    def _take_back(self) -> None:
        """Cancel the questions that nobody has begun to answer."""
        for number, future in list(self._asked.items()):
            if future.cancel():
                del self._asked[number]

    def _hand_on(self, task: Task, photo: Photo) -> None:
        if task.number not in self._photos:
            self._begin(task)
        self._photos[task.number] = photo
        try:
            asked = self._ask(photo, task.item.points, task.item.options(self._options))
        except LimitError:
            self._refused.append((task, photo))
            return
        self._asked[task.number] = asked
        asked.add_done_callback(lambda done: self._events.put((task, done)))


def record_of(item: BatchItem, photo: Photo | None, result: Answer | GeoError) -> Record:
    """Return an item's record: the answer or the error, and what is known of the photo beside it."""
    record = result.to_json() if isinstance(result, Answer) else error_json(item.name, result)
    about = dict(item.about)
    if photo is not None and photo.exif.taken is not None:
        about.setdefault("taken", photo.exif.taken)
    return {"photo": record.pop("photo"), **about, **record}
