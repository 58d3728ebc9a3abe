"""Drives with known truth, as records of a batch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

Record = dict[str, Any]


@pytest.fixture
def place() -> Callable[..., Record]:
    """Return a function that makes a place's JSON."""

    def make(lat: float, lon: float, score: float = 0.6, heading_deg: float = 0.0, radius_m: float = 2.5) -> Record:
        at = {"lat": lat, "lon": lon}
        return {**at, "radius_m": radius_m, "heading_deg": heading_deg % 360.0, "camera": at, "score": score, "tile": 1}

    return make


@pytest.fixture
def record() -> Callable[..., Record]:
    """Return a function that makes a record of places, best first."""

    def make(name: str, places: list[Record], status: str = "located", **more: Any) -> Record:
        index = {"generation": 1, "model": "m"}
        return {"photo": name, "status": status, "places": places, "object": None, "notes": [], "index": index, **more}

    return make
