"""Where the photos of a batch come from: folders, glob patterns, files, lists, and lines on stdin as they come."""

from __future__ import annotations

import glob
import queue
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from crossgeo.engine.batch.item import BatchItem, readable
from crossgeo.engine.batch.lists import LIST_SUFFIXES, read_list
from crossgeo.engine.batch.rows import item_of_line
from crossgeo.engine.photo import SUFFIXES
from crossgeo.errors import InputError
from crossgeo.indexer.files import what_is


def photos_in(folder: Path) -> list[BatchItem]:
    """List the photos of a folder and its subfolders by name; raise InputError when it is no folder or holds none."""
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = sorted(path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file())
    if not paths:
        raise InputError(f"{folder}: holds no photo; photos end in {', '.join(SUFFIXES)}")
    return [BatchItem(path, readable(path.relative_to(folder).as_posix())) for path in paths]


def items_of(sources: Sequence[str], say: Callable[[str], None] = lambda line: None) -> list[BatchItem]:
    """Return the photos that are named: by folders, glob patterns (`**` goes through folders), photos, and lists (`lists.read_list`).

    Names are paths below the one folder, as the one list has them, else as they were given. `say` is told what a list has
    that is not understood. Raises InputError for what is not there or holds no photo, UsageError for a list that is wrong all through.
    """
    if len(sources) == 1:
        return _of(sources[0], say)
    out = []
    for source in sources:
        above = Path(source)
        prefix = above if what_is(above) == "folder" else above.parent if above.suffix.lower() in LIST_SUFFIXES else None
        own = _of(source, say)
        out += own if prefix is None else [replace(item, name=readable((prefix / item.name).as_posix())) for item in own]
    return out


def items_from_lines(lines: Iterable[bytes]) -> Iterator[BatchItem | None]:
    """Yield the photos of lines as they come, None while none has: each line is a path or a JSON object as in a list of JSON lines.

    Paths are relative to the working folder. A line that is wrong is an item with that fault.
    """
    arrived: queue.Queue[BatchItem | BaseException | None] = queue.Queue(maxsize=1_000)

    def read() -> None:
        try:
            for number, line in enumerate(lines, start=1):
                if line.strip():
                    arrived.put(item_of_line(line, Path(), f"stdin, line {number}"))
        except BaseException as error:  # the reader's, who would wait for ever
            arrived.put(error)
        else:
            arrived.put(None)

    threading.Thread(target=read, name="stdin", daemon=True).start()
    while True:
        try:
            item = arrived.get_nowait()
        except queue.Empty:
            yield None
            continue
        if item is None:
            return
        if isinstance(item, BaseException):
            raise item
        yield item


def _of(source: str, say: Callable[[str], None]) -> list[BatchItem]:
    path = Path(source)
    there = what_is(path)
    if there == "folder":
        return photos_in(path)
    if there is None and glob.has_magic(source):
        return _matching(source)
    if path.suffix.lower() in LIST_SUFFIXES:
        return read_list(path, say)
    if there is None:
        raise InputError(f"{source}: no such photo, folder or list")
    return [BatchItem(path, readable(path.as_posix()))]


def _matching(pattern: str) -> list[BatchItem]:
    found = sorted(Path(name) for name in glob.glob(pattern, recursive=True))  # noqa: PTH207  (it may be absolute)
    photos = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not photos:
        held = f"{len(found)} files match it, and none of them" if found else "nothing that matches it"
        raise InputError(f"{pattern}: {held} is a photo; photos end in {', '.join(SUFFIXES)}")
    return [BatchItem(path, readable(path.as_posix())) for path in photos]
