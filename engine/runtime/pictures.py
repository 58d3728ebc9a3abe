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
_WHOLE = 0.995  # rims are asked for only where there is nothing else: in the flat colour that fills them maps hold nothing but rounding
_LEAST_VALID = 0.7
_TRIES = 8  # for each picture


def of_index(index: GeoIndex, count: int = COUNT) -> Pixels:
    """Return (N, S, S, 3) uint8 RGB of up to `count` tiles of an index, the same each time; without rims where two tiles have none."""
    pictures: list[tuple[float, Pixels]] = []
    for number in np.random.default_rng(0).permutation(len(index))[: _TRIES * count]:
        x, y = index.centres[number]
        segment = index.segment_of(int(number))
        rgb, valid = index.read_window(segment, float(x), float(y), index.tile_m, SIDE_PX)
        pictures.append((float(valid.mean()), rgb))
        if sum(share >= _WHOLE for share, _ in pictures) == count:
            break
    return _enough(pictures, 0.0, count, str(index.manifest.identity.name))


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
    rng, pictures = np.random.default_rng(0), list[tuple[float, Pixels]]()
    for number in range(count):
        source = sources[number % len(sources)]
        per_m = 1.0 if not source.crs.is_geographic else 1.0 / 111_320.0
        half = side_m * per_m / 2
        low_x, low_y, high_x, high_y = source.bounds
        tried: list[tuple[float, Pixels]] = []
        while len(tried) < _TRIES and (not tried or tried[-1][0] < _WHOLE):
            x, y = rng.uniform(low_x + half, max(high_x - half, low_x + half)), rng.uniform(low_y + half, max(high_y - half, low_y + half))
            rgb, valid = source.read(source.crs, (x - half, y - half, x + half, y + half), (SIDE_PX, SIDE_PX))
            tried.append((float(valid.mean()), rgb))
        pictures.append(max(tried, key=lambda one: one[0]))
    return _enough(pictures, _LEAST_VALID, count, str(sources[0].path))


def _enough(pictures: Sequence[tuple[float, Pixels]], least: float, count: int, name: str) -> Pixels:
    """Return up to `count` whole pictures, or where there are not two of them those that show `least` of the ground."""
    kept = [rgb for share, rgb in pictures if share >= _WHOLE]
    if len(kept) < 2:
        kept = [rgb for share, rgb in pictures if share >= least]
    if len(kept) < 2:
        raise InputError(f"{name}: shows too little ground to check an engine with; take --runtime torch, or give more imagery")
    return np.stack(kept[:count])
