"""The journal of a batch: what is answered, on disk, so that a run that was stopped goes on."""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import IO

from crossgeo import disk
from crossgeo.engine.batch.progress import FAILED, status_of
from crossgeo.engine.output import Record
from crossgeo.errors import InputError, LimitError, LockedError, MismatchError

DEADLY = 2  # a photo with which alone so many runs died is not asked about again


class Journal:
    """A line of JSON for each event, after a first one that says what was asked of what; a torn last line is dropped.

    An item is named by its key, any text. `{"key", "record"}` is its answer, `{"key", "begun": "alone" | "beside"}` says that it was
    handed to the search, `{"stopped": true}` that a run gave up what it had begun, `{"died": true}` that one ended without a word, and
    `{"publishing": bool}` that outputs are being written, and that all are.
    Answers stay on disk: of each item only a digest of its key, its status and its place in the file are held.
    """

    def __init__(self, path: Path | None, identity: Record) -> None:
        """Name the file; None keeps answers no longer than the journal is open."""
        self.path = path
        self._identity = identity
        self._answered: dict[bytes, tuple[int, str]] = {}  # where in the file an item's line begins, and its status
        self._before: set[bytes] = set()  # answered by earlier runs, and not with an error
        self._died: dict[bytes, int] = {}  # how often a run died when it had begun an item and that alone; 0 beside others
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        try:
            if self.path is None:
                self._file = tempfile.TemporaryFile()
            else:
                self._file = _locked(self.path)
            self._load(self._file)
        except OSError as error:
            self.__exit__()
            raise self._unwritable(error) from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def status(self, key: str) -> str | None:
        """Return the status of an item that was answered, in this run or before; None of one that is to be asked about."""
        name = _digest(key)
        known = self._answered.get(name)
        return None if known is None or (known[1] == FAILED and name in self._before) else known[1]

    def deaths(self, key: str) -> int | None:
        """Return how often runs died of this item alone; 0 where one died of it or of others beside it, None where none did."""
        return self._died.get(_digest(key))

    def add(self, key: str, record: Record) -> None:
        """Keep one finished item; it survives the process from here on."""
        name = _digest(key)
        self._answered[name] = self._append({"key": key, "record": record}), status_of(record)
        self._before.discard(name)

    def begin(self, key: str, alone: bool) -> None:
        """Keep that an item is handed to the search, alone or beside others."""
        self._append({"key": key, "begun": "alone" if alone else "beside"})

    def bury(self, key: str) -> None:
        """Keep that an item, alone, ended so many workers elsewhere that the next run is not to try it."""
        for _ in range(DEADLY):
            self.begin(key, alone=True)
            self._append({"died": True})

    def stop(self) -> None:
        """Keep that what is begun is given up, and did no harm."""
        self._append({"stopped": True})

    def publish(self, begins: bool) -> None:
        """Keep that outputs are being written from here on, or that all are there."""
        self._append({"publishing": begins})

    def read(self, key: str) -> Record:
        """Return the record of an item that was answered."""
        assert self._file is not None
        self._file.seek(self._answered[_digest(key)][0])
        record: Record = json.loads(self._file.readline())["record"]
        return record

    def remove(self) -> None:
        """Remove the file: what it holds is elsewhere."""
        if self.path is not None:
            disk.unlink(self.path)

    def _append(self, entry: Record) -> int:
        assert self._file is not None
        with self._writing():
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps(entry, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            self._file.flush()
        return place

    def _load(self, file: IO[bytes]) -> None:
        first = file.readline()
        whole = file.tell()
        begun: dict[bytes, bool] = {}
        if first.endswith(b"\n"):
            self._check(first)
            while (line := file.readline()).endswith(b"\n"):
                entry = self._parse(line)
                if "stopped" in entry or "publishing" in entry:
                    begun.clear()
                elif "died" in entry:
                    self._bury(begun)
                else:
                    name = _digest(entry["key"])
                    if "record" in entry:
                        self._answered[name] = whole, status_of(entry["record"])
                        begun.pop(name, None)
                        self._died.pop(name, None)
                    else:
                        begun[name] = entry["begun"] == "alone"
                whole = file.tell()
        else:
            whole = 0
        self._before = set(self._answered)
        with self._writing():
            file.truncate(whole)
            if whole == 0:
                file.seek(0)
                file.write(json.dumps(self._identity, ensure_ascii=False).encode() + b"\n")
                file.flush()
            if begun:
                self._bury(begun)
                self._append({"died": True})

    def _bury(self, begun: dict[bytes, bool]) -> None:
        for name, alone in begun.items():
            self._died[name] = self._died.get(name, 0) + alone
        begun.clear()

    def _check(self, line: bytes) -> None:
        if self._parse(line) != self._identity:
            raise MismatchError(f"{self.path}: holds answers of another index, model or question; delete it or choose another output")

    def _parse(self, line: bytes) -> Record:
        try:
            entry: Record = json.loads(line)
        except ValueError as error:
            raise MismatchError(f"{self.path}: is not a journal of this program; delete it or choose another output") from error
        return entry

    @contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise self._unwritable(error) from error

    def _unwritable(self, error: OSError) -> InputError | LimitError:
        where = self.path or Path(tempfile.gettempdir())
        named = disk.named(where, error)
        if isinstance(named, InputError | LimitError):
            return named
        return LimitError(f"{where}: cannot be written ({error.strerror or error}); choose another output")


def beside(outs: Sequence[Path]) -> Path | None:
    """Return where the journal of a batch with these outputs lies; None without any."""
    return outs[0].with_name(f"{outs[0].name}.partial.jsonl") if outs else None


def holds(path: Path, identity: Record) -> bool:
    """Return whether a journal may be gone on with as what `identity` says; one that is not there may."""
    if not path.is_file():
        return True
    with path.open("rb") as file:
        first = file.readline()
    try:
        return not first.endswith(b"\n") or json.loads(first) == identity
    except ValueError:
        return False


def was_publishing(outs: Sequence[Path]) -> bool:
    """Return whether a run ended while it wrote these outputs, so that those that are there may be written again."""
    path = beside(outs)
    if path is None or not path.is_file():
        return False
    with path.open("rb") as file:
        said = [line for line in file if line.startswith(b'{"publishing": ') and line.endswith(b"\n")]
    return bool(said) and b"true" in said[-1]


def _digest(key: str) -> bytes:
    return blake2b(key.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _locked(path: Path) -> IO[bytes]:
    """Open the file for one process alone; raise LockedError where another has it."""
    while True:
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644), "r+b")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:  # removed by the process that had it, which is done
            pass
        except BlockingIOError as error:
            file.close()
            raise LockedError(f"{path}: another process writes this output; wait for it to end, or choose another name") from error
        except BaseException:
            file.close()
            raise
        file.close()
