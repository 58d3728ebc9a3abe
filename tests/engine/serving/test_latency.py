"""How long a replica is waited for before another is asked: by what requests of that size took, within bounds."""

from __future__ import annotations

import pytest

from crossgeo.engine.serving.latency import Latencies


def test_patience_follows_what_requests_of_that_size_took() -> None:
    latencies = Latencies(2.0)
    assert latencies.patience_s(1000) == 0.5, "nothing is known yet"
    for _ in range(7):
        latencies.took(1000, 0.1)
    assert latencies.patience_s(1000) == 0.5, "too little is"
    latencies.took(1000, 0.1)
    assert latencies.patience_s(1000) == pytest.approx(0.15)
    assert latencies.patience_s(1023) == pytest.approx(0.15), "about as much"
    assert latencies.patience_s(100_000) == 0.5, "much more"
    for _ in range(300):
        latencies.took(1000, 0.2)
    assert latencies.patience_s(1000) == pytest.approx(0.3), "what was long ago is forgotten"


def test_patience_has_bounds() -> None:
    latencies = Latencies(2.0)
    for _ in range(20):
        latencies.took(10, 1e-5)
        latencies.took(10_000, 60.0)
    assert latencies.patience_s(10) == 0.02
    assert latencies.patience_s(10_000) == 1.0
    short = Latencies(0.01)
    for _ in range(20):
        short.took(10, 1e-5)
    assert short.patience_s(10) == 0.005
