"""Who uses which areas of a shelf, so that what nobody uses can be removed: several services may share a shelf, on one machine or many.

Each has a file there, `u-` and a name of its own, that it keeps locked as long as it lives, with the names of its areas. Who removes areas
reads all of them first, under the lock of the shelf's file LOCK, under which names are written, too. Where files cannot be locked nothing
is removed.
"""

from __future__ import annotations

import fcntl
import os
import time
import uuid
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Lock

from crossgeo import disk
from crossgeo.errors import GeoError
from crossgeo.indexer import files

SUPERSEDED_S = 3600.0  # without use: areas that a newer generation has done without since
UNUSED_S = 7 * 86400.0  # any: a service that was stopped, or is of another index, may want them again
_ABANDONED_S = 7200.0  # what is to be moved in and has not been touched
_LOCK, _USE, _AREA, _PART = "LOCK", "u-", "a-", ".part"


class ShelfUse:
    """What one service uses of a shelf; safe for threads."""

    def __init__(self, shelf: Path) -> None:
        """Say so on the shelf, which is made where it is not there; raise InputError where it cannot be."""
        self.shelf = shelf
        self._names, self._superseded, self._mutex = Counter[str](), set[str](), Lock()
        self._own = shelf / f"{_USE}{uuid.uuid4().hex}"
        self._handle: int | None = None
        files.make_folder(shelf)
        with suppress(OSError), self._alone():  # of no locks, or of a shelf that is only read
            self._handle = _locked(self._own, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def add(self, name: str) -> None:
        """From now on nobody removes an area, whether it is there already or not."""
        with self._mutex:
            self._names[name] += 1
            self._superseded.discard(name)
            try:
                if self._handle is not None:
                    with disk.guarded(self._own), self._alone():
                        self._say([name])
            except BaseException:
                self._names -= Counter([name])
                raise

    def drop(self, names: Iterable[str], superseded: bool) -> None:
        """Let go of areas, each as often as it was added; `superseded`: a newer generation does without them."""
        with self._mutex:
            names = list(names)
            self._names -= Counter(names)
            if superseded:
                self._superseded |= {name for name in names if name not in self._names}

    def tidy(self) -> None:
        """Mark what is used as used now, and remove what nobody has used for long; raise OSError or GeoError where that fails."""
        with self._mutex:
            if self._handle is None:
                return
            with self._alone(fcntl.LOCK_EX | fcntl.LOCK_NB):  # else another time
                self._say(self._names)
                used = set(self._names) | self._used_elsewhere()
                gone = [self._put_aside(path) for path in disk.listing(self.shelf) if self._is_over(path, used)]
        for path in gone:
            files.remove(path)

    def close(self) -> None:
        """Use nothing any more."""
        with self._mutex:
            if self._handle is not None:
                with suppress(OSError):
                    disk.unlink(self._own)
                os.close(self._handle)
                self._handle = None

    @contextmanager
    def _alone(self, how: int = fcntl.LOCK_EX) -> Iterator[None]:
        handle = _locked(self.shelf / _LOCK, how)
        try:
            yield
        finally:
            os.close(handle)

    def _say(self, fresh: Iterable[str]) -> None:
        """Write the names, and give some areas the time of now, which counts where locks of another machine are not seen."""
        assert self._handle is not None
        text = "\n".join(sorted(self._names)).encode()
        os.pwrite(self._handle, text, 0)
        os.ftruncate(self._handle, len(text))
        for name in fresh:
            with suppress(FileNotFoundError):  # it is yet to be put there
                os.utime(self.shelf / name)

    def _used_elsewhere(self) -> set[str]:
        """Names of what other services use; the files of those that have ended are removed."""
        used: set[str] = set()
        for path in disk.listing(self.shelf):
            if path.name.startswith(_USE) and path != self._own:
                try:
                    os.close(_locked(path, fcntl.LOCK_EX | fcntl.LOCK_NB))
                    disk.unlink(path)
                except BlockingIOError:
                    used |= set(disk.read(path).decode().split())
        return used

    def _is_over(self, path: Path, used: set[str]) -> bool:
        if path.name.endswith(_PART):
            return _idle_s(path) >= _ABANDONED_S
        if not path.name.startswith(_AREA) or path.name in used:
            return False
        return _idle_s(path) >= (SUPERSEDED_S if path.name in self._superseded else UNUSED_S)

    def _put_aside(self, path: Path) -> Path:
        """Give what is to be removed a name that nobody asks for, in one step."""
        self._superseded.discard(path.name)
        if path.name.endswith(_PART):
            return path
        aside = path.with_name(f"{path.name}.{uuid.uuid4().hex}{_PART}")
        disk.rename(path, aside)
        return aside


def remove_abandoned(area: Path) -> None:
    """Remove what makers of an area's files left that ended before they were done: what none of them has touched for long."""
    for path in files.listing(area):
        with suppress(OSError, GeoError):  # who made it may be about to move it in
            if path.name.endswith(_PART) and _idle_s(path) >= _ABANDONED_S:
                files.remove(path)


def _locked(path: Path, how: int) -> int:
    """Open and lock a file; raise BlockingIOError where another has it, and OSError where it cannot be locked at all."""
    disk.called("lock", path)
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, how)
    except BaseException:
        os.close(handle)
        raise
    return handle


def _idle_s(path: Path) -> float:
    """Seconds since a folder or a file in it was written, or since an area was said to be used."""
    return time.time() - max(float(one.stat().st_mtime) for one in (path, *(path.iterdir() if path.is_dir() else ())))
