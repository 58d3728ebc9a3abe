"""Bytes by key in a folder that several processes share, bounded in size: the LMDB store behind `feature_cache.py`.

On disk: `NAME-NNNNNN.lmdb`, each with LMDB's own lock file, and `NAME.lock`, of each store by its name. The highest number is the young
generation, which all write to; the one before it is old. When the young one is full, the next is begun and the old one is deleted; what is
found in the old one is copied to the young one. So what is not asked for goes, oldest first, nothing is ever deleted inside a
file (LMDB neither shrinks nor finds room for large values among freed pages), and both together never take more than the limit.

LMDB maps its files and dies of a damaged page, so a file that is there already is walked by a process of its own (`feature_probe.py`)
before it is opened; one that it dies of, or finds broken, is deleted. What the values hold is for the caller to check.
"""

from __future__ import annotations

import fcntl
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, RLock
from typing import Any

import lmdb

from crossgeo.engine.feature_probe import BROKEN, WHOLE

_LOCK_S = 2.0  # a writer that holds the lock for longer is stopped or stuck, and nobody waits for it
_PROBE_S = 30.0
_LOCK_FILE_BYTES = 1 << 14
_LEAST_BYTES = 1 << 19  # of a generation; LMDB itself needs some pages
_PAGE_BYTES = 4096
_PAGE_HEAD_BYTES = 16 + 64  # LMDB's, and whatever the value begins with
_ENTRY_BYTES = 128  # of a key, in a leaf that is half full
_SPARE_BYTES = 64 * _PAGE_BYTES  # LMDB's own pages, and those that a change writes anew before the old ones are free
_DAMAGED = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError, lmdb.VersionMismatchError, lmdb.PanicError)


class Unusable(Exception):
    """The folder cannot serve (unwritable, full, forked, stuck); the text says why."""


@dataclass(frozen=True)
class _Generation:
    number: int
    inode: int
    environment: Any


_sharing = Lock()


