"""Ctrl-C that lets what is open come to its end; a second one ends the program at once."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crossgeo.commands import console


@contextmanager
def stopping() -> Iterator[threading.Event]:
    """Yield an event that Ctrl-C sets, instead of raising KeyboardInterrupt; only the main thread can be told, elsewhere it never is."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def first(_: int, __: object) -> None:
        stop.set()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        console.say("stopping: the photos that are being answered come to their end first; Ctrl-C again stops at once")

    before = signal.signal(signal.SIGINT, first)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGINT, before)
