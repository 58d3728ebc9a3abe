"""The tiles of an index cut into areas of about equal size, so that a question about one place concerns few of them.

Tiles are taken along a Hilbert curve (Hilbert 1891) of square cells in each segment, since what follows one another on it lies side by
side. Equal tiles give equal areas.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.places import LAT_LON, carry_bounds
from crossgeo.indexer.vectors import Ids

_CELLS = 64  # of an area at least, so that areas are about equal
_WIDEST = 32  # tiles along a cell: more would save nothing
_SIZE = 1 << 28  # cells of the whole curve: tiles of any CRS and stride lie within


@dataclass(frozen=True, eq=False)
class Area:
    """Some of a segment's tiles that lie together."""

    segment: int
    ids: Ids  # rising
    bounds: Bounds  # west, south, east, north of their ground, degrees


def areas_of(index: GeoIndex, tiles: int) -> list[Area]:
    """Cut the tiles of an index into areas of about so many, whole cells each."""
    return [area for segment in index.segments if segment.tiles for area in _areas(index, segment, tiles)]


def _areas(index: GeoIndex, segment: Segment, tiles: int) -> list[Area]:
    own = index.centres[segment.first_id : segment.first_id + segment.tiles]
    side = min(_WIDEST, 2 ** max(0, int(math.log2(math.sqrt(max(tiles, _CELLS) / _CELLS)))))
    cells = np.rint(own / index.stride_m).astype(np.int64) // side
    # Ids go patch by patch, so that a cell's tiles follow one another in runs: there are far fewer of those than tiles.
    first = np.concatenate([[0], np.flatnonzero((np.diff(cells, axis=0) != 0).any(axis=1)) + 1])
    along, lengths = hilbert(cells[first]), np.diff(np.append(first, segment.tiles))
    runs = np.argsort(along, kind="stable")
    behind = np.cumsum(lengths[runs])  # tiles up to the end of each run
    order = np.arange(segment.tiles) + np.repeat(first[runs] - (behind - lengths[runs]), lengths[runs])
    ends = behind[np.append(np.diff(along[runs]) != 0, True)]  # of cells
    count = max(1, round(segment.tiles / tiles))
    cuts = np.unique(ends[np.searchsorted(ends, np.arange(1, count) * segment.tiles / count)])
    found = []
    for rows in np.split(order, cuts[cuts < segment.tiles]):
        rows.sort()
        low, high = own[rows].min(axis=0) - index.tile_m / 2, own[rows].max(axis=0) + index.tile_m / 2
        bounds = carry_bounds((float(low[0]), float(low[1]), float(high[0]), float(high[1])), segment.crs, LAT_LON)
        found.append(Area(segment.number, rows + segment.first_id, bounds))
    return found


def hilbert(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return how far along the curve cells (n, 2) lie, wherever others lie: neighbours on it are neighbours on the ground."""
    x, y = cells[:, 0] + _SIZE // 2, cells[:, 1] + _SIZE // 2
    along = np.zeros(len(cells), np.int64)
    step = _SIZE // 2
    while step:
        right, up = (x & step) > 0, (y & step) > 0
        along += step * step * ((3 * right) ^ up)
        flip = ~up & right
        x, y = np.where(flip, _SIZE - 1 - x, x), np.where(flip, _SIZE - 1 - y, y)
        x, y = np.where(up, x, y), np.where(up, y, x)
        step //= 2
    return along
