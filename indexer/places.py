"""Boxes and pixel sizes carried between CRSs."""

from __future__ import annotations

import numpy as np
from affine import Affine
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.indexer.grid import Bounds

LAT_LON = CRS.from_epsg(4326)


def crs_text(crs: CRS) -> str:
    """Return the shortest text that names a CRS: its EPSG code, or WKT."""
    code = crs.to_epsg(min_confidence=100)
    return f"EPSG:{code}" if code is not None else crs.to_wkt()


def affine_of(bounds: Bounds, shape: tuple[int, int]) -> Affine:
    """Return the affine from (col, row) pixel edges to x, y of a box cut into (H, W) pixels, north up."""
    x_min, y_min, x_max, y_max = bounds
    return Affine((x_max - x_min) / shape[1], 0.0, x_min, 0.0, -(y_max - y_min) / shape[0], y_max)


def ground_m(crs: CRS, affine: Affine, row: float, col: float) -> float:
    """Return the side in metres of the ground that a pixel covers at a place of a raster; raise InputError where the place is none."""
    x, y = zip(*(affine * at for at in ((col, row), (col + 1, row), (col, row + 1))), strict=True)
    lon, lat = geodesy.transform(crs, LAT_LON, np.asarray(x), np.asarray(y))
    if not (np.isfinite(lat).all() and np.isfinite(lon).all() and (np.abs(lat) <= 90).all()):
        raise InputError(f"({x[0]:g}, {y[0]:g}) is no place in {crs.name}: the position or the CRS of the imagery is wrong")
    across = geodesy.distance_m(lat[0], lon[0], lat[1], lon[1])
    down = geodesy.distance_m(lat[0], lon[0], lat[2], lon[2])
    return float((across * down) ** 0.5)


def edges_in(bounds: Bounds, crs: CRS, to_crs: CRS) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return x and y (84,) in another CRS of points along the edges of a box; not finite where they do not go there."""
    x_min, y_min, x_max, y_max = bounds
    t = np.linspace(0.0, 1.0, 21)
    x = np.concatenate([x_min + t * (x_max - x_min), np.full(21, x_max), x_max - t * (x_max - x_min), np.full(21, x_min)])
    y = np.concatenate([np.full(21, y_min), y_min + t * (y_max - y_min), np.full(21, y_max), y_max - t * (y_max - y_min)])
    return geodesy.transform(crs, to_crs, x, y)


def carry_bounds(bounds: Bounds, crs: CRS, to_crs: CRS) -> Bounds:
    """Return the box of another CRS that holds a box, its edges followed; raise InputError where it does not go there."""
    to_x, to_y = edges_in(bounds, crs, to_crs)
    if not (np.isfinite(to_x).all() and np.isfinite(to_y).all()):
        raise InputError(f"imagery at {bounds} in {crs.name} does not lie in {to_crs.name}; choose a CRS made for its place")
    return float(to_x.min()), float(to_y.min()), float(to_x.max()), float(to_y.max())
