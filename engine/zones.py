"""Zones: segments whose grids lie alike to true north; a heading that is known against it is tried in each zone by that zone's grid."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from crossgeo.geodesy import grid_convergence_deg
from crossgeo.indexer.filters import Filters
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.select import Selection

ALIKE_DEG = 1.0  # grids that differ by no more are one zone; the finer steps take that up


@dataclass(frozen=True)
class Zone:
    """A part of an index that can be searched with the same headings."""

    convergence_deg: float  # heading_true = heading_grid + this
    selection: Selection | None  # of its tiles; None: all of the index


def zones_of(index: GeoIndex, selection: Selection | None = None) -> list[Zone]:
    """Split what is to be searched, all unless given, into zones with at least one tile each."""
    numbers = index.segment_numbers if selection is None else index.segment_numbers[selection.ids(index.tile_m)]
    turned = sorted((_convergence_deg(segment), segment.number) for segment in index.segments if (numbers == segment.number).any())
    groups: list[list[tuple[float, int]]] = []
    for own in turned:
        if not groups or own[0] - groups[-1][0][0] > ALIKE_DEG:
            groups.append([])
        groups[-1].append(own)
    if len(groups) == 1:
        return [Zone(_mean_deg(groups[0]), selection)]
    searched = selection or Selection(index, Filters())
    return [Zone(_mean_deg(group), searched.of_segments(number for _, number in group)) for group in groups]


def _convergence_deg(segment: Segment) -> float:
    """In the middle of the segment."""
    x_min, y_min, x_max, y_max = segment.bounds
    return grid_convergence_deg(segment.crs, 0.5 * (x_min + x_max), 0.5 * (y_min + y_max))


def _mean_deg(group: list[tuple[float, int]]) -> float:
    return float(np.mean([turn for turn, _ in group]))
