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
    try:
        try:
            thread.start()
            yield (one.result() for one in iter(came.get, None))
        finally:
            stop.set()
    finally:
        stop.set()  # once more, where an interruption came before it could be
        _join(thread)


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
    what it holds open, and what making raised is raised. An interruption may come between any two steps here: the thread waits for nothing
    but a queue that takes its end at once, and no lock is held here that it needs.
    """
    passed: SimpleQueue[Future[T] | None] = SimpleQueue()
    room: SimpleQueue[bool] = SimpleQueue()  # True for each item that there is room for, False once nobody takes any more
    used: Future[R] = Future()
    broken: Future[T] = _failed(_Broken())

    def run() -> None:
        try:
            first = passed.get()  # before `use` opens anything: an interruption may have come while this thread was started
            if first is not broken:
                used.set_result(use(_taken(first, passed, room)))
        except BaseException as error:  # handed over, whatever it is
            used.set_exception(error)
        finally:
            room.put(False)

    for _ in range(most):
        room.put(True)
    thread = threading.Thread(target=run, name="while-made")
    try:
        thread.start()
        for item in items:
            if not room.get():
                break
            passed.put(_came(item))
        else:
            passed.put(None)
    finally:
        passed.put(broken)  # which nobody takes where all has come
        _join(thread)
    return used.result()


def _taken(first: Future[T] | None, passed: SimpleQueue[Future[T] | None], room: SimpleQueue[bool]) -> Iterator[T]:
    one = first
    while one is not None:
        room.put(True)
        yield one.result()
        one = passed.get()


def _join(thread: threading.Thread) -> None:
    """Wait for a thread's end, if it has begun."""
    if thread.ident is not None:
        thread.join()


def _came(item: T) -> Future[T]:
    one: Future[T] = Future()
    one.set_result(item)
    return one


def _failed(error: BaseException) -> Future[T]:
    one: Future[T] = Future()
    one.set_exception(error)
    return one
