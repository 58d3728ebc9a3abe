"""Batches: many photos through one search, resumable from a journal beside the output; a bad photo becomes an error row."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any

from crossgeo.engine.camera import Kind
from crossgeo.engine.output import Record, write_records, writer_for
from crossgeo.engine.photo import SUFFIXES, Photo
from crossgeo.engine.place import error_json
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError, LimitError, MismatchError, UsageError
from crossgeo.indexer.filters import Bounds

DECODE_AHEAD = 4  # photos held decoded before their turn
_ITEM_ERRORS = (InputError, LimitError, UsageError)  # the photo's own fault; a damaged index or missing weights stop the batch


@dataclass(frozen=True)
class BatchItem:
    """One photo to ask about; `name` is how answers call it."""

    path: Path
    name: str
    point: tuple[float, float] | None = None

    def key(self) -> list[Any]:
        """What makes an answer in the journal still true: name, size, time of change, point."""
        try:
            status = self.path.stat()
        except OSError:
            return [self.name, -1, -1, self.point and list(self.point)]
        return [self.name, status.st_size, status.st_mtime_ns, self.point and list(self.point)]


@dataclass(frozen=True)
class BatchReport:
    """How a batch ended."""

    total: int
    failed: int
    resumed: int  # taken from the journal of an earlier, interrupted run
    out: Path


@dataclass(frozen=True)
class BatchOptions:
    """What is asked of every photo, as `GeoSearch.query` takes it; part of the journal's identity."""

    top: int = 5
    heading_deg: float | None = None
    fov_deg: float | None = None
    height_m: float | None = None
    near: tuple[float, float] | None = None
    radius_m: float | None = None
    use_exif_position: bool = False
    tilt_deg: float | None = None
    kind: Kind | None = None
    anyway: bool = False
    bounds: Bounds | None = None
    polygon: dict[str, Any] | None = None  # GeoJSON
    vintage: str | None = None


def photos_in(folder: Path) -> list[BatchItem]:
    """List the photos of a folder and its subfolders by name; raise InputError when it is no folder or holds none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"{folder}: holds no photo; photos end in {', '.join(SUFFIXES)}")
    return [BatchItem(path, path.relative_to(folder).as_posix()) for path in paths]


def run_batch(
    search: GeoSearch,
    items: Sequence[BatchItem],
    out: Path,
    options: BatchOptions | None = None,
    overwrite: bool = False,
    progress: Callable[[int, int, int], None] | None = None,
) -> BatchReport:
    """Ask about every item and write the answers to `out` in the items' order, in the format of its suffix.

    A run that is stopped, by Ctrl-C or `kill -9`, leaves `OUT.partial.jsonl`; the same call goes on from there and retries failed items.
    `progress(done, total, failed)` is called after each item. Raises UsageError for options that fit no photo, or when `out` exists and
    `overwrite` is not set, MismatchError when the journal beside it is of another index, model or question.
    """
    options = options or BatchOptions()
    o = options
    filters = o.bounds, o.polygon, o.vintage
    search.check(o.top, o.heading_deg, o.fov_deg, o.height_m, o.near, o.radius_m, o.use_exif_position, o.tilt_deg, o.kind, *filters)
    writer_for(out)
    if out.exists() and not overwrite:
        raise UsageError(f"{out}: exists already; choose another name or ask to overwrite it")
    if not out.parent.is_dir():
        raise InputError(f"{out.parent}: no such folder to write into")
    journal = Journal(out.with_name(f"{out.name}.partial.jsonl"), _identity(search, options))
    with journal:
        keys = [json.dumps(item.key()) for item in items]
        resumed = sum(key in journal.done for key in keys)
        todo = [(item, key) for item, key in zip(items, keys, strict=True) if key not in journal.done]
        done, failed = resumed, 0
        if progress and resumed:
            progress(done, len(items), failed)
        for item, key, photo in _decoded(todo):
            record = _ask(search, item, photo, options)
            failed += "error" in record
            journal.add(key, record)
            done += 1
            if progress:
                progress(done, len(items), failed)
        write_records(out, (journal.read(key) for key in keys))
    journal.path.unlink()
    return BatchReport(len(items), failed, resumed, out)


def _ask(search: GeoSearch, item: BatchItem, photo: Future[Photo], options: BatchOptions) -> Record:
    try:
        return search.query(photo.result(), point=item.point, **asdict(options)).to_json()
    except _ITEM_ERRORS as error:
        return error_json(item.name, error)


def _decoded(todo: Sequence[tuple[BatchItem, str]]) -> Iterator[tuple[BatchItem, str, Future[Photo]]]:
    """Yield items with their photos, read by a thread a few items ahead."""
    with ThreadPoolExecutor(1, thread_name_prefix="decode") as pool:
        waiting: list[tuple[BatchItem, str, Future[Photo]]] = []
        try:
            for item, key in todo:
                waiting.append((item, key, pool.submit(Photo.read, item.path, name=item.name)))
                if len(waiting) > DECODE_AHEAD:
                    yield waiting.pop(0)
            while waiting:
                yield waiting.pop(0)
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _identity(search: GeoSearch, options: BatchOptions) -> Record:
    return {"journal": 3, "index": search.index.manifest.hash, "models": search.models, "query": json.loads(json.dumps(asdict(options)))}


class Journal:
    """Finished items, a JSON line each after a first line that says what they are answers of; a torn last line is dropped.

    Answers stay on disk, only their places are held. Failed items are not in `done`.
    """

    def __init__(self, path: Path, identity: Record) -> None:
        self.path = path
        self.done: set[str] = set()
        self._identity = identity
        self._places: dict[str, int] = {}  # where in the file each item's line begins
        self._file: IO[bytes] | None = None

    def __enter__(self) -> Journal:
        try:
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

    def add(self, key: str, record: Record) -> None:
        """Keep one finished item; it survives the process from here on."""
        assert self._file is not None
        try:
            self._places[key] = self._file.seek(0, os.SEEK_END)
            self._file.write(json.dumps({"key": key, "record": record}, ensure_ascii=False, allow_nan=False).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            raise LimitError(f"{self.path}: cannot be written ({error.strerror or error}); free some space and run again") from error

    def read(self, key: str) -> Record:
        """Return the record of an item that was added or is done."""
        assert self._file is not None
        self._file.seek(self._places[key])
        record: Record = json.loads(self._file.readline())["record"]
        return record

    def _load(self, file: IO[bytes]) -> None:
        first = file.readline()
        whole = file.tell()
        if first.endswith(b"\n"):
            self._check(first)
            while (line := file.readline()).endswith(b"\n"):
                entry = self._parse(line)
                self._places[entry["key"]] = whole
                if "error" in entry["record"]:
                    self.done.discard(entry["key"])
                else:
                    self.done.add(entry["key"])
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
