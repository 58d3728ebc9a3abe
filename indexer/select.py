"""Filters on an index: which of its tiles may show a place that is asked for, and whether a place is one.

A filter is about the centres of places. Tiles are selected with a margin, since a place lies up to half a stride from the next tile's
centre, and a canvas around a part of a photo farther yet; whether a place may be answered is then asked of the place itself.
Selections are made once for a filter and kept: all tiles at a time, by the filter's outline in each segment's own metres.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Iterable
from threading import Lock
from typing import Any

import numpy as np
import shapely
from numpy.typing import ArrayLike, NDArray

from crossgeo import geodesy
from crossgeo.indexer.filters import Circle, Filters
from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.places import LAT_LON, edges_in
from crossgeo.indexer.sources_of import is_of_vintage

_KEPT = 8  # filters of one index, and margins of one filter
_LEAST_MARGIN_M = 16.0  # margins are taken from a row that doubles, so that few selections serve all poses
_SLACK = 1.01  # metres of a metric CRS against those of the ground, and of a sphere against those of the ellipsoid
_STEP_DEG = 0.005  # edges are carried in pieces as short as that: about 500 m, and centimetres off where a straight line bends
_FAR_M = 200_000.0  # circles as wide as that are not outlined
_WHOLE: Bounds = (-math.inf, -math.inf, math.inf, math.inf)


class Selector:
    """The selections of one index by filter; the last few are kept. Safe for threads."""

    def __init__(self, index: GeoIndex) -> None:
        self._index = index
        self._made: OrderedDict[Filters, Selection] = OrderedDict()
        self._lock = Lock()

    def select(self, filters: Filters) -> Selection | None:
        """Return what a filter selects; None where it leaves out nothing."""
        if filters == Filters():
            return None
        with self._lock:
            found = self._made.pop(filters, None) or Selection(self._index, filters)
            self._made[filters] = found
            while len(self._made) > _KEPT:
                self._made.popitem(last=False)
            return found


class Selection:
    """A filter on an index, in all of its segments or in some."""

    def __init__(self, index: GeoIndex, filters: Filters, segments: Iterable[int] | None = None) -> None:
        self.index, self.filters = index, filters
        self.segments = frozenset(range(len(index.segments)) if segments is None else segments)
        self._areas: list[_Circle | _Polygons] = [_Polygons(geometry) for geometry in filters.geometries()]
        if filters.circle is not None:
            self._areas.insert(0, _Circle(filters.circle))
        self._ids: OrderedDict[float, NDArray[np.int64]] = OrderedDict()
        self._parts: dict[frozenset[int], Selection] = {}
        self._vintage: NDArray[np.int64] | None = None
        self._lock = Lock()

    def of_segments(self, numbers: Iterable[int]) -> Selection:
        """Return the same filter in fewer segments."""
        fewer = self.segments & frozenset(numbers)
        with self._lock:
            if fewer not in self._parts:
                made = self._parts[fewer] = Selection(self.index, self.filters, fewer)
                made._vintage = self._vintage
            return self._parts[fewer]

    def ids(self, margin_m: float = 0.0) -> NDArray[np.int64]:
        """Return the tiles, in order, whose centres lie within a margin of the area: all of those, and perhaps a few from farther off."""
        margin_m = _LEAST_MARGIN_M * 2.0 ** math.ceil(math.log2(max(margin_m, _LEAST_MARGIN_M) / _LEAST_MARGIN_M))
        with self._lock:
            found = self._ids.pop(margin_m, None)
            if found is None:
                parts = [np.zeros(0, np.int64)]
                for number in sorted(self.segments):
                    segment = self.index.segments[number]
                    own = slice(segment.first_id, segment.first_id + segment.tiles)
                    parts.append(np.flatnonzero(self.near(segment, self.index.centres[own], margin_m)) + segment.first_id)
                found = np.concatenate(parts)
                if self.filters.vintage is not None:
                    found = np.intersect1d(found, self._of_vintage(), assume_unique=True)
                found.flags.writeable = False
            self._ids[margin_m] = found
            while len(self._ids) > _KEPT:
                self._ids.popitem(last=False)
            return found

    def _of_vintage(self) -> NDArray[np.int64]:
        """The tiles of the vintage asked for, which take reading all of the blocks' masks."""
        if self._vintage is None:
            assert self.filters.vintage is not None
            self._vintage = self.index.ids_of_vintage(self.filters.vintage)
        return self._vintage

    def near(self, segment: Segment, xy: ArrayLike, margin_m: float) -> NDArray[np.bool_]:
        """Say of points (n, 2) in metres of a segment whether they may lie within a margin of the area: all that do, and few others."""
        points = np.asarray(xy, np.float64).reshape(-1, 2)
        out = np.full(len(points), segment.number in self.segments)
        for area in self._areas:
            left = np.flatnonzero(out)
            out[left] = area.near(segment, points[left], margin_m)
        return out

    def answers(self, segment: Segment, x: float, y: float, tile: int) -> bool:
        """Say whether a place, to which a tile led, may be answered: it lies in the area, and the imagery behind it is of the vintage."""
        if not self.holds(segment, (x, y))[0]:
            return False
        if self.filters.vintage is None:
            return True
        source = self.index.source_behind(segment, x, y, tile)
        return source is not None and is_of_vintage(source.vintage, self.filters.vintage)

    def holds(self, segment: Segment, xy: ArrayLike) -> NDArray[np.bool_]:
        """Say of places (n, 2) in metres of a segment whether they lie in the area, its edge included."""
        points = np.asarray(xy, np.float64).reshape(-1, 2)
        if segment.number not in self.segments:
            return np.zeros(len(points), bool)
        lon, lat = geodesy.transform(segment.crs, LAT_LON, points[:, 0], points[:, 1])
        out = np.isfinite(lat) & np.isfinite(lon)
        for area in self._areas:
            out[out] = area.holds(lat[out], lon[out])
        return out


