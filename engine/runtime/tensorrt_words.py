"""What TensorRT says is wrong, kept for the error that a user gets: its calls themselves return nothing but None or False."""

from __future__ import annotations

import threading
from collections import deque
from functools import cache
from typing import Any

_KEPT = 32  # lines


class Said:
    """The last errors that were logged, each with the thread that it was logged in: several may fail at the same time."""

    def __init__(self) -> None:
        self._lines: deque[tuple[int, str]] = deque(maxlen=_KEPT)
        self._changing = threading.Lock()

    def add(self, line: str) -> None:
        """Keep a line."""
        with self._changing:
            self._lines.append((threading.get_ident(), line.strip()))

    def forget(self) -> None:
        """Forget what was logged in this thread, before something new is tried."""
        with self._changing:
            self._lines = deque((one for one in self._lines if one[0] != threading.get_ident()), maxlen=_KEPT)

    def text(self) -> str:
        """Return the last lines of this thread; of all threads where there is none, since TensorRT has threads of its own."""
        with self._changing:
            lines = list(self._lines)
        own = [line for thread, line in lines if thread == threading.get_ident()]
        return "; ".join((own or [line for _, line in lines])[-3:]) or "it does not say why"


@cache
def logger(trt: Any) -> Any:
    """Make the one logger of a package, which keeps the first that it gets; its `said` are the errors."""

    class Words(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said = Said()

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.said.add(message)

    return Words()
