"""The log of a run: JSON objects, one a line, and TensorBoard's event files; a resumed run goes on with both at its checkpoint's step."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from crossgeo import disk

Row = dict[str, Any]
_NO_SCALARS = ("step", "minutes")


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
    """`log.jsonl` and `events/` of a run; a context manager."""

    def __init__(self, out: Path, step: int, say: Callable[[str], None] | None = None, *, writes: bool = True) -> None:
        """Open the log at a step: rows of later steps, which a kill left and which come again, are dropped.

        Without TensorBoard only JSON is written, and `say` is told once. With `writes` False nothing is written: another process does.
        """
        self.path, self.say = out / "log.jsonl", say
        self._file = self._events = None
        if not writes:
            return
        if self.path.exists():
            kept = [row for row in read_rows(self.path) if row.get("step", 0) <= step]
            disk.write(self.path, "".join(json.dumps(row) + "\n" for row in kept).encode())
        self._file = self.path.open("a")
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError:
            if say and not step:
                say("TensorBoard is not installed, so only log.jsonl is written; `pip install tensorboard` adds its event files")
        else:
            self._events = SummaryWriter(str(out / "events"), purge_step=step + 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._file is not None:
            self._file.close()
        if self._events is not None:
            self._events.close()

    def note(self, row: Row) -> None:
        """Write a row; numbers in it become TensorBoard's scalars."""
        if self._file is None:
            return
        line = json.dumps(row)
        with disk.guarded(self.path):
            self._file.write(line + "\n")
            self._file.flush()
        if self.say:
            self.say(line)
        if self._events is not None:
            for name, value in row.items():
                if isinstance(value, int | float) and name not in _NO_SCALARS:
                    self._events.add_scalar(name, value, row["step"])
