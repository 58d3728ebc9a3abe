"""Where the workers of a cluster leave what they made: a folder that all of them see, or storage that speaks S3 or the like.

What is kept is a payload followed by its SHA-256, which is checked on reading. It appears whole under its name or not at all, whoever else
writes the same name at the same time: names say all that decides the content, so any of them will do.
"""

from __future__ import annotations

import importlib
import re
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from crossgeo import disk
from crossgeo.errors import GeoError, InputError, LimitError, StoreError, UsageError
from crossgeo.indexer import files

_MORE = "pip install 'crossgeo[cluster]'"
_SECRET_OPTION = re.compile(r"([?&][^=&]*(?:key|secret|sig|token|password)[^=&]*=)[^&]*", re.IGNORECASE)


class ShardStore(Protocol):
    """Payloads by name; a name may have one folder before a slash."""

    where: str  # `open_store` of it opens the same one on any node

    @property
    def shown(self) -> str:
        """Return it as it may be shown: without keys."""
        ...

    def check(self) -> None:
        """Raise InputError unless it is there for this process."""
        ...

    def put(self, name: str, payload: bytes) -> None:
        """Keep a payload; raise LimitError where there is no room, StoreError where it fails otherwise."""
        ...

    def get(self, name: str) -> bytes | None:
        """Return a payload; None where there is none, or none that is whole."""
        ...

    def sizes(self, folder: str) -> dict[str, int]:
        """Return how many bytes the payload under each name of a folder seems to have; whether it is whole, only `get` finds out."""
        ...

    def remove_all(self, folder: str) -> None:
        """Remove all names of a folder; a missing one is fine."""
        ...


def open_store(where: str) -> ShardStore:
    """Open a folder or a URL like s3://bucket/prefix; raise UsageError for a URL that nothing here understands."""
    if where.startswith("file://"):
        where = where.removeprefix("file://")
    return RemoteStore(where) if "://" in where else FolderStore(Path(where))


class FolderStore:
    """A folder that is there already: one that a worker had to make would be its node's own."""

    def __init__(self, root: Path) -> None:
        self._root = root.absolute()
        self.where = self.shown = str(self._root)

    def check(self) -> None:
        """Raise InputError unless the folder is there."""
        if files.what_is(self._root) != "folder":
            raise InputError(
                f"{self._root}: no such folder here; all nodes must see the folder that they leave their work in: "
                "put the index on a file system that they share, or give --storage with such a folder or an address like s3://bucket/prefix"
            )

    def put(self, name: str, payload: bytes) -> None:
        """Write a file of its own, sync it and give it the name."""
        path = self._root / name
        self.check()
        with disk.guarded(path):
            disk.make_folder(path.parent)
        disk.write(path, files.sealed(payload), among=uuid.uuid4().hex[:12])

    def get(self, name: str) -> bytes | None:
        """Read a file; one that is not whole is removed."""
        path = self._root / name
        with disk.guarded(path):
            try:
                payload = files.unsealed(disk.read(path))
            except FileNotFoundError:
                return None
            if payload is None:
                disk.unlink(path)
        return payload

    def sizes(self, folder: str) -> dict[str, int]:
        """List a folder."""
        with disk.guarded(self._root / folder):
            return _payloads(folder, disk.sizes(self._root / folder).items())

    def remove_all(self, folder: str) -> None:
        """Remove a folder of names."""
        files.take_away(self._root / folder)