class _Circle:
    def __init__(self, circle: Circle) -> None:
        self.circle = circle

    def holds(self, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.bool_]:
        return np.asarray(geodesy.distances_m(lat, lon, self.circle.lat, self.circle.lon) <= self.circle.radius_m, bool)

    def near(self, segment: Segment, points: NDArray[np.float64], margin_m: float) -> NDArray[np.bool_]:
        reach_m = (self.circle.radius_m + margin_m) * _SLACK + 1.0
        out = _in_box(points, self._box(segment, reach_m))
        lon, lat = geodesy.transform(segment.crs, LAT_LON, points[out, 0], points[out, 1])
        out[out] = geodesy.great_circle_m(lat, lon, self.circle.lat, self.circle.lon) <= reach_m
        return out

    def _box(self, segment: Segment, reach_m: float) -> Bounds:
        """A box of the segment's metres around the circle, where that can be said."""
        if reach_m > _FAR_M:
            return _WHOLE
        x, y = geodesy.from_lat_lon(segment.crs, self.circle.lat, self.circle.lon)
        if not (math.isfinite(x) and math.isfinite(y)):
            return _WHOLE
        # Far from the segment its metres are not those of the ground, but then none of its tiles is near.
        return x - 2.0 * reach_m, y - 2.0 * reach_m, x + 2.0 * reach_m, y + 2.0 * reach_m


class _Polygons:
    """An area of lon, lat."""

    def __init__(self, geometry: Any) -> None:
        self.geometry = geometry
        shapely.prepare(self.geometry)
        self._carried: OrderedDict[tuple[int, float], Any] = OrderedDict()
        self._lock = Lock()  # GEOS makes what a prepared geometry looks things up in when it is first asked, and not for two threads

    def holds(self, lat: NDArray[np.float64], lon: NDArray[np.float64]) -> NDArray[np.bool_]:
        with self._lock:
            turns = [shapely.intersects_xy(self.geometry, lon + turn, lat) for turn in (0.0, 360.0, -360.0)]
        return np.asarray(np.logical_or.reduce(turns), bool)

    def near(self, segment: Segment, points: NDArray[np.float64], margin_m: float) -> NDArray[np.bool_]:
        with self._lock:
            return self._near(segment, points, margin_m)

    def _near(self, segment: Segment, points: NDArray[np.float64], margin_m: float) -> NDArray[np.bool_]:
        key = segment.number, margin_m
        if key not in self._carried:
            self._carried[key] = self._outline(segment, margin_m)
            while len(self._carried) > 64:
                self._carried.popitem(last=False)
        outline = self._carried[key]
        if outline is None:
            return np.ones(len(points), bool)
        if outline.is_empty:
            return np.zeros(len(points), bool)
        out = _in_box(points, outline.bounds)
        out[out] = shapely.intersects_xy(outline, points[out, 0], points[out, 1])
        return out

    def _outline(self, segment: Segment, margin_m: float) -> Any:
        """The area within a margin in metres of a segment, as far as the segment reaches; None where that cannot be said."""
        reach_m = margin_m * _SLACK + 1.0
        box = _around(segment, reach_m)
        if box is None:
            return None
        parts = []
        for turn in (-720.0, -360.0, 0.0, 360.0, 720.0):
            part = shapely.intersection(shapely.transform(self.geometry, lambda at, turn=turn: at + np.array([turn, 0.0])), box)
            if not part.is_empty:
                parts.append(part)
        if not parts:
            return shapely.Polygon()
        cut = shapely.segmentize(shapely.union_all(parts), _STEP_DEG)
        carried = shapely.transform(cut, lambda at: np.stack(geodesy.transform(LAT_LON, segment.crs, at[:, 0], at[:, 1]), axis=1))
        if not np.isfinite(shapely.get_coordinates(carried)).all():
            return None
        outline = shapely.buffer(shapely.make_valid(carried), reach_m)
        shapely.prepare(outline)
        return outline


def _around(segment: Segment, reach_m: float) -> Any:
    """A segment's box of lon, lat, widened; its longitudes go on past 180 degrees. None where it lies about a pole."""
    lon, lat = edges_in(segment.bounds, segment.crs, LAT_LON)
    middle = float(lon[0])
    lon = (lon - middle + 180.0) % 360.0 - 180.0 + middle
    more = (reach_m + 1000.0) / 110_000.0  # tiles hang over the imagery
    south, north = float(lat.min()) - more, float(lat.max()) + more
    if max(abs(south), abs(north)) > 89.0 or lon.max() - lon.min() > 90.0 or not np.isfinite(lon).all():
        return None
    wider = more / math.cos(math.radians(max(abs(south), abs(north))))
    return shapely.box(float(lon.min()) - wider, south, float(lon.max()) + wider, north)


def _in_box(points: NDArray[np.float64], box: Bounds) -> NDArray[np.bool_]:
    x, y = points[:, 0], points[:, 1]
    return np.asarray((x >= box[0]) & (x <= box[2]) & (y >= box[1]) & (y <= box[3]), bool)
