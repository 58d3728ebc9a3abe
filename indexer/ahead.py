"""Stages of a pipeline: threads make the next pieces, in order and bounded in number, while the last one is used, or collect what comes."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from queue import SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

WORKERS = max(1, min(8, os.cpu_count() or 1))


@contextmanager
def ahead(make: Callable[[T], R], items: Iterable[T], workers: int = WORKERS) -> Iterator[Iterator[R]]:
    """Give an iterator of `make(item)`, in the order of the items, each made by a thread up to 2 `workers` pieces before its turn.

    What `make` raises is raised at that piece's turn. At the end of the block, however it ends, no piece is begun any more and those that
    are being made are waited for: what they read may be closed then.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        try:
            yield _made(pool, make, iter(items), 2 * workers)
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _made(pool: ThreadPoolExecutor, make: Callable[[T], R], items: Iterator[T], most: int) -> Iterator[R]:
    waiting: deque[Future[R]] = deque(pool.submit(make, item) for item in islice(items, most))
    while waiting:
        made = waiting.popleft().result()
        waiting.extend(pool.submit(make, item) for item in islice(items, 1))
        yield made


@contextmanager
def collected(items: Generator[T, None, None], stop: threading.Event) -> Iterator[Iterator[T]]:
    """Give an iterator of what a generator yields, which a thread takes from it as it comes, however late it is asked for here.

    What the generator raises is raised in its turn. At the end of the block `stop` is set, which is to end the generator, and its end is
    waited for.
    """
    came: SimpleQueue[Future[T] | None] = SimpleQueue()
    thread = threading.Thread(target=_collect, args=(items, came), name="collected")
    thread.start()
    try:
        yield (one.result() for one in iter(came.get, None))
    finally:
        stop.set()
        thread.join()


def _collect(items: Generator[T, None, None], came: SimpleQueue[Future[T] | None]) -> None:
    try:
        with closing(items):
            for item in items:
                one: Future[T] = Future()
                one.set_result(item)
                came.put(one)
    except BaseException as error:  # handed over, whatever it is
        last: Future[T] = Future()
        last.set_exception(error)
        came.put(last)
    came.put(None)
