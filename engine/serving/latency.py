"""How long areas take to answer, and so how long one is waited for before another replica is asked, too (Dean, Barroso 2013, The Tail at
Scale: a second request after the 95th percentile costs a few per cent more requests and cuts the tail)."""

from __future__ import annotations

from collections import deque
from threading import Lock

import numpy as np

_KEPT = 256  # latencies of requests of about one size
_FEW = 8  # of which less is not known enough
_SHARE = 95.0  # per cent that are answered in time
_SLACK = 1.5
_LEAST_S = 0.02


class Latencies:
    """What requests took, by their size; safe for threads."""

    def __init__(self, deadline_s: float) -> None:
        """A second request goes out between 20 ms and half the deadline after the first."""
        self._most_s = deadline_s / 2.0
        self._took: dict[int, deque[float]] = {}
        self._lock = Lock()

    def took(self, work: int, seconds: float) -> None:
        """Count a request of so many products of descriptors."""
        with self._lock:
            self._took.setdefault(work.bit_length(), deque(maxlen=_KEPT)).append(seconds)

    def patience_s(self, work: int) -> float:
        """Return how long to wait for a request of that size before another replica is asked."""
        with self._lock:
            known = list(self._took.get(work.bit_length(), ()))
        if len(known) < _FEW:
            return self._most_s / 2.0
        return float(np.clip(_SLACK * np.percentile(known, _SHARE), min(_LEAST_S, self._most_s), self._most_s))
