"""Pictures of real ground to check and calibrate engines with: tiles of an index, or squares of imagery that is to be indexed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from crossgeo.engine.runtime.half import Pixels
from crossgeo.errors import InputError
from crossgeo.indexer.imagery import open_sources
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.source import Source

COUNT = 24
SIDE_PX = 256
SIDE_M = 60.0
_LEAST_VALID = 0.7
_TRIES = 8  # for each picture; imagery has rims


def of_index(index: GeoIndex, count: int = COUNT) -> Pixels:
    """Return (N, S, S, 3) uint8 RGB of `count` tiles of an index, or of all there are, the same each time."""
    numbers = np.random.default_rng(0).permutation(len(index))[:count]
    pictures = []
    for number in np.sort(numbers):
        x, y = index.centres[number]
        segment = index.segment_of(int(number))
        pictures.append(index.read_window(segment, float(x), float(y), index.tile_m, SIDE_PX)[0])
    return _enough(pictures, str(index.manifest.identity.name))


def of_imagery(paths: Sequence[str | Path], crs: str | None = None) -> Pixels:
    """Return squares of imagery that is to be indexed; raises InputError for imagery that cannot be opened or shows too little."""
    sources = open_sources(paths, crs)
    try:
        return of_sources(sources)
    finally:
        for source in sources:
            source.close()


def of_sources(sources: Sequence[Source], side_m: float = SIDE_M, count: int = COUNT) -> Pixels:
    """Return up to `count` squares of imagery, `side_m` wide, as `of_index` does; raises InputError where it has not two."""
    rng, pictures = np.random.default_rng(0), []
    for number in range(count):
        source = sources[number % len(sources)]
        per_m = 1.0 if not source.crs.is_geographic else 1.0 / 111_320.0
        half = side_m * per_m / 2
        low_x, low_y, high_x, high_y = source.bounds
        for _ in range(_TRIES):
            x, y = rng.uniform(low_x + half, max(high_x - half, low_x + half)), rng.uniform(low_y + half, max(high_y - half, low_y + half))
            rgb, valid = source.read(source.crs, (x - half, y - half, x + half, y + half), (SIDE_PX, SIDE_PX))
            if valid.mean() >= _LEAST_VALID:
                pictures.append(rgb)
                break
    return _enough(pictures, str(sources[0].path))


def _enough(pictures: list[Pixels], name: str) -> Pixels:
    if len(pictures) < 2:
        raise InputError(f"{name}: shows too little ground to check an engine with; take --runtime torch, or give more imagery")
    return np.stack(pictures)
