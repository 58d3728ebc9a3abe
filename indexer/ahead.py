"""Stages of a pipeline: threads make the next pieces, in order and bounded in number, while the last one is used, or collect what comes."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from itertools import islice
from queue import Full, Queue, SimpleQueue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

WORKERS = max(1, min(8, os.cpu_count() or 1))


@contextmanager
def ahead(make: Callable[[T], R], items: Iterable[T], workers: int = WORKERS, most: int | None = None) -> Iterator[Iterator[R]]:
    """Give an iterator of `make(item)`, in the order of the items, each made by a thread up to `most` (2 `workers`) pieces before its turn.

    What `make` raises is raised at that piece's turn. At the end of the block, however it ends, no piece is begun any more and those that
    are being made are waited for: what they read may be closed then.
    """
    with ThreadPoolExecutor(workers, thread_name_prefix="ahead") as pool:
        try:
            yield _made(pool, make, iter(items), most or 2 * workers)
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
                came.put(_came(item))
    except BaseException as error:  # handed over, whatever it is
        came.put(_failed(error))
    came.put(None)


class _Broken(BaseException):
    """Ends what `while_made` runs where no more items come; not to be taken for what goes wrong with a file."""


def while_made(items: Iterable[T], use: Callable[[Iterator[T]], R], most: int = 2) -> R:
    """Return `use` of an iterator of items, in a thread of its own, while the next items are made here, up to `most` before their turn.

    What `use` raises is raised here once the item at hand is made. Where making fails, `use` is ended by its iterator, so that it closes
    what it holds open, and what making raised is raised.
    """
    passed: Queue[Future[T] | None] = Queue(most)
    used: Future[R] = Future()
    taken = (one.result() for one in iter(passed.get, None))
    thread = threading.Thread(target=_run, args=(used, lambda: use(taken)), name="while-made")
    thread.start()
    try:
        for item in items:
            if not _passed(passed, _came(item), used):
                break
        else:
            _passed(passed, None, used)
    except BaseException:
        _passed(passed, _failed(_Broken()), used)
        raise
    finally:
        thread.join()
    return used.result()


def _run(out: Future[R], make: Callable[[], R]) -> None:
    try:
        out.set_result(make())
    except BaseException as error:  # handed over, whatever it is
        out.set_exception(error)


def _passed(queue: Queue[Future[T] | None], one: Future[T] | None, used: Future[R]) -> bool:
    """Put one into a queue once there is room; False where nobody takes any more."""
    while not used.done():
        try:
            queue.put(one, timeout=0.05)
            return True
        except Full:
            continue
    return False


def _came(item: T) -> Future[T]:
    one: Future[T] = Future()
    one.set_result(item)
    return one


def _failed(error: BaseException) -> Future[T]:
    one: Future[T] = Future()
    one.set_exception(error)
    return one