class RemoteStore:
    """Storage behind a URL, through pyarrow's file systems or, where those do not know the address, fsspec's.

    Keys to it come from where its own tools look for them: for S3 the environment, ~/.aws and the machine's role.
    """

    def __init__(self, url: str) -> None:
        self.where, self.shown = url, without_keys(url)
        self._system, root = _file_system(url)
        self._root = root.rstrip("/")

    def check(self) -> None:
        """Raise InputError unless the bucket, or what stands at the beginning of the path, answers."""
        from pyarrow.fs import FileType

        bucket = self._root.split("/", maxsplit=1)[0]
        with self._named(""):
            there = self._system.get_file_info(bucket)
        if there.type == FileType.NotFound:
            raise InputError(f"{self.shown}: there is no {bucket}; make it first, or correct the address")

    def put(self, name: str, payload: bytes) -> None:
        """Upload an object, which appears once it is whole."""
        disk.fault(f"{name}: uploading")
        with self._named(name), self._system.open_output_stream(self._path(name)) as stream:
            stream.write(files.sealed(payload))
        disk.fault(f"{name}: uploaded")

    def get(self, name: str) -> bytes | None:
        """Download an object; one that is not whole is removed."""
        with self._named(name):
            try:
                with self._system.open_input_stream(self._path(name)) as stream:
                    data: bytes = stream.read()
            except FileNotFoundError:
                return None
        payload = files.unsealed(data)
        if payload is None:
            with self._named(name):
                self._system.delete_file(self._path(name))
        return payload

    def sizes(self, folder: str) -> dict[str, int]:
        """List the objects of a folder, a thousand a call."""
        from pyarrow.fs import FileSelector, FileType

        with self._named(folder):
            found = self._system.get_file_info(FileSelector(self._path(folder), allow_not_found=True))
        return _payloads(folder, ((info.base_name, info.size or 0) for info in found if info.type == FileType.File))

    def remove_all(self, folder: str) -> None:
        """Delete all objects of a folder."""
        with self._named(folder):
            try:
                self._system.delete_dir(self._path(folder))
            except FileNotFoundError:
                return

    def _path(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _named(self, name: str) -> Iterator[None]:
        try:
            yield
        except PermissionError as error:
            raise InputError(f"{self.shown}: {_line(error, self.where)}; give the keys that may read and write there") from error
        except OSError as error:
            raise _failure(self.shown + (name and f": {name}"), _line(error, self.where)) from error


def _payloads(folder: str, sizes: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the names and the payloads' sizes of what is at least as large as a checksum."""
    return {f"{folder}/{name}": size - files.SEAL_BYTES for name, size in sizes if size >= files.SEAL_BYTES}


def without_keys(url: str) -> str:
    """Return an address as it may be shown: without what stands before its last @, or as the value of a secret option."""
    scheme, rest = url.split("://", maxsplit=1)
    return _SECRET_OPTION.sub(r"\1...", f"{scheme}://{rest.rpartition('@')[2]}")  # keys may hold slashes


def _failure(what: str, said: str) -> GeoError:
    if any(word in said for word in ("ACCESS_DENIED", "Access Denied", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch")):
        return InputError(f"{what}: {said}; give the keys that may read and write there")
    if any(word in said for word in ("QuotaExceeded", "XMinioStorageFull", "EntityTooLarge", "No space left")):
        return LimitError(f"{what}: {said}; make room there, then run the same command again: it goes on from there")
    return StoreError(f"{what}: {said}; check the address and the network, then run the same command again: it goes on from there")


def _line(error: BaseException, url: str) -> str:
    """Return what another library says in one line, in which it may quote the address."""
    said = getattr(error, "strerror", None) or str(error)
    return " ".join(said.replace(url, without_keys(url)).split())[:300]


def _file_system(url: str) -> tuple[Any, str]:
    """Return pyarrow's file system of a URL, and the path in it."""
    shown = without_keys(url)
    try:
        fs = importlib.import_module("pyarrow.fs")
    except ImportError as error:
        raise UsageError(f"{shown}: storage behind an address needs pyarrow; {_MORE}") from error
    try:
        system, path = fs.FileSystem.from_uri(url)
    except (ValueError, NotImplementedError, OSError) as error:  # pyarrow's errors of an address are ValueErrors
        try:
            fsspec = importlib.import_module("fsspec")
            other, path = fsspec.core.url_to_fs(url)
        except (ImportError, ValueError, OSError) as also:
            said = f"{_line(error, url)}; {_line(also, url)}"
            raise UsageError(f"{shown}: {said}; give a folder, or an address like s3://bucket/prefix") from also
        system = fs.PyFileSystem(fs.FSSpecHandler(other))
    if not path.strip("/"):
        raise UsageError(f"{shown} names no bucket; give an address like s3://bucket/prefix")
    return system, path
