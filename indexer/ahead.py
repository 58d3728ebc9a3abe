"""A stage of a pipeline: threads make the next pieces, in order and bounded in number, while the last one is used."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
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
