"""Engines on disk: a folder each, named by all that decides what it is, with the checksums of its files and what its check found.

`<folder>/<key>/engine.json` and the back end's files. An engine is built in a folder beside and renamed into place, so none is half there.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import platformdirs

from crossgeo import disk
from crossgeo.engine.runtime.half import code_digest
from crossgeo.errors import EngineError, StoreError

FORMAT = 1
_RECORD = "engine.json"


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

    @classmethod
    def read(cls, folder: Path) -> Record:
        """Read an engine's record and compare its files; raises StoreError where one is missing or damaged, or the record is none."""
        path = folder / _RECORD
        try:
            record = cls.told(folder)
            for name, digest in record.files.items():
                if disk.sha256_of(folder / name) != digest:
                    raise StoreError(f"{folder / name}: does not match its checksum")
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise StoreError(f"{path}: no whole engine ({error})") from error
        return record

    @classmethod
    def told(cls, folder: Path) -> Record:
        """Read an engine's record without looking at its files; raises StoreError for another format, OSError and others for none."""
        path = folder / _RECORD
        told = json.loads(path.read_text())
        if told["format"] != FORMAT:
            raise StoreError(f"{path}: of format {told['format']}, and this version knows {FORMAT}")
        told.pop("format")
        return cls(**{**told, "key": Key(**told["key"]), "refused": tuple(told["refused"])})


class EngineStore:
    """The engines of a folder."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder or engines_folder()

    def path(self, key: Key) -> Path:
        """Return where an engine lies, or would."""
        return self.folder / key.digest

    def find(self, key: Key, say: Callable[[str], None] | None = None) -> Record | None:
        """Return the record of a whole engine; None where there is none. A damaged one is removed, and that is said."""
        path = self.path(key)
        with disk.guarded(path):
            if not path.is_dir():
                return None
        try:
            return Record.read(path)
        except StoreError as error:
            if say is not None:
                say(f"{error}; it is built again")
            self.discard(key)
            return None

    def others(self, key: Key) -> list[Key]:
        """Return the keys of engines that differ in the back end's version or the device alone, whose files need not be whole."""
        found = []
        for path in sorted(self.folder.glob(f"*/{_RECORD}")):
            try:
                found.append(Record.told(path.parent).key)
            except (OSError, ValueError, KeyError, TypeError, StoreError):
                continue
        return [one for one in found if one != key and replace(one, version=key.version, device=key.device) == key]

    def make(
        self, key: Key, title: str, build: Callable[[Path], tuple[dict[str, float], tuple[str, ...]]], say: Callable[[str], None] | None
    ) -> Record:
        """Return an engine's record, building it where it is not there; of several processes one builds and the others wait.

        `build` writes files into a folder and returns the figures and the problems of its check. Raises LimitError for a full disk,
        InputError for a folder that cannot be written, and what `build` raises.
        """
        with disk.guarded(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
        with self._locked(key, title, say):
            if (there := self.find(key, say)) is not None:
                return there
            part = self.folder / f".{key.digest}.{os.getpid()}"
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
                        datetime.now(UTC).isoformat(timespec="seconds"), sum(path.stat().st_size for path in files),
                    )  # fmt: skip
                    disk.write(part / _RECORD, (json.dumps({"format": FORMAT, **asdict(record)}, indent=1) + "\n").encode())
                    part.rename(self.path(key))
            finally:
                shutil.rmtree(part, ignore_errors=True)
            return record

    def discard(self, key: Key) -> None:
        """Remove an engine, which need not be there."""
        shutil.rmtree(self.path(key), ignore_errors=True)

    def records(self) -> Iterator[tuple[Path, Record | StoreError]]:
        """Yield the folders of all engines with their records, or what is wrong with them."""
        if not self.folder.is_dir():
            return
        for path in sorted(self.folder.iterdir()):
            if path.is_dir() and not path.name.startswith("."):
                try:
                    yield path, Record.read(path)
                except StoreError as error:
                    yield path, error

    def remove(self, wanted: Callable[[Record | StoreError], bool]) -> tuple[int, int]:
        """Remove engines, and what killed builds left; return how many engines and bytes. Raises GeoError where the disk refuses."""
        count = freed = 0
        for path, record in list(self.records()):
            if wanted(record):
                freed += sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
                with disk.guarded(path):
                    shutil.rmtree(path)
                count += 1
        for path in self.folder.glob(".*") if self.folder.is_dir() else ():
            if path.is_dir() and not _alive(path.suffix.removeprefix(".")):
                shutil.rmtree(path, ignore_errors=True)
        return count, freed

    @contextmanager
    def _locked(self, key: Key, title: str, say: Callable[[str], None] | None) -> Iterator[None]:
        path = self.folder / f"{key.digest}.lock"
        with disk.guarded(path):
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        try:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if say is not None:
                    say(f"{title}: another process builds this engine; waiting for it")
                fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _alive(process: str) -> bool:
    return process.isdigit() and Path(f"/proc/{process}").exists()


def refusal(record: Record) -> EngineError:
    """Return the error for an engine that was built and does not answer as torch does."""
    return EngineError(
        f"{record.title}: the engine of {record.key.backend} {record.key.precision} is refused: {'; '.join(record.refused)}; "
        "take another --precision or --runtime torch"
    )
