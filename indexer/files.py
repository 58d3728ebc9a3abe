"""Folders written whole or not at all, what stands at a path, room on the disk, and checksums; single files are `crossgeo.disk`'s."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from crossgeo import disk
from crossgeo.disk import fault, guarded, named, replacing, sync
from crossgeo.errors import GeoError, InputError, LimitError, StoreError

_PIECE_BYTES = 1 << 20
SEAL_BYTES = 32
_STILL_WRITTEN = {errno.ENOTEMPTY, errno.EEXIST, errno.ENOENT}  # a write that had begun came between the listing and the removal
_TRIES = 5
_NO_ROOM_BYTES = 1 << 18  # less than this left: the disk is full


def failed_write(path: Path, said: str) -> OSError:
    """Return the OSError for a library that failed to write `path` and says why in words alone (LMDB calls a full disk an I/O error)."""
    room_bytes = shutil.disk_usage(path.parent).free
    full = "No space left" in said or room_bytes < _NO_ROOM_BYTES
    scarce = next((number for number in disk.SCARCE if os.strerror(number) in said), errno.EIO)
    return OSError(errno.ENOSPC if full else scarce, said)


def need_room(path: Path, size_bytes: int) -> None:
    """Raise OSError (ENOSPC) unless the disk has room for a file: HDF5 and FAISS do not fail cleanly once a disk is full."""
    if shutil.disk_usage(path.parent).free < size_bytes * 1.02 + _NO_ROOM_BYTES:
        raise OSError(errno.ENOSPC, "No space left on device")


def damaged(path: Path, what: str) -> StoreError:
    """Return the error for a file of an index that is not what it should be; `what` follows its name."""
    return StoreError(f"{path} {what}; restore the file, try `geo index verify --repair`, or build the index again with --overwrite")


def unreadable(path: Path, error: OSError) -> GeoError:
    """Return the error for a file of an index that is there and cannot be read: it need not be damaged."""
    if error.errno in disk.SCARCE:
        return LimitError(f"{path}: {error.strerror}; {disk.SCARCE[error.errno or 0]}, then try again")
    if error.errno in (errno.EACCES, errno.EPERM):
        return InputError(f"{path}: {error.strerror}; change its permissions")
    return damaged(path, f"cannot be read: {error.strerror or error}")


def read(path: Path) -> bytes:
    """Return the bytes of a file of an index; raise what `unreadable` says where it does not give them."""
    try:
        return disk.read(path)
    except OSError as error:
        raise unreadable(path, error) from error


def check_readable(path: Path) -> int:
    """Return a file's size in bytes; raise what `unreadable` says where it does not open: libraries call a lack of handles damage."""
    try:
        disk.called("read", path)
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_size
    except OSError as error:
        raise unreadable(path, error) from error


def what_is(path: Path) -> Literal["file", "folder"] | None:
    """Say what stands at a path that a user named; None where nothing does. Raise InputError where the path cannot be looked at."""
    try:
        disk.called("look", path)
        return "folder" if stat.S_ISDIR(path.stat().st_mode) else "file"
    except FileNotFoundError:
        return None
    except NotADirectoryError as error:
        raise InputError(f"{path}: it leads through a file as if that were a folder; correct the path") from error
    except OSError as error:
        if error.errno in disk.SCARCE or error.errno == errno.EIO:
            raise unreadable(path, error) from error
        raise InputError(f"{path}: {error.strerror}; correct the path or its permissions") from error
    except ValueError as error:  # a zero byte
        raise InputError(f"{path!r} is no path ({error}); correct it") from error


def make_folder(path: Path) -> None:
    """Make a folder and its parents, and keep their names on disk; an existing one is left alone."""
    with guarded(path):
        if path.is_dir():
            return
        if not path.parent.is_dir():
            make_folder(path.parent)
        fault(f"{path.name}: folder")
        try:
            disk.make_folder(path)
        except FileNotFoundError as error:  # in a parent that is there: this file system has no room for folders, like /proc
            raise InputError(f"{path}: no folder can be made there; choose another path") from error
        sync(path.parent)


@contextmanager
def new_folder(path: Path, what: str) -> Iterator[Path]:
    """Yield a folder beside `path` to fill, which takes that name at the end and is gone after an error; `what` says what is written.

    Raises InputError when `path` exists or cannot be made, LimitError when the disk does not take what is written.
    """
    if what_is(path) is not None:
        raise InputError(f"{path}: exists already; name a folder that does not, or remove it")
    part = path.with_name(path.name + ".part")
    try:
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        yield part
        part.rename(path)
    except OSError as error:
        raise named(path, error, goes_on=False) or LimitError(
            f"{path}: the {what} could not be written: {error.strerror or error}; give a folder with room that you may write to"
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def move_folder(source: Path, target: Path) -> None:
    """Give a finished folder its final name in one step."""
    with guarded(target):
        sync(source)
        disk.rename(source, target)
        sync(target.parent)
        sync(source.parent)
        fault(f"{target.parent.name}: moved in")


def copy(source: Path, target: Path) -> None:
    """Copy a file, whole or not at all; raise LimitError where the disk is full."""
    with replacing(target) as temporary:
        need_room(target, source.stat().st_size)
        shutil.copyfile(source, temporary)


def remove(path: Path) -> None:
    """Remove a file or a folder and what it holds; a missing one is fine."""
    with guarded(path):
        if path.exists():
            fault(f"{path.name}: removing")
        if path.is_dir() and not path.is_symlink():
            disk.remove_tree(path)
        else:
            disk.unlink(path)


def take_away(folder: Path) -> None:
    """Remove a folder in which others may still be writing: under another name they do not find it, nor can they fill it again."""
    gone = folder.with_name(f"{folder.name}-gone")
    remove(gone)  # where a run was broken off here
    with guarded(folder):
        if not folder.is_dir():
            return
        disk.rename(folder, gone)
        fault(f"{folder.name}: removing")
        for left in reversed(range(_TRIES)):
            try:
                return disk.remove_tree(gone)
            except OSError as error:
                if not left or error.errno not in _STILL_WRITTEN:
                    raise


def keep_names(folder: Path) -> None:
    """See to it that what stands in a folder is there after a power cut, too; no folder is fine."""
    with guarded(folder):
        if folder.is_dir():
            sync(folder)


def listing(folder: Path) -> list[Path]:
    """Return what stands in a folder, by name; nothing where there is no folder."""
    with guarded(folder):
        return disk.listing(folder) if folder.is_dir() else []


def below(folder: Path, suffix: str) -> list[Path]:
    """Return the files with a suffix in a folder and its folders, by path."""
    with guarded(folder):
        disk.called("list", folder)
        return sorted(path for path in folder.rglob(f"*{suffix}") if not path.is_dir())


def checksum(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal; raise what `unreadable` says when it cannot be read."""
    digest = hashlib.sha256()
    try:
        disk.called("read", path)
        with path.open("rb", buffering=0) as file:
            while piece := file.read(_PIECE_BYTES):
                digest.update(piece)
    except OSError as error:
        raise unreadable(path, error) from error
    return digest.hexdigest()


def sealed(payload: bytes) -> bytes:
    """Return a piece of work as it is kept: its payload, then the SHA-256 of that."""
    return payload + hashlib.sha256(payload).digest()


def unsealed(data: bytes) -> bytes | None:
    """Return the payload of a piece that was kept; None where it is not whole."""
    payload, digest = data[:-SEAL_BYTES], data[-SEAL_BYTES:]
    return payload if hashlib.sha256(payload).digest() == digest else None
