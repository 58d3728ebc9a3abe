"""The log of a run, one JSON object a line, which a resumed run goes on with from the step of its checkpoint."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crossgeo.indexer import files

Row = dict[str, Any]


def read_rows(path: Path) -> list[Row]:
    """Read a log's rows; a last line that a kill cut short is left out."""
    rows = []
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            rows.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return rows


class Journal:
    """`log.jsonl` of a run; a context manager."""

    def __init__(self, path: Path, step: int, say: Callable[[str], None] | None = None) -> None:
        """Open the log at a step: rows of later steps, which a kill left and which come again, are dropped."""
        self.path, self.say = path, say
        if path.exists():
            kept = [row for row in read_rows(path) if row.get("step", 0) <= step]
            files.write(path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._file = path.open("a")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def note(self, row: Row) -> None:
        """Write a row."""
        line = json.dumps(row)
        with files.guarded(self.path):
            self._file.write(line + "\n")
            self._file.flush()
        if self.say:
            self.say(line)
