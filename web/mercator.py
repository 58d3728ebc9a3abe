"""Web Mercator tiles (XYZ, 256 px): which degrees a tile shows, and where in it a box of degrees lies (EPSG:3857, OGC WMTS annex D.1)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TILE_PX = 256
MAX_ZOOM = 24
MAX_LAT_DEG = 85.0511287798066
_EQUATOR_M_PER_PX = 2 * math.pi * 6_378_137.0 / TILE_PX


@dataclass(frozen=True)
class MapTile:
    """The tile in column `x` from the antimeridian and row `y` from the north, of 2**z each way."""

    z: int
    x: int
    y: int

    @property
    def exists(self) -> bool:
        """Whether the world has such a tile."""
        return 0 <= self.z <= MAX_ZOOM and 0 <= self.x < 2**self.z and 0 <= self.y < 2**self.z

    def lon_lat(self, across: NDArray[np.float64], down: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return degrees (n,) and (n,) of pixels (n,) of the tile, counted from its upper left corner."""
        lon = (self.x + across / TILE_PX) / 2**self.z * 360.0 - 180.0
        north = math.pi * (1.0 - 2.0 * (self.y + down / TILE_PX) / 2**self.z)
        return lon, np.degrees(np.arctan(np.sinh(north)))

    def pixels_of(self, south: float, west: float, north: float, east: float) -> list[tuple[float, float, float, float]]:
        """Return where a box of degrees lies: left, top, right, bottom in pixels, cut to the tile; two across the antimeridian."""
        if east < west:
            east += 360.0
        top, bottom = (self._down(lat) for lat in (north, south))
        out = []
        for turn in (-360.0, 0.0, 360.0):
            left, right = (self._across(lon + turn) for lon in (west, east))
            box = max(0.0, left), max(0.0, top), min(float(TILE_PX), right), min(float(TILE_PX), bottom)
            if box[0] < box[2] and box[1] < box[3]:
                out.append(box)
        return out

    def metres_per_pixel(self) -> float:
        """Return the ground sample distance at the tile's middle."""
        _, lat = self.lon_lat(np.array([TILE_PX / 2]), np.array([TILE_PX / 2]))
        return _EQUATOR_M_PER_PX / (1 << self.z) * math.cos(math.radians(float(lat[0])))

    def _across(self, lon: float) -> float:
        return ((lon + 180.0) / 360.0 * (1 << self.z) - self.x) * TILE_PX

    def _down(self, lat: float) -> float:
        clipped = math.radians(min(max(lat, -MAX_LAT_DEG), MAX_LAT_DEG))
        return ((1.0 - math.asinh(math.tan(clipped)) / math.pi) / 2.0 * (1 << self.z) - self.y) * TILE_PX


def zoom_for(gsd_m: float, lat: float) -> int:
    """Return the lowest zoom whose pixels are no larger than `gsd_m` at a latitude."""
    zoom = math.ceil(math.log2(_EQUATOR_M_PER_PX * math.cos(math.radians(min(abs(lat), MAX_LAT_DEG))) / gsd_m) - 1e-9)
    return min(max(zoom, 0), MAX_ZOOM)