class FeatureStore:
    """Get and put bytes by 32-byte keys; safe for threads, and for processes that opened it themselves.

    What goes wrong is raised as `Unusable`; a folder that is busy is a miss, or a value not kept. So is, for all threads but the one that
    met it first, a file that is being probed. A process may open an LMDB file only once, so those who ask for the same folder through
    `shared` get the same store.
    """

    @classmethod
    def shared(cls, folder: Path, limit_bytes: int, name: str) -> FeatureStore:
        """Return the store of a folder and name; the limit is that of whoever opened it first. Each who asked closes it."""
        with _sharing:
            place = folder.resolve(), name
            store = _shared.get(place)
            if store is None:
                store = _shared[place] = cls(folder, limit_bytes, name)
            store._users += 1
            return store

    def __init__(self, folder: Path, limit_bytes: int, name: str) -> None:
        """Open a folder, which is made where it is missing; `limit_bytes` is for both generations, at least 1 MiB.

        Stores of other names in it are left alone.
        """
        self.folder, self.name = folder, name
        self._numbered = re.compile(rf"{re.escape(name)}-(\d{{6,}})\.lmdb")
        self.damaged = 0  # generations that were deleted for it
        self._half = _half(limit_bytes)
        self._lock, self._pid = RLock(), os.getpid()
        self._probing = Lock()  # held for as long as a probe takes, which nobody waits for
        self._held, self._users, self._closed = False, 0, False
        self._generations: list[_Generation] = []  # the young one first
        with self._usable():
            folder.mkdir(parents=True, exist_ok=True, mode=0o700)

    def get(self, key: bytes) -> bytes | None:
        """Return a value, None where there is none."""
        with self._usable():
            self._refresh()
        with self._lock, self._usable():
            for generation in list(self._generations):
                value = self._read(generation, key)
                if value is not None:
                    if generation is not self._generations[0]:
                        self._write(key, value)
                    return value
        return None

    def has(self, key: bytes) -> bool:
        """Say whether there is a value, whole or not."""
        with self._usable():
            self._refresh()
        with self._lock, self._usable():
            return any(self._read(generation, key, buffers=True) is not None for generation in list(self._generations))

    def put(self, key: bytes, value: bytes) -> bool:
        """Keep a value, the first of its key; False where it is too large or the folder is busy."""
        for _ in range(2):  # again where another process has begun a generation meanwhile
            with self._usable():
                self._refresh()
            with self._lock, self._usable():
                if self._write(key, value):
                    return True
                if not self._unopened():
                    break
        return False

    def distrust(self, key: bytes) -> None:
        """Delete the generations that hold a value which turned out to be damaged.

        The value alone cannot be deleted: LMDB would believe what a page beside it says of how many pages to free.
        """
        with self._lock, self._usable():
            for generation in list(self._generations):
                if self._read(generation, key) is not None:
                    self._discard(generation)

    @property
    def size_bytes(self) -> int:
        """What the folder's files of features take on disk; 0 where the folder is gone."""
        try:
            return sum(_size(path) for path in self._files().values())
        except FileNotFoundError:
            return 0

    def close(self) -> None:
        """Let go of the files once all who share it have."""
        with _sharing, self._lock:
            self._users -= 1
            if self._users > 0:
                return
            for place in [place for place, store in _shared.items() if store is self]:
                del _shared[place]
            self._closed = True
            if os.getpid() == self._pid:
                for generation in self._generations:
                    generation.environment.close()
                self._generations = []

    def _read(self, generation: _Generation, key: bytes, *, buffers: bool = False) -> bytes | None:
        """A value; a buffer of it, which is nothing once this has returned but something that is not None, saves reading it."""
        try:
            with generation.environment.begin(buffers=buffers) as transaction:
                value: bytes | None = transaction.get(key)
                return value
        except lmdb.MapResizedError:  # another process gave it a higher limit
            generation.environment.set_mapsize(0)
            return None
        except _DAMAGED:
            self._discard(generation)
            return None

    def _write(self, key: bytes, value: bytes) -> bool:
        if self._closed or len(value) > self._half // 4:
            return False
        if self._unopened():
            return False  # beside a file that is still being probed the next would be begun, and the one before it deleted
        with self._locked() as held:
            if not held:
                return False
            for _ in range(3):
                if self._unopened():
                    return False
                if not self._generations:
                    self._begin()
                young = self._generations[0]
                try:
                    with young.environment.begin(write=True) as transaction:
                        transaction.put(key, value, overwrite=False)
                    return True
                except lmdb.MapFullError:
                    self._begin()
                except lmdb.MapResizedError:
                    young.environment.set_mapsize(0)
                except _DAMAGED:
                    self._discard(young)
        return False

    def _begin(self) -> None:
        """Begin the next generation, unless another process has, and delete all but the young one of now; the lock is held."""
        files = self._files()
        number = max(files, default=0) + 1
        if not self._generations or self._generations[0].number == number - 1:
            for old in sorted(files)[:-1]:
                _remove(files[old])
            path = self.folder / f"{self.name}-{number:06d}.lmdb"
            environment = self._open(path, create=True)
            self._generations.insert(0, _Generation(number, path.stat().st_ino, environment))
        self._drop_deleted()

    def _refresh(self) -> None:
        """Open what others began and close what others deleted; the lock is not held, since others are not to wait for a probe."""
        with self._lock:
            self._drop_deleted()
            new = self._unopened()
        if new and self._probing.acquire(blocking=False):
            try:
                for number, path in new.items():
                    self._admit(number, path)
            finally:
                self._probing.release()

    def _drop_deleted(self) -> None:
        files = self._newest()
        kept = [one for one in self._generations if one.number in files and _inode(files[one.number]) == one.inode]
        for generation in self._generations:
            if generation not in kept:
                generation.environment.close()
        self._generations = kept

    def _unopened(self) -> dict[int, Path]:
        """Files of this store that are there and not open, by number."""
        known = {generation.number for generation in self._generations}
        return {} if self._closed else {number: path for number, path in self._newest().items() if number not in known}

    def _admit(self, number: int, path: Path) -> None:
        """Open a generation that is there already, unless it is gone, busy or damaged."""
        with _flocked(self._lock_path) as held:  # not `_locked`, which is for those who hold the lock of this process
            inode = _inode(path)
            if not held or inode is None:
                return
            if not self._probe(path):
                self.damaged += 1
                _remove(path)
                return
            with self._lock:
                if number in self._unopened():
                    self._generations.append(_Generation(number, inode, self._open(path, create=False)))
                    self._generations.sort(key=lambda generation: -generation.number)

    def _probe(self, path: Path) -> bool:
        # -P: with -m alone, modules in the current folder would be imported first.
        command = [sys.executable, "-P", "-m", "crossgeo.engine.feature_probe", str(path.absolute())]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=_PROBE_S, check=False)
        except subprocess.TimeoutExpired:
            return False  # pages that lead in a circle
        if done.returncode == WHOLE:
            return True
        if done.returncode < 0 or done.returncode == BROKEN:
            return False
        raise Unusable(f"{path.name} could not be looked at ({(done.stderr.strip().splitlines() or ['no reason given'])[-1]})")

    def _open(self, path: Path, *, create: bool) -> Any:
        if create:
            # LMDB maps its lock file as a hole and dies of touching it on a full disk.
            handle = os.open(path.with_name(path.name + "-lock"), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
            try:
                os.write(handle, bytes(_LOCK_FILE_BYTES))
            finally:
                os.close(handle)
        # Nothing is synced: a power cut may damage the file, which is then noticed like any other damage.
        return lmdb.open(str(path), map_size=self._half, subdir=False, create=create, mode=0o600, sync=False, readahead=False)

    def _discard(self, generation: _Generation) -> None:
        self.damaged += 1
        self._generations.remove(generation)
        generation.environment.close()
        with self._locked() as held:
            path = self._files().get(generation.number)
            if held and path is not None and _inode(path) == generation.inode:
                _remove(path)

    def _newest(self) -> dict[int, Path]:
        files = self._files()
        return {number: files[number] for number in sorted(files)[-2:]}

    def _files(self) -> dict[int, Path]:
        found = ((self._numbered.fullmatch(name), name) for name in os.listdir(self.folder))  # noqa: PTH208  (names alone, many times a second)
        return {int(match[1]): self.folder / name for match, name in found if match}

    @contextmanager
    def _usable(self) -> Iterator[None]:
        """Raise `Unusable` for what LMDB and the disk say."""
        if os.getpid() != self._pid:
            raise Unusable("this process was forked from the one that opened it")
        try:
            yield
        except lmdb.Error as error:
            raise Unusable(f"LMDB: {error}") from error
        except OSError as error:
            raise Unusable(error.strerror or str(error)) from error

    @contextmanager
    def _locked(self) -> Iterator[bool]:
        """Hold the folder's lock, which the system drops when its holder ends; gives False where another holds it for long."""
        if self._held:
            yield True
            return
        try:
            with _flocked(self._lock_path) as self._held:
                yield self._held
        finally:
            self._held = False

    @property
    def _lock_path(self) -> Path:
        return self.folder / f"{self.name}.lock"


def stored_bytes(value_bytes: int) -> int:
    """Return what a value takes on disk, in whole pages, with its share of those that lead to it."""
    return -(-(value_bytes + _PAGE_HEAD_BYTES) // _PAGE_BYTES) * _PAGE_BYTES + _ENTRY_BYTES


def surely_kept(limit_bytes: int, value_bytes: int) -> int:
    """Return how many values of a size stay for as long as no others come: as many as one of the two generations holds.

    Two hold twice as many, until what is found in the old one is copied to the young one, which then is full.
    """
    half = _half(limit_bytes)
    return 0 if value_bytes > half // 4 else max(0, half - _SPARE_BYTES) // stored_bytes(value_bytes)


def limit_to_keep(count: int, value_bytes: int) -> int:
    """Return the limit of a store that surely keeps so many values of a size."""
    return 2 * (max(4 * value_bytes, _LEAST_BYTES, count * stored_bytes(value_bytes) + _SPARE_BYTES) + 2 * _PAGE_BYTES)


def _half(limit_bytes: int) -> int:
    """The size of a generation."""
    return max(limit_bytes // 2, _LEAST_BYTES) // _PAGE_BYTES * _PAGE_BYTES


_shared: dict[tuple[Path, str], FeatureStore] = {}


@contextmanager
def _flocked(path: Path) -> Iterator[bool]:
    """Hold a file's lock; gives False where another holds it for long."""
    handle = os.open(path, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        yield _lock_within(handle, _LOCK_S)
    finally:
        os.close(handle)


def _lock_within(handle: int, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if time.monotonic() > until:
                return False
            time.sleep(0.005)


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _remove(path: Path) -> None:
    """Delete a generation: the data first, so that nobody opens it with another lock file."""
    path.unlink(missing_ok=True)
    path.with_name(path.name + "-lock").unlink(missing_ok=True)
