"""How `geo` talks: results on stdout, messages and progress on stderr; a bar on a terminal, else a line every ten seconds."""

from __future__ import annotations

import json
import os
import sys
import time
from types import TracebackType
from typing import Any, BinaryIO, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TaskID, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.table import Table

LINE_EVERY_S = 10.0
STAGES = {  # what a stage does, and what it counts
    "imagery": ("reading imagery", "blocks"),
    "describe": ("describing", "tiles"),
    "making the town": ("making the town", "photos"),
    "locating photos": ("locating", "photos"),
}


def stdin() -> BinaryIO:
    """Return stdin as a file of its own: Python aborts where it ends while a thread waits for a line of its own one."""
    try:
        return os.fdopen(os.dup(sys.stdin.fileno()), "rb")
    except OSError:  # something that stands in for it, and is no file
        return sys.stdin.buffer


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=True, allow_nan=False) + "\n")


def print_rows(rows: list[tuple[str, str]]) -> None:
    """Print name and value, a row each, aligned; names in bold and long values folded on a terminal.

    Control characters, which may stand in a stranger's card, are shown and not obeyed.
    """
    rows = [(_plain(name), _plain(value)) for name, value in rows]
    if not sys.stdout.isatty():
        width = max((len(name) for name, _ in rows), default=0)
        for name, value in rows:
            print(f"{name:<{width}}  {value}")
        return
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in rows:
        table.add_row(name, value)
    stdout().print(table)


def _plain(text: str) -> str:
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def stdout() -> Console:
    """Return the console of results; off a terminal it never folds a line."""
    return _console(sys.stdout.isatty(), stderr=False)


def stderr() -> Console:
    """Return the console of messages."""
    return _console(sys.stderr.isatty(), stderr=True)


def _console(on_terminal: bool, stderr: bool) -> Console:
    return Console(stderr=stderr, highlight=False, markup=False, emoji=False, soft_wrap=False, width=None if on_terminal else 200)


def say(message: str) -> None:
    """Print one message on stderr."""
    stderr().print(message, soft_wrap=True)


class Progress:
    """A job's progress with its rate and end time; use as a context manager and call it with (done, total)."""

    def __init__(self, what: str, unit: str) -> None:
        self.what = what
        self.unit = unit
        self._bar: RichProgress | None = None
        self._task: TaskID | None = None
        self._first: tuple[float, int] | None = None
        self._line_at = time.monotonic()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, done: int, total: int, detail: str = "") -> None:
        """Show that `done` of `total` are finished, and a `detail`; those done at the first call count as done before."""
        now = time.monotonic()
        if self._first is None:
            self._first = (now, done)
        elapsed = now - self._first[0]
        rate = (done - self._first[1]) / elapsed if elapsed > 0.0 else 0.0
        if sys.stderr.isatty():
            self._draw(done, total, rate, detail)
        elif now - self._line_at >= LINE_EVERY_S:
            self._line_at = now
            pace = f", {self._speed(rate)}, {(total - done) / rate:.0f} s left" if rate > 0.0 else ""
            say(f"{self.what}: {done} of {total} {self.unit}{pace}{'; ' if detail else ''}{detail}")

    def _speed(self, rate: float) -> str:
        if rate == 0.0:
            return ""  # only one moment is known so far
        return f"{1.0 / rate:.1f} s each" if rate < 1.0 else f"{rate:.1f} {self.unit}/s"

    def _draw(self, done: int, total: int, rate: float, detail: str) -> None:
        if self._bar is None or self._task is None:
            self._bar = RichProgress(
                TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"),
                TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.fields[detail]}"), console=stderr(), transient=True,
            )  # fmt: skip
            self._bar.start()
            self._task = self._bar.add_task(self.what, total=total, rate="", detail="")
        self._bar.update(self._task, completed=done, total=total, rate=self._speed(rate), detail=detail)


class Stages:
    """The progress of a job with several stages, one after the other; call it with (stage, done, total)."""

    def __init__(self) -> None:
        self._stage: str | None = None
        self._progress: Progress | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._progress is not None:
            self._progress.__exit__(kind, error, trace)

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Show that `done` of `total` of a stage are finished, and a `detail`.

        A new name ends the stage before, and off a terminal is said at once.
        """
        if self._progress is None or stage != self._stage:
            self.__exit__(None, None, None)
            what, unit = STAGES.get(stage, (stage, "items"))
            self._stage, self._progress = stage, Progress(what, unit)
            if not sys.stderr.isatty():
                say(f"{what}: {total} {unit}")
        self._progress(done, total, detail)
