"""Writing many answers to files, each in the format that its suffix names, published whole or not at all (docs/formats.md, Answers)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from crossgeo import disk
from crossgeo.engine.output.rows import Record
from crossgeo.errors import InputError, LimitError, StoreError, UsageError

__all__ = ["SUFFIXES", "Record", "check_output", "check_outputs", "write_objects", "write_records"]

_FORMATS = {  # by suffix: module, what its functions write, what it needs beyond the program's own libraries
    ".geojson": ("text", "geojson", ()),
    ".json": ("text", "geojson", ()),
    ".jsonl": ("text", "jsonl", ()),
    ".ndjson": ("text", "jsonl", ()),
    ".csv": ("text", "csv", ()),
    ".kml": ("kml", "kml", ()),
    ".gpx": ("gpx", "gpx", ()),
    ".parquet": ("geoparquet", "geoparquet", ("pyarrow",)),
    ".geoparquet": ("geoparquet", "geoparquet", ("pyarrow",)),
    ".gpkg": ("geopackage", "geopackage", ("pyogrio",)),
}
SUFFIXES = tuple(_FORMATS)


def check_output(path: Path) -> None:
    """Raise UsageError for a name whose suffix is no format, or one whose library is not installed."""
    suffix = path.suffix.lower()
    if suffix not in _FORMATS:
        raise UsageError(f"{path}: no format is called {suffix or 'nothing'!r}; end the name in one of {', '.join(SUFFIXES)}")
    for library in _FORMATS[suffix][2]:
        if find_spec(library) is None:
            raise UsageError(f"{path}: {suffix} files are written by {library}, which is not installed: pip install 'crossgeo[vectors]'")


def check_outputs(paths: Sequence[Path], overwrite: bool) -> None:
    """Raise for files that cannot all be written: what `check_output` raises, UsageError for one that exists, unless told to `overwrite`,
    or comes twice, InputError for one in no folder."""
    for path in paths:
        check_output(path)
        if path.exists() and not overwrite:
            raise UsageError(f"{path}: exists already; choose another name, or ask to overwrite it")
        if not path.parent.is_dir():
            raise InputError(f"{path.parent}: no such folder to write into")
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError(f"{paths[0]}: one file cannot take two outputs; give each its own name")


def write_records(path: Path, records: Iterable[Record]) -> None:
    """Write records in the format of the path's suffix; the file appears only when it is complete and on disk, in place of an older one.

    Raises what `check_output` raises, LimitError when the disk is full.
    """
    _write(path, records, "")


def write_objects(path: Path, objects: Iterable[Record]) -> None:
    """Write what `sequences.merge_objects` returns, as `write_records` does records: each object once, its outline as geometry."""
    _write(path, objects, "_objects")


def _write(path: Path, rows: Iterable[Record], of: str) -> None:
    check_output(path)
    module, name, _ = _FORMATS[path.suffix.lower()]
    write: Callable[[Path, Iterable[Record]], None] = getattr(import_module(f"crossgeo.engine.output.{module}"), f"write_{name}{of}")
    try:
        with disk.replacing(path) as temporary:
            write(temporary, rows)
    except StoreError as error:  # of an index it would be damage; here it is a disk that does not take a file
        raise LimitError(f"{path}: cannot be written; look at the disk, or choose another place") from error
