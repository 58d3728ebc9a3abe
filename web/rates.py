"""How often each client may ask: a token bucket for each, and how many of its questions are being answered."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from crossgeo.web.problems import Problem

KNOWN = 10_000  # clients; the one that has not asked for longest is forgotten first


class Rates:
    """Of one event loop; not for threads."""

    def __init__(self, per_minute: float, at_once: int, clock: Callable[[], float] = time.monotonic) -> None:
        """Allow a client so many questions a minute, which it may ask in one go, and so many at once; 0 a minute is no limit."""
        self._per_s, self._most, self._at_once, self._clock = per_minute / 60.0, max(1.0, per_minute), at_once, clock
        self._left: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when there were so many
        self._asking: dict[str, int] = {}

    def take(self, client: str, cost: float) -> None:
        """Count a request; raise Problem where the client asks too often."""
        if not self._per_s:
            return
        now = self._clock()
        tokens, since = self._left.pop(client, (self._most, now))
        tokens = min(self._most, tokens + (now - since) * self._per_s)
        short = cost - tokens
        self._left[client] = (tokens, now) if short > 0.0 else (tokens - cost, now)
        if len(self._left) > KNOWN:
            self._left.popitem(last=False)
        if short > 0.0:
            detail = f"more than {self._most:g} questions a minute from one key or address; ask again later, or more slowly"
            raise Problem("too-many-requests", detail, retry_after_s=short / self._per_s)

    @contextmanager
    def asking(self, client: str) -> Iterator[None]:
        """Count a question while it is being answered; raise Problem where the client has too many."""
        count = self._asking.get(client, 0)
        if count >= self._at_once:
            detail = f"{count} questions of one key or address are being answered, which is the limit; wait for some of them"
            raise Problem("too-many-requests", detail, retry_after_s=2)
        self._asking[client] = count + 1
        try:
            yield
        finally:
            self._asking[client] -= 1
            if not self._asking[client]:
                del self._asking[client]
