"""One writer at a time: an advisory lock on the index's file LOCK, which the system drops when its holder ends, however it ends."""

from __future__ import annotations

import fcntl
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from crossgeo.disk import called, guarded, sync
from crossgeo.errors import LockedError

_MOST_BYTES = 300


@contextmanager
def locked(index: Path) -> Iterator[None]:
    """Hold the lock of an index; raise LockedError, naming the process that has it and its machine, where another does."""
    path = index / "LOCK"
    with guarded(path):
        called("lock", path)
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        with guarded(path):  # a file system without locks says so here
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                number, _, host = os.pread(handle, _MOST_BYTES, 0).decode("utf-8", errors="replace").strip().partition(" ")
                holder = f"process {number or 'unknown'}{host and ' on '}{host}"
                raise LockedError(f"{index} is being written by {holder}; wait for it to end, then run this again") from error
            os.ftruncate(handle, 0)
            os.pwrite(handle, f"{os.getpid()} {platform.node()}\n".encode()[:_MOST_BYTES], 0)
        with guarded(index):
            sync(index)  # a writer before may have been killed between its commit and this: what is read here must outlive a power cut
        yield
    finally:
        os.close(handle)
