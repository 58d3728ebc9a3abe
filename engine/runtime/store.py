"""Engines on disk: a folder each, named by all that decides what it is, with the checksums of its files and what its check found.

`<folder>/<key>/engine.json` and the back end's files. An engine is built in a folder beside and renamed into place, so none is half there.
Whoever builds or removes one holds `<folder>/<key>.lock`; whoever reads one does not, and looks again under the lock before it is damaged.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import platformdirs

from crossgeo import disk
from crossgeo.engine.runtime.half import code_digest
from crossgeo.errors import EngineError, StoreError

FORMAT = 1
ANY_CARD = "any card"  # the device of an engine that was built without one: nothing has checked it yet
_RECORD = "engine.json"
_MOST = 1 << 63  # of any number in a record


def engines_folder() -> Path:
    """Return the user's own folder of engines, which need not exist: of `$XDG_CACHE_HOME` on Linux, else as the system has it."""
    return platformdirs.user_cache_path("crossgeo", appauthor=False) / "engines"


@dataclass(frozen=True)
class Key:
    """What an engine is of and for: another of these is another engine."""

    half: str  # digest
    backend: str
    version: str  # of the back end
    precision: str
    largest: int  # batch
    device: str  # name and what it can do
    compatible: bool = False  # later versions of the back end run it, too; `version` is then the major one

    @property
    def digest(self) -> str:
        """Sixteen hexadecimal digits that name the engine's folder."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class Record:
    """What `engine.json` says. `refused` are the problems of an engine that does not answer as torch does, and is not used."""

    key: Key
    title: str  # of the half
    code: str  # digest of the modules that defined the network
    files: dict[str, str]  # SHA-256 by name
    figures: dict[str, float]
    refused: tuple[str, ...]
    built: str  # UTC
    size_bytes: int
    ground: str = ""  # what it was checked on; of records of earlier versions not known

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read an engine's record and compare its files; raises StoreError where one is missing or damaged, or the record is none."""
        record = cls.told(folder)
        if record.key.digest != folder.name:
            raise StoreError(f"{folder / _RECORD}: the record of another engine")
        for name, digest in record.files.items():
            try:
                found = disk.sha256_of(folder / name)
            except OSError as error:
                raise StoreError(f"{folder / name}: {error.strerror or error}") from error
            if found != digest:
                raise StoreError(f"{folder / name}: does not match its checksum")
        return record

    @classmethod
    def told(cls, folder: Path) -> Record:
        """Read an engine's record without looking at its files; raises StoreError for one of another format, and for none."""
        path = folder / _RECORD
        if folder.is_symlink():
            raise StoreError(f"{folder}: a link, and no engine")
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            if told.pop("format") != FORMAT:
                raise ValueError(f"another format than {FORMAT}, which this version knows")
            record = cls(**{**told, "key": Key(**told["key"]), "refused": tuple(_all(told["refused"], str))})
            _must_be_whole(record)
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise StoreError(f"{path}: no whole engine ({error})") from error
        return record


def _must_be_whole(record: Record) -> None:
    """Raise ValueError where a record's values are not of the types that they should have."""
    key = record.key
    _all([key.half, key.backend, key.version, key.precision, key.device, record.title, record.code, record.built, record.ground], str)
    _all([key.compatible], bool)
    _all([record.files, record.figures], dict)
    _all([*record.files, *record.files.values(), *record.figures], str)
    _all(list(record.figures.values()), (int, float))
    _all([key.largest, record.size_bytes], int)
    if any(abs(number) >= _MOST for number in (*record.figures.values(), key.largest, record.size_bytes)):
        raise ValueError("a number is too large")
    if any(Path(name).name != name for name in record.files):
        raise ValueError("a file lies elsewhere")


def _all(values: Any, kinds: type | tuple[type, ...]) -> list[Any]:
    """Return a list whose values are all of some types; raise ValueError for another. A bool is no number."""
    if not isinstance(values, list):
        raise ValueError(f"{str(values)[:40]} is no list")
    for value in values:
        if not isinstance(value, kinds) or (isinstance(value, bool) and kinds is not bool):
            raise ValueError(f"{str(value)[:40]} is of another type than it should be")
    return values


