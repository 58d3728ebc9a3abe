"""Photos read by processes of their own: one that crashes its decoder, swells or never ends costs that process, not the caller's."""

from __future__ import annotations

import io
import math
import queue
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import fields
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from crossgeo.engine.decode_child import read_message, write_message
from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.photo import DECODE_LONG_PX, Photo
from crossgeo.errors import GeoError, InputError, LimitError

MAX_PX = 50_000_000
MEMORY_BYTES = 3 << 29  # 1.5 GiB: 50 megapixels with transparency take 1 GiB on their way to RGB
_Child = subprocess.Popen[bytes]
_ERRORS = {"InputError": InputError, "LimitError": LimitError}


class Decoder:
    """Reads photos as `Photo.read` does, each in one of a few processes with limits; a context manager, for any number of threads."""

    def __init__(self, workers: int = 1, timeout_s: float = 60.0, memory_bytes: int = MEMORY_BYTES) -> None:
        """Have at most `workers` processes, started when they are needed; a photo has `timeout_s` and `memory_bytes`."""
        self._timeout_s, self._memory_bytes = timeout_s, memory_bytes
        self._idle: queue.LifoQueue[_Child | None] = queue.LifoQueue()
        for _ in range(workers):
            self._idle.put(None)  # stands for a process that is not started yet
        self._workers = workers
        self._lock = threading.Lock()
        self._running: set[_Child] = set()
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def warm(self) -> None:
        """Start all processes now rather than at the first photos."""
        taken = [self._idle.get() for _ in range(self._workers)]
        try:
            taken = [child or self._start() for child in taken]
        finally:
            for child in taken:
                self._idle.put(child)

    def read(self, source: str | Path | bytes, name: str | None = None, max_px: int = MAX_PX, long_px: int = DECODE_LONG_PX) -> Photo:
        """Read a photo as `Photo.read` does, with its errors.

        InputError as well for one that crashes its decoder, LimitError for one that passes the time or memory it has.
        """
        label = name or ("photo" if isinstance(source, bytes) else Path(source).name)
        where = label if isinstance(source, bytes) else str(source)
        asked = {"name": name, "max_px": max_px, "long_px": long_px}
        asked |= {"size": len(source)} if isinstance(source, bytes) else {"path": str(source)}
        child = self._idle.get()
        try:
            if child is None or child.poll() is not None:
                child = self._start()
            late = threading.Event()
            timer = threading.Timer(self._timeout_s, self._end, (child, late))
            timer.daemon = True
            timer.start()
            try:
                photo = _ask(child, asked, source if isinstance(source, bytes) else b"")
            finally:
                timer.cancel()
                timer.join()  # or it might end the next photo's process
            if photo is None:
                raise self._died(child, where, late.is_set())
            return photo
        finally:
            if child is not None and child.poll() is not None:
                self._forget(child)
                child = None
            self._idle.put(child)

    def close(self) -> None:
        """End the processes; photos that are being read end with an error."""
        with self._lock:
            self._closed = True
            running = list(self._running)
        for child in running:
            child.kill()
        for _ in range(self._workers):  # those that were busy come back ended
            last = self._idle.get()
            if last is not None:
                self._forget(last)
        for _ in range(self._workers):
            self._idle.put(None)

    def _start(self) -> _Child:
        command = [sys.executable, "-P", "-m", "crossgeo.engine.decode_child", str(self._memory_bytes), str(math.ceil(self._timeout_s))]
        pipe, nowhere = subprocess.PIPE, subprocess.DEVNULL
        with self._lock:
            if self._closed:
                raise LimitError("photos are no longer read: what reads them was closed")
            try:  # in a session of its own: Ctrl-C is for the caller, who then ends it
                child = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=nowhere, start_new_session=True)
            except OSError as error:
                raise LimitError(f"no process can be started to read photos ({error.strerror or error}); close other programs") from error
            self._running.add(child)
        return child

    @staticmethod
    def _end(child: _Child, late: threading.Event) -> None:
        late.set()
        child.kill()

    def _forget(self, child: _Child) -> None:
        child.kill()
        child.wait()
        for pipe in (child.stdin, child.stdout):
            if pipe is not None:
                with suppress(OSError):  # what was not sent yet has nobody to go to
                    pipe.close()
        with self._lock:
            self._running.discard(child)

    def _died(self, child: _Child, where: str, late: bool) -> GeoError:
        child.kill()  # whatever it sent was no answer
        code = child.wait()
        if self._closed:
            return LimitError(f"{where}: was not read to its end, since what reads it was closed")
        if late or code == -signal.SIGXCPU:
            return LimitError(f"{where}: takes more than {self._timeout_s:g} s to read; save it anew in an editor, or leave it out")
        if code == -signal.SIGKILL:
            return LimitError(f"{where}: takes more memory to read than there is; make it smaller first, or close other programs")
        return InputError(f"{where}: the decoder crashed over it; it is damaged, or made to do that: leave it out")


def _ask(child: _Child, asked: dict[str, Any], data: bytes) -> Photo | None:
    """Send a request and return the answer, None where there is none; raise the error that it is."""
    assert child.stdin is not None
    assert isinstance(child.stdout, io.BufferedReader)
    try:
        write_message(child.stdin, asked, data)
        answer = read_message(child.stdout)
        if answer is None:
            return None
        if "error" in answer:
            raise _ERRORS[answer["error"]["type"]](answer["error"]["message"])
        about = answer["photo"]
        height, width, _ = shape = tuple(map(int, about["shape"]))
        if shape != (height, width, 3) or not 0 < height * width <= asked["max_px"]:
            return None
        pixels = np.empty(shape, np.uint8)
        into = pixels.data.cast("B")
        while len(into):
            count = child.stdout.readinto(into)
            if not count:
                return None
            into = into[count:]
        known = {field.name for field in fields(PhotoExif)}
        exif = PhotoExif(**{name: value for name, value in about["exif"].items() if name in known})
        return Photo(str(about["name"]), pixels, int(about["width_px"]), int(about["height_px"]), exif)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # the process ended, or lost its mind
        return None
