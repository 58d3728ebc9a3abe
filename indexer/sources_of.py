"""Which source of an index a place shows: by the layer that is seen there, and in that by the bounds of its sources."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

import numpy as np
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.grid import CELL_PX, CELLS, block_bounds
from crossgeo.indexer.manifest import Manifest, SourceRecord
from crossgeo.indexer.places import crs_text


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


def source_of(manifest: Manifest, crs: CRS, layer: int, x: float, y: float) -> SourceRecord | None:
    """Return the source that a layer shows at (x, y): the only one, else the first in whose bounds that lies, if any."""
    found = sources_of(manifest, crs_text(crs), layer)
    if len(found) == 1:
        return found[0]
    lat, lon = geodesy.to_lat_lon(crs, x, y)
    for source in found:
        at_x, at_y = geodesy.from_lat_lon(geodesy.parse_crs(source.crs), lat, lon)
        if source.bounds[0] <= at_x <= source.bounds[2] and source.bounds[1] <= at_y <= source.bounds[3]:
            return source
    return None


def source_cells(
    sources: Sequence[SourceRecord], wanted: Callable[[SourceRecord], bool], crs: CRS, gsd_m: float, blocks: Iterable[tuple[int, int]]
) -> dict[tuple[int, int], Mask]:
    """Return the cells (16, 16) by block (bx, by) whose middle lies in the bounds of a wanted source and of none before it."""
    frames = [(s, geodesy.parse_crs(s.crs)) for s in sources]
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
