"""Rivals as places: which stand, and in which order."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from crossgeo.engine.fine import Spot
from crossgeo.engine.rivals import Rival, suppress
from crossgeo.geodesy import to_lat_lon


def ranked(spots: Iterable[Spot], min_distance_m: float) -> list[Spot]:
    """Order spots by merit and drop those nearer than `min_distance_m` to a better one; they may be of different zones."""
    spots = sorted(spots, key=lambda spot: -spot.merit)
    places = np.array([to_lat_lon(spot.segment.crs, spot.x, spot.y) for spot in spots])
    rivals = [Rival(number, 0, spot.merit) for number, spot in enumerate(spots)]
    return [spots[kept.tile] for kept in suppress(rivals, places, min_distance_m, len(spots))]
