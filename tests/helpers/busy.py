"""A service whose worker has something else to do."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from crossgeo.web.served import Indexes


@contextmanager
def held(indexes: Indexes) -> Iterator[None]:
    """Keep the one worker of the one index busy."""
    free = threading.Event()
    (served,) = indexes
    holding = served.answering.run(lambda search: free.wait(60))
    try:
        yield
    finally:
        free.set()
        holding.result(60)
