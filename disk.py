"""Files written whole or not at all (temporary, fsync, rename, fsync of the folder), and what an error of the disk means to a user.

A kill, a full disk or a power cut leaves the old file or the new one, never half of one.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from crossgeo.errors import GeoError, InputError, LimitError, StoreError

FAULT: Callable[[str], None] | None = None
"""A test's hook, called with the name of each point that a build passes; it may raise or kill the process."""

CALL: Callable[[str, Path, Path | None], None] | None = None
"""A test's hook, called before each call to the file system with its kind, its path and of a rename the new one; it may raise OSError.

The kinds are look, list, read, write (a file, to its end), sync, rename, unlink, mkdir, rmtree and lock.
"""

SCARCE = {errno.EMFILE: "close other programs, or allow more open files (ulimit -n)", errno.ENFILE: "close other programs"}
SCARCE |= {errno.ENOMEM: "close other programs"}
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
_FORBIDDEN = {errno.EACCES, errno.EPERM, errno.EROFS}
_NO_SUCH_PLACE = {errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG, errno.ELOOP, errno.EINVAL}


def fault(point: str) -> None:
    """Mark a point of a build at which a test may make it fail."""
    if FAULT is not None:
        FAULT(point)


def called(kind: str, path: Path, target: Path | None = None) -> None:
    """Mark a call to the file system, before it is made."""
    if CALL is not None:
        CALL(kind, path, target)


@contextmanager
def guarded(path: Path) -> Iterator[None]:
    """Turn an OSError about `path` into LimitError (full), InputError (forbidden, or no place for a file) or StoreError (anything else)."""
    try:
        yield
    except OSError as error:
        raise named(path, error) or StoreError(
            f"{path}: {error.strerror or error}; check the disk, then run the same command again"
        ) from error


def named(path: Path, error: OSError, *, goes_on: bool = True) -> GeoError | None:
    """Return the error for what a user can mend about a path that was to be written; None where the disk itself is at fault.

    `goes_on` says that the same command, given again, keeps what is done already.
    """
    if error.errno in _FULL or error.errno in SCARCE:
        again = "run the same command again" + (": it goes on from there" if goes_on else "")
        return LimitError(f"{path}: {error.strerror or error}; {SCARCE.get(error.errno or 0, 'free some room')}, then {again}")
    if error.errno in _FORBIDDEN:
        return InputError(f"{path}: {error.strerror}; write somewhere else or change its permissions")
    if error.errno in _NO_SUCH_PLACE:
        return InputError(f"{path}: {error.strerror}; choose another path")
    return None


@contextmanager
def replacing(path: Path, *, durable: bool = True, among: str = "") -> Iterator[Path]:
    """Yield a temporary path beside `path` to be written whole; afterwards it is synced and takes the place of `path` in one step.

    What can be made again and carries its own checksum need not be `durable`: it is not synced, and a power cut may lose it.
    Where several may write the same file at once, each gives a word of its own as `among`, and the last one's whole file stays.
    """
    temporary = path.with_name(f"{path.name}{among and '.'}{among}.tmp")
    with guarded(path):
        try:
            unlink(temporary)
            called("write", temporary)
            yield temporary
            fault(f"{path.name}: written")
            if durable:
                sync(temporary)
                fault(f"{path.name}: synced")
            rename(temporary, path)
            fault(f"{path.name}: renamed")
            if durable:
                sync(path.parent)
        except BaseException:
            with suppress(OSError):  # what went wrong first is what the user should read
                unlink(temporary)
            raise


def write(path: Path, data: bytes, *, durable: bool = True, among: str = "") -> None:
    """Write a whole file in one step (see `replacing`); raise LimitError where the disk is full, leaving what was there."""
    with replacing(path, durable=durable, among=among) as temporary, temporary.open("wb") as file:
        file.write(data)


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file's bytes, as `sha256sum` gives it."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read(path: Path) -> bytes:
    """Return a file's bytes."""
    called("read", path)
    return path.read_bytes()


def listing(folder: Path) -> list[Path]:
    """Return what stands in a folder, by name."""
    called("list", folder)
    return sorted(folder.iterdir())


def sizes(folder: Path) -> dict[str, int]:
    """Return the files of a folder and their bytes; none where there is no such folder. Others may be writing and removing there."""
    called("list", folder)
    found: dict[str, int] = {}
    with suppress(FileNotFoundError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):
                if entry.is_file():
                    found[entry.name] = entry.stat().st_size
    return found


def rename(path: Path, target: Path) -> None:
    """Give a file or a folder another name in one step; a file takes the place of another."""
    called("rename", path, target)
    os.replace(path, target)  # noqa: PTH105  (os.replace is what the rules name)


def unlink(path: Path) -> None:
    """Remove a file; a missing one is fine."""
    called("unlink", path)
    path.unlink(missing_ok=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder and what it holds."""
    called("rmtree", folder)
    shutil.rmtree(folder)


def make_folder(folder: Path) -> None:
    """Make one folder, in a parent that is there; an existing one is fine."""
    called("mkdir", folder)
    folder.mkdir(exist_ok=True)


def sync(path: Path) -> None:
    """Ask the disk to keep a file or a folder as it is now."""
    called("sync", path)
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
