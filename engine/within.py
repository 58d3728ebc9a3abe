"""A filter at work: which tiles a stage compares a photo with, and which spots it goes on with.

A place's centre must lie inside. What a canvas is centred on may lie outside, and so may a spot that a later stage still moves.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.fine import Spot
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.select import Selection

SETTLED_M = 5.0  # that a registered spot is still moved by, about


def tiles_around(index: GeoIndex, selection: Selection | None, offsets_m: Iterable[tuple[float, float]]) -> NDArray[np.int64] | None:
    """Return the tiles that canvases may lie on whose centres lie at any of some offsets from a place inside; None: all."""
    if selection is None:
        return None
    farthest_m = max((math.hypot(*offset) for offset in offsets_m), default=0.0)
    return selection.ids(farthest_m + coarse_m(index))


def coarse_m(index: GeoIndex) -> float:
    """Return how far a place lies from the centre of the next tile at most."""
    return index.widest_stride_m * math.sqrt(0.5)


def near(selection: Selection | None, spots: Sequence[Spot], slack_m: float) -> list[Spot]:
    """Return the spots that lie inside, or may come to by moving as far as that."""
    if selection is None:
        return list(spots)
    return [spot for spot in spots if selection.near(spot.segment, (spot.x, spot.y), slack_m)[0]]


def inside(selection: Selection | None, spots: Sequence[Spot]) -> list[Spot]:
    """Return the spots that lie inside."""
    return [spot for spot in spots if selection is None or selection.answers(spot.segment, spot.x, spot.y, spot.tile)]
