"""The journal of a batch: what is answered, on disk, so that a run that was stopped goes on."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import IO

from crossgeo.engine.batch.progress import FAILED, status_of
from crossgeo.engine.output import Record
from crossgeo.errors import LimitError, MismatchError


class Journal:
    """Finished items, a JSON line each after a first line that says what they are answers of; a torn last line is dropped.

    Answers stay on disk, only their places are held. `done` has the statuses of what was answered before, without failed items.
    """

    def __init__(self, path: Path | None, identity: Record) -> None:
        """Name the file; None keeps answers no longer than the journal is open."""
        self.path = path
        self.done: dict[str, str] = {}
        self._identity = identity
        self._places: dict[str, int] = {}  # where in the file each item's line begins
        self._added: set[str] = set()
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        try:
            if self.path is None:
                self._file = tempfile.TemporaryFile()
            else:
                self._file = self.path.open("r+b" if self.path.exists() else "x+b")
            self._load(self._file)
        except OSError as error:
            self.__exit__()
            raise LimitError(f"{self.path}: cannot be written ({error.strerror or error}); choose another output") from error
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        if self._file is not None:
            self._file.close()

    def __contains__(self, key: str) -> bool:
        """Whether an item was answered in this run or is done."""
        return key in self.done or key in self._added

    def add(self, key: str, record: Record) -> None:
        """Keep one finished item; it survives the process from here on."""
        assert self._file is not None
        try:
            place = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps({"key": key, "record": record}, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise LimitError(f"{self.path}: cannot be written ({error.strerror or error}); free some space and run again") from error
        self._places[key] = place
        self._added.add(key)

    def read(self, key: str) -> Record:
        """Return the record of an item that was added or is done."""
        assert self._file is not None
        self._file.seek(self._places[key])
        record: Record = json.loads(self._file.readline())["record"]
        return record

    def remove(self) -> None:
        """Remove the file: what it holds is elsewhere."""
        if self.path is not None:
            self.path.unlink()

    def _load(self, file: IO[bytes]) -> None:
        first = file.readline()
        whole = file.tell()
        if first.endswith(b"\n"):
            self._check(first)
            while (line := file.readline()).endswith(b"\n"):
                entry = self._parse(line)
                key, status = entry["key"], status_of(entry["record"])
                self._places[key] = whole
                if status == FAILED:
                    self.done.pop(key, None)
                else:
                    self.done[key] = status
                whole = file.tell()
        else:
            whole = 0
        file.truncate(whole)
        if whole == 0:
            file.seek(0)
            file.write(json.dumps(self._identity, ensure_ascii=False).encode() + b"\n")
            file.flush()

    def _check(self, line: bytes) -> None:
        if self._parse(line) != self._identity:
            raise MismatchError(f"{self.path}: holds answers of another index, model or question; delete it or choose another output")

    def _parse(self, line: bytes) -> Record:
        try:
            entry: Record = json.loads(line)
        except ValueError as error:
            raise MismatchError(f"{self.path}: is not a journal of this program; delete it or choose another output") from error
        return entry
