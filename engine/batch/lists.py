"""Lists of photos: CSV, Parquet, JSON lines, or a path a line; photos are relative to the list's folder."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from crossgeo.engine.batch.item import BatchItem
from crossgeo.engine.batch.rows import EXTRA, KNOWN, item_of, item_of_line, unknown
from crossgeo.engine.given import read_given
from crossgeo.errors import InputError, UsageError

LIST_SUFFIXES = (".csv", ".tsv", ".parquet", ".geoparquet", ".jsonl", ".ndjson", ".txt")
_Rows = Iterator[tuple[int, dict[str, Any]]]


def read_list(path: Path, say: Callable[[str], None] = lambda line: None) -> list[BatchItem]:
    """Return the photos of a list, with what it says of each (`rows.KNOWN`); a row that is wrong is an item with that fault.

    `say` is told of columns that are not known. Raises InputError where the list cannot be read or names no photo, UsageError where it
    has no column of photos, where all of its rows are wrong, or where what reads it is not installed.
    """
    suffix = path.suffix.lower()
    if suffix in (".jsonl", ".ndjson", ".txt"):
        items = _lines(path, say)
    else:
        columns, rows, what = _parquet(path) if suffix in (".parquet", ".geoparquet") else _csv(path)
        _check_columns(path, columns, say)
        items = [item_of(row, path.parent, f"{path.name}, {what} {number}") for number, row in rows]
    if not items:
        raise InputError(f"{path}: names no photo; give one in each row")
    faults = [item.fault for item in items if item.fault is not None]
    if len(faults) == len(items):
        raise UsageError(f"{path}: no row can be used; the first: {faults[0]}") from faults[0]
    return items


def _check_columns(path: Path, columns: list[str], say: Callable[[str], None]) -> None:
    names = [KNOWN.get(name.strip().lower().lstrip("\ufeff")) for name in columns]
    if "photo" not in names:
        raise UsageError(f"{path}: has no column of photos among {', '.join(columns) or 'none'}; call the one with their paths photo")
    _say_unknown(path, columns, say)


def _say_unknown(path: Path, columns: list[str], say: Callable[[str], None]) -> None:
    if left_out := unknown(columns):
        known = ", ".join(dict.fromkeys(KNOWN.values()))
        say(f"{path}: not understood and left out: {', '.join(left_out)}; known are {known}")


def _lines(path: Path, say: Callable[[str], None]) -> list[BatchItem]:
    items, keys = [], dict[str, None]()
    for number, line in enumerate(read_given(path, "list", "give a list").splitlines(), start=1):
        if line.strip():
            items.append(item_of_line(line, path.parent, f"{path.name}, line {number}", keys))
    _say_unknown(path, list(keys), say)
    return items


def _csv(path: Path) -> tuple[list[str], _Rows, str]:
    try:
        text = read_given(path, "list", "give a list").decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: is not UTF-8 (byte {error.start}); save it as CSV in UTF-8") from error
    header = text.split("\n", 1)[0]
    delimiter = max(",;\t", key=header.count)  # the first of those that come most
    table = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    try:
        columns = [name.strip() for name in next(table, [])]
    except csv.Error as error:
        raise InputError(f"{path}: its first line is no CSV ({error})") from error

    def rows() -> _Rows:
        try:
            for row in table:
                if any(cell.strip() for cell in row):
                    extra = {EXTRA: f"{len(row)} cells"} if len(row) > len(columns) else {}
                    yield table.line_num, dict(zip(columns, row, strict=False)) | extra
        except csv.Error as error:
            raise InputError(f"{path}, line {table.line_num}: is no CSV ({error}); look at its quotes") from error

    return columns, rows(), "line"


def _parquet(path: Path) -> tuple[list[str], _Rows, str]:
    if find_spec("pyarrow") is None:
        raise UsageError(f"{path}: Parquet is read by pyarrow, which is not installed: pip install 'crossgeo[vectors]'")
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(path)
        columns = [name for name in file.schema_arrow.names if not unknown([name])]
        batches = [batch.to_pylist() for batch in file.iter_batches(columns=columns)]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such list") from error
    except (OSError, pa.ArrowException) as error:
        raise InputError(f"{path}: cannot be read as Parquet ({' '.join(str(error).split())[:120]})") from error
    return file.schema_arrow.names, enumerate((row for batch in batches for row in batch), start=1), "row"
