"""Running work in a child process that may die; for scripts that start no thread before they fork."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any


def forked(work: Callable[[], Any], kill_after_s: float | None = None) -> tuple[int, Any]:
    """Run `work` in a child, killed after a while if told; return (waitpid's status: 0, or the signal that ended it, ...) and its result.

    The result travels as JSON; it is None where the child did not get so far.
    """
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.write(writer, json.dumps(work()).encode())
            code = 0
        finally:
            os._exit(code)
    os.close(writer)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    with os.fdopen(reader, "rb") as pipe:
        said = pipe.read()
    return os.waitpid(child, 0)[1], (json.loads(said) if said else None)
