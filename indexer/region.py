"""A piece of ground that a user names, as a box or as polygons of lat/lon, and the cells of a segment's grid that it touches."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError, UsageError
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.geojson import read_geojson
from crossgeo.indexer.grid import CELL_PX, CELLS, block_bounds
from crossgeo.indexer.places import LAT_LON
from crossgeo.indexer.polygons import area_of

_EDGE_DEG = 0.002  # edges are cut this fine before they are carried to another CRS, in which they bend
_MOST_VERTICES = 2_000_000


@dataclass(frozen=True)
class Region:
    """Ground in lon, lat (x, y): edges run straight between its vertices in degrees."""

    shape: Any  # a shapely Polygon or MultiPolygon

    @classmethod
    def box(cls, west: float, south: float, east: float, north: float) -> Region:
        """Return a box; raise UsageError where the numbers are no box of degrees."""
        if not (-180.0 <= west < east <= 180.0 and -90.0 <= south < north <= 90.0):
            raise UsageError(f"bounds {west:g} {south:g} {east:g} {north:g}: give west, south, east, north in degrees, the lesser first")
        return cls(shapely.box(west, south, east, north))

    @classmethod
    def read(cls, path: Path) -> Region:
        """Read the polygons of GeoJSON, features or bare; raise InputError, naming the file, where it holds none that can be used."""
        data = read_geojson(path, "polygons in lon, lat")
        try:
            area = area_of(data)
        except UsageError as error:
            raise InputError(f"{path}: {error}") from error
        turns = [shapely.transform(area, lambda points, by=by: points + np.asarray([by, 0.0])) for by in (-360.0, 0.0, 360.0)]
        return cls(shapely.intersection(shapely.union_all(turns), shapely.box(-180.0, -90.0, 180.0, 90.0)))

    def digest(self) -> str:
        """Return a hash of it."""
        return hashlib.sha256(shapely.to_wkb(shapely.normalize(self.shape))).hexdigest()

    def contains(self, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Say of each of (n,) places whether it lies in it or on its edge."""
        shapely.prepare(self.shape)
        return np.asarray(shapely.intersects_xy(self.shape, lon, lat), bool)

    def cells(self, crs: CRS, gsd_m: float, blocks: Iterable[tuple[int, int]]) -> dict[tuple[int, int], Mask]:
        """Return the cells (16, 16) that it touches, of those blocks (bx, by) of the grid of a metric CRS of which it touches any."""
        shape = self._in(crs)
        keys = list(blocks)
        if shape.is_empty or not keys:
            return {}
        boxes = shapely.box(*np.asarray([block_bounds(bx, by, gsd_m) for bx, by in keys]).T)
        shapely.prepare(shape)
        touched, inside = shapely.intersects(shape, boxes), shapely.contains_properly(shape, boxes)
        out: dict[tuple[int, int], Mask] = {}
        for n in np.flatnonzero(touched):
            cells = np.ones((CELLS, CELLS), bool) if inside[n] else _touched_cells(shape, keys[n], gsd_m)
            if cells.any():
                out[keys[n]] = cells
        return out

    def _in(self, crs: CRS) -> Any:
        """Return it in another CRS, cut first to where that CRS can be used at all."""
        near = _usable(crs)
        part = shapely.intersection(self.shape, near) if near is not None else self.shape
        if part.is_empty:
            return part
        step = max(_EDGE_DEG, shapely.length(part) / _MOST_VERTICES)
        fine = shapely.segmentize(part, step)

        def carry(points: NDArray[np.float64]) -> NDArray[np.float64]:
            return np.stack(geodesy.transform(LAT_LON, crs, points[:, 0], points[:, 1]), axis=1)

        carried = shapely.transform(fine, carry)
        return carried if carried.is_valid else shapely.make_valid(carried)


def _usable(crs: CRS) -> Any:
    """Return the box of degrees about a CRS's own ground in which its metres can be believed; None where it names none."""
    area = crs.area_of_use
    if area is None or area.west >= area.east:
        return None
    return shapely.box(max(-180.0, area.west - 6.0), max(-90.0, area.south - 6.0), min(180.0, area.east + 6.0), min(90.0, area.north + 6.0))


def _touched_cells(shape: Any, block: tuple[int, int], gsd_m: float) -> Mask:
    x_min, _, _, y_max = block_bounds(*block, gsd_m)
    side_m = CELL_PX * gsd_m
    west = x_min + side_m * np.arange(CELLS)[None, :].repeat(CELLS, 0)
    north = y_max - side_m * np.arange(CELLS)[:, None].repeat(CELLS, 1)
    boxes = shapely.box(west, north - side_m, west + side_m, north)
    # An edge along a border of cells belongs to the cells on its inner side: touching without any ground is none.
    met: Mask = np.asarray(shapely.intersects(shape, boxes) & ~shapely.touches(shape, boxes), bool)
    return met


def mask_cells(regions: Sequence[Region], crs: CRS, gsd_m: float, blocks: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Mask]:
    """Return the cells that any of several regions touches."""
    out: dict[tuple[int, int], Mask] = {}
    for region in regions:
        for block, cells in region.cells(crs, gsd_m, blocks).items():
            out[block] = out[block] | cells if block in out else cells
    return out
