"""A live search: the newest generation of an index that others go on writing, each question pinned to one generation.

A newer generation is opened and warmed beside the one that answers, takes over for new questions, and the old one is closed when the last
question that it answers is done (as epochs reclaim what readers may still see; Fraser 2004, sec. 5.2.3).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Condition, Event, Lock, Thread
from types import TracebackType

from crossgeo.engine.search import GeoSearch
from crossgeo.errors import GeoError, UsageError
from crossgeo.indexer.manifest import pointer

EVERY_S = 5.0
_SELDOM_S = 300.0
_LOG = logging.getLogger("crossgeo.engine")


@dataclass(frozen=True)
class LiveStats:
    """Which generation answers, and what became of newer ones."""

    generation: int
    opened: int  # generations since the start, the first one counted
    draining: int  # older ones that still answer what they were asked
    users: int  # questions that any generation answers just now
    swap_s: float  # what opening and warming the last one took
    trouble: str | None  # why the generation that is current on disk is not the one that answers; None where it is


@dataclass(eq=False)
class _Opened:
    search: GeoSearch
    users: int = 0
    retired: bool = False


class LiveSearch:
    """Serves the current generation of an index folder; a context manager, safe for threads."""

    def __init__(
        self,
        path: Path,
        open: Callable[[Path], GeoSearch] = GeoSearch.open,
        warm: Callable[[GeoSearch], object] | None = GeoSearch.warm,
        every_s: float | None = EVERY_S,
    ) -> None:
        """Open the current generation, which must succeed; then look for a newer one every `every_s` seconds (None: only at `refresh`).

        `open` opens the first generation, and later ones share its models (`GeoSearch.renewed`); `warm` is called with each before it takes
        over. Raises what they do.
        """
        self.path = path
        self._open, self._warm = open, warm
        self._changed = Condition()
        self._refreshing = Lock()
        self._seen: str | None = None  # CURRENT as it was when the last opening began
        self._trouble: str | None = None
        self._swap_s, self._count = 0.0, 0
        self._draining: set[_Opened] = set()
        self._now: _Opened | None = None
        self._take(self._opened(pointer(path)))
        self._stop = Event()
        self._thread = None if every_s is None else Thread(target=self._look, args=(every_s,), name="generations", daemon=True)
        if self._thread is not None:
            self._thread.start()

    @contextmanager
    def current(self) -> Iterator[GeoSearch]:
        """Pin the newest generation that is open; it stays open until the block is left, whatever takes over meanwhile."""
        with self._changed:
            if self._now is None:
                raise UsageError(f"{self.path} is closed; open it again to ask about it")
            opened = self._now
            opened.users += 1
        try:
            yield opened.search
        finally:
            with self._changed:
                opened.users -= 1
                last = opened.retired and opened.users == 0
            if last:
                self._close(opened)

    def refresh(self) -> bool:
        """Open the generation that is current on disk, unless it is the one that answers, and let it take over; say whether it did.

        One that cannot be opened leaves the old one answering: nothing is raised, and `stats` tells why.
        """
        with self._refreshing:
            try:
                if self._now is None or (there := pointer(self.path)) == self._seen:
                    return False
                self._take(self._opened(there))
            except (GeoError, OSError) as error:
                with self._changed:
                    self._trouble = str(error)
                return False
            return True

    def stats(self) -> LiveStats:
        """Return what it has done, and does."""
        with self._changed:
            every = [*self._draining, *([self._now] if self._now is not None else [])]
            generation = -1 if self._now is None else self._now.search.index.generation
            users = sum(opened.users for opened in every)
            return LiveStats(generation, self._count, len(self._draining), users, self._swap_s, self._trouble)

    def close(self) -> None:
        """Look for no more generations, and return once every question that is pinned is done and all is closed."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        with self._refreshing:
            self._take(None)
        with self._changed:
            self._changed.wait_for(lambda: not self._draining)

    def _opened(self, there: str | None) -> _Opened:
        """Open and warm what is current on disk: anew at first, later with the models that answer already."""
        began = time.monotonic()
        search = self._open(self.path) if self._now is None else self._now.search.renewed()
        try:
            if self._warm is not None:
                self._warm(search)
        except BaseException:
            search.close()
            raise
        self._swap_s, self._seen = time.monotonic() - began, there
        return _Opened(search)

    def _take(self, opened: _Opened | None) -> None:
        """Answer from another generation from now on, and close the one before it unless it is pinned."""
        with self._changed:
            before, self._now = self._now, opened
            self._trouble = None
            self._count += opened is not None
            if before is None:
                return
            before.retired = True
            self._draining.add(before)
            idle = before.users == 0
        if idle:
            self._close(before)

    def _close(self, opened: _Opened) -> None:
        try:
            opened.search.close()
        finally:
            with self._changed:
                self._draining.discard(opened)
                self._changed.notify_all()

    def _look(self, every_s: float) -> None:
        """Refresh now and then; a generation that could not be opened is tried again more and more seldom, a further one at once."""
        wait_s, due, failed = every_s, 0.0, None
        while not self._stop.wait(every_s):
            there = self._there()
            if there is not None and there == failed and time.monotonic() < due:
                continue
            self._refresh_anyhow()
            if self.stats().trouble is None:
                wait_s, failed = every_s, None
            else:
                wait_s = min(2.0 * wait_s, _SELDOM_S) if there == failed else every_s
                failed, due = there, time.monotonic() + wait_s

    def _refresh_anyhow(self) -> None:
        """Refresh; whatever it raises is said, and does not end the thread, which looks for generations as long as the service runs."""
        try:
            self.refresh()
        except Exception as error:
            _LOG.exception("%s: a newer generation could not be opened", self.path)
            with self._changed:
                self._trouble = f"{type(error).__name__}: {error}"

    def _there(self) -> str | None:
        try:
            return pointer(self.path)
        except Exception:  # which `refresh` then says
            return None

    def __enter__(self) -> LiveSearch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
