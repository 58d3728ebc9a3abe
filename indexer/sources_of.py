"""Which source of an index a place shows: by the layer that is seen there, and in that by the bounds of its sources."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.grid import CELL_PX, CELLS, block_bounds
from crossgeo.indexer.ground import Ground
from crossgeo.indexer.manifest import Manifest, SourceRecord
from crossgeo.indexer.places import crs_text

VINTAGE = re.compile(r"\d{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12]\d|3[01]))?)?")
_SAMPLES = 5  # along each side of a tile at the rim of the imagery


def zone_of(source: SourceRecord, one_crs: str | None) -> str:
    """Return the metric CRS, as text, of the segment that a source goes to: the one asked for, else the UTM zone of its centre."""
    return _zone(source.crs, source.bounds, one_crs)


@lru_cache(maxsize=65536)
def _zone(crs: str, bounds: tuple[float, float, float, float], one_crs: str | None) -> str:
    if one_crs is not None:
        return one_crs
    x, y = (bounds[0] + bounds[2]) / 2, (bounds[1] + bounds[3]) / 2
    return crs_text(geodesy.metric_crs_at(*geodesy.to_lat_lon(geodesy.parse_crs(crs), x, y)))


def sources_of(manifest: Manifest, crs: str, layer: int) -> list[SourceRecord]:
    """Return the sources whose imagery a layer of a CRS holds, the first over the others."""
    return [s for s in manifest.sources if s.layer == layer and zone_of(s, manifest.grid.crs) == crs]


def first_over(sources: Sequence[SourceRecord], crs: CRS, x: float, y: float) -> SourceRecord | None:
    """Return which of a layer's sources shows at (x, y): the only one, else the first in whose bounds that lies, if any."""
    if len(sources) == 1:
        return sources[0]
    lat, lon = geodesy.to_lat_lon(crs, x, y)
    for source in sources:
        at_x, at_y = geodesy.from_lat_lon(_parsed(source.crs), lat, lon)
        if source.bounds[0] <= at_x <= source.bounds[2] and source.bounds[1] <= at_y <= source.bounds[3]:
            return source
    return None


@lru_cache(maxsize=64)
def _parsed(crs: str) -> CRS:
    return geodesy.parse_crs(crs)


def source_cells(
    sources: Sequence[SourceRecord], wanted: Callable[[SourceRecord], bool], crs: CRS, gsd_m: float, blocks: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Mask]:
    """Return the cells (16, 16) by block (bx, by) whose middle lies in the bounds of a wanted source and of none before it."""
    frames = [(s, _parsed(s.crs)) for s in sources]
    side_m = CELL_PX * gsd_m
    out: dict[tuple[int, int], Mask] = {}
    for bx, by in blocks:
        x_min, _, _, y_max = block_bounds(bx, by, gsd_m)
        x = np.tile(x_min + side_m * (np.arange(CELLS) + 0.5), CELLS)
        y = np.repeat(y_max - side_m * (np.arange(CELLS) + 0.5), CELLS)
        free, found = np.ones(x.shape, bool), np.zeros(x.shape, bool)
        for source, own in frames:
            at_x, at_y = geodesy.transform(crs, own, x, y)
            west, south, east, north = source.bounds
            inside = free & (at_x >= west) & (at_x <= east) & (at_y >= south) & (at_y <= north)
            free &= ~inside
            if wanted(source):
                found |= inside
        if found.any():
            out[bx, by] = found.reshape(CELLS, CELLS)
    return out


def is_of_vintage(vintage: str | None, asked: str) -> bool:
    """Say whether a vintage lies wholly in the year, month or day asked for, or in the span between two: 2021/2023-06, both included."""
    first, _, last = asked.partition("/")
    last = last or first
    if vintage is None or len(vintage) < max(len(first), len(last)):  # one that says less may lie outside
        return False
    if VINTAGE.fullmatch(first) is None or VINTAGE.fullmatch(last) is None:
        return False
    return first <= vintage[: len(first)] and vintage[: len(last)] <= last


def shown_layers(ground: Ground, centres: NDArray[np.float64], tile_m: float, gsd_m: float) -> NDArray[np.int32]:
    """Return the place in `ground.layers` of what each tile about (n, 2) centres shows: at its centre, else most of; -1 for nothing."""
    steps = np.linspace(-0.5, 0.5, _SAMPLES) * (tile_m - gsd_m)
    out = _layers(ground, centres, gsd_m)
    rim = np.flatnonzero(out < 0)
    if len(rim):
        around = np.stack(np.meshgrid(steps, steps), axis=-1).reshape(-1, 2)
        seen = _layers(ground, (centres[rim, None] + around).reshape(-1, 2), gsd_m).reshape(len(rim), -1)
        counts = np.stack([(seen == number).sum(axis=1) for number in range(len(ground.layers))], axis=1)
        out[rim] = np.where(counts.any(axis=1), counts.argmax(axis=1), -1)
    return out


def _layers(ground: Ground, xy: NDArray[np.float64], gsd_m: float) -> NDArray[np.int32]:
    cols, rows = np.floor(xy[:, 0] / gsd_m).astype(np.int64), np.floor(-xy[:, 1] / gsd_m).astype(np.int64)
    return ground.layers_at(cols, rows)