class EngineStore:
    """The engines of a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or engines_folder()

    def path(self, key: Key) -> Path:
        """Return where an engine lies, or would."""
        return self.folder / key.digest

    def find(self, key: Key, damaged: Callable[[str], None] | None = None) -> Record | None:
        """Return the record of a whole engine; None where there is none. A damaged one is removed, and `damaged` is told what is wrong.

        Waits where another process builds an engine in the place of a damaged one. Raises GeoError where the disk refuses.
        """
        path = self.path(key)
        with disk.guarded(path):
            if not os.path.lexists(path):
                return None
        with suppress(StoreError):
            return Record.read(path)
        with self._locked(key.digest):  # it may have been removed or built while it was read
            return self._find_alone(key, damaged)

    def _find_alone(self, key: Key, damaged: Callable[[str], None] | None) -> Record | None:
        """Return what `find` does, under the engine's lock."""
        path = self.path(key)
        with disk.guarded(path):
            if not os.path.lexists(path):
                return None
            try:
                return Record.read(path)
            except StoreError as error:
                self._drop(path)
                if damaged is not None:
                    damaged(str(error))
                return None

    def others(self, key: Key) -> list[Key]:
        """Return the keys of engines that differ in the back end's version or the device alone, whose files need not be whole."""
        found = []
        for path in sorted(self.folder.glob(f"*/{_RECORD}")):
            try:
                found.append(Record.told(path.parent).key)
            except StoreError:
                continue
        return [one for one in found if one != key and replace(one, version=key.version, device=key.device) == key]

    def make(
        self,
        key: Key,
        title: str,
        build: Callable[[Path], tuple[dict[str, float], tuple[str, ...]]],
        say: Callable[[str], None] | None,
        ground: str = "",
    ) -> Record:
        """Return an engine's record, building it where it is not there; of several processes one builds and the others wait.

        `build` writes files into a folder and returns the figures and the problems of its check, on `ground`. Raises LimitError for a full
        disk, InputError for a folder that cannot be written, and what `build` raises.
        """

        def waits() -> None:
            if say is not None:
                say(f"{title}: another process builds this engine; waiting for it")

        def damaged(line: str) -> None:
            if say is not None:
                say(f"{line}; it is built again")

        with disk.guarded(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(key.digest, waits):
            if (there := self._find_alone(key, damaged)) is not None:
                return there
            for left in self.folder.glob(f".{key.digest}.*"):  # of builds that were killed: who builds holds the lock
                shutil.rmtree(left, ignore_errors=True)
            part = self._beside(key.digest)
            try:
                with disk.guarded(part):
                    part.mkdir()
                figures, problems = build(part)
                with disk.guarded(part):
                    if problems:  # its files are of no use; that it was refused is
                        shutil.rmtree(part)
                        part.mkdir()
                    files = sorted(path for path in part.iterdir() if path.is_file())
                    record = Record(
                        key, title, code_digest(), {path.name: disk.sha256_of(path) for path in files}, figures, problems,
                        datetime.now(UTC).isoformat(timespec="seconds"), sum(path.stat().st_size for path in files), ground,
                    )  # fmt: skip
                    disk.write(part / _RECORD, (json.dumps({"format": FORMAT, **asdict(record)}, indent=1) + "\n").encode())
                    part.rename(self.path(key))
            finally:
                shutil.rmtree(part, ignore_errors=True)
            return record

    def discard(self, record: Record) -> None:
        """Remove an engine, unless it is gone or another was built in its place. Raises GeoError where the disk refuses."""
        path = self.path(record.key)
        with self._locked(record.key.digest), suppress(StoreError):
            if Record.told(path) == record:
                with disk.guarded(path):
                    self._drop(path)

    def copy_files(self, record: Record, folder: Path) -> None:
        """Copy the files of an engine into a folder; raises GeoError where they are gone or the disk refuses."""
        for name in record.files:
            with disk.guarded(folder):
                shutil.copyfile(self.path(record.key) / name, folder / name)

    def records(self) -> Iterator[tuple[Path, Record | StoreError]]:
        """Yield the folders of all engines with their records, or what is wrong with them."""
        if not self.folder.is_dir():
            return
        with disk.guarded(self.folder):
            found = sorted(self.folder.iterdir())
        for path in found:
            if not path.name.startswith(".") and (path.is_dir() or path.is_symlink()):
                try:
                    yield path, Record.read(path)
                except StoreError as error:
                    yield path, error

    def remove(self, wanted: Callable[[Record | StoreError], bool], everything: bool = False) -> tuple[int, int]:
        """Remove engines, and what killed builds left; return how many engines and bytes. What another process builds is left alone.

        `everything` takes the locks and the times that kernels took, too. Raises GeoError where the disk refuses.
        """
        count = freed = 0
        for path, record in list(self.records()):
            if not wanted(record):
                continue
            with self._unless_held(path.name) as ours:
                if ours and os.path.lexists(path):
                    with disk.guarded(path):
                        freed += 0 if path.is_symlink() else sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                        self._drop(path)
                    count += 1
        for left in list(self.folder.glob(".*.*")):
            with self._unless_held(left.name.split(".")[1]) as ours:
                if ours:
                    shutil.rmtree(left, ignore_errors=True)
        if everything:
            for times in self.folder.glob("*.timings*"):
                with disk.guarded(times):
                    times.unlink(missing_ok=True)
            for lock in list(self.folder.glob("*.lock")):
                with self._unless_held(lock.stem):
                    pass
        return count, freed

    def _beside(self, digest: str) -> Path:
        """Return a new name for a folder that is no engine yet, or none any more."""
        return self.folder / f".{digest}.{uuid.uuid4().hex}"

    def _drop(self, path: Path) -> None:
        """Remove an engine, under its lock, in one step for those who read it; raises OSError."""
        if path.is_symlink() or not path.is_dir():
            path.unlink()
            return
        gone = self._beside(path.name)
        path.rename(gone)
        shutil.rmtree(gone)

    @contextmanager
    def _unless_held(self, digest: str) -> Iterator[bool]:
        """Hold an engine's lock, and remove its file where no engine is left; yield False where another process holds it."""
        handle = self._lock(digest, None)
        if handle is None:
            yield False
            return
        try:
            yield True
            if not os.path.lexists(self.folder / digest):
                (self.folder / f"{digest}.lock").unlink(missing_ok=True)
        finally:
            os.close(handle)

    @contextmanager
    def _locked(self, digest: str, waits: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Hold an engine's lock, for which `waits` is called once where another process holds it."""
        handle = self._lock(digest, waits)
        assert handle is not None
        try:
            yield
        finally:
            os.close(handle)

    def _lock(self, digest: str, waits: Callable[[], None] | None) -> int | None:
        """Return the open file of an engine's lock; None where another process holds it and that is not waited for."""
        path = self.folder / f"{digest}.lock"
        told = False
        while True:
            with disk.guarded(path):
                handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                try:
                    fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError:
                    if waits is None:
                        os.close(handle)
                        return None
                    if not told:
                        waits()
                    told = True
                    fcntl.flock(handle, fcntl.LOCK_EX)
                with suppress(FileNotFoundError):
                    if os.path.samestat(os.fstat(handle), path.stat()):
                        return handle
            except BaseException:
                os.close(handle)
                raise
            os.close(handle)  # of a file that was removed while it was waited for


def refusal(record: Record) -> EngineError:
    """Return the error for an engine that was built and does not answer as torch does."""
    return EngineError(
        f"{record.title}: the engine of {record.key.backend} {record.key.precision} is refused: {'; '.join(record.refused)}; "
        "take another --precision or --runtime torch"
    )
