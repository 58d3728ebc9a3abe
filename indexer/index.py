"""A finished index, opened for reading: tiles and their places, search over their descriptors, and windows of imagery.

A tile id is global over the index's segments; a position is (segment, x, y) in metres of the segment's CRS, or lat, lon.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import GeoError, StoreError, UsageError
from crossgeo.indexer.block_store import Mask, Pixels
from crossgeo.indexer.contrast import SPARSE
from crossgeo.indexer.grid import BLOCK_PX, Bounds, Window, tile_order
from crossgeo.indexer.ground import Ground
from crossgeo.indexer.manifest import ATTEMPTS, Manifest, ModelIdentity, SegmentRecord, SourceRecord, check_model, pointer, read_manifest
from crossgeo.indexer.parts import ROW_FILES, Part, Zone, zones_of
from crossgeo.indexer.places import LAT_LON, carry_bounds
from crossgeo.indexer.rows import LocalRows, RowSearch
from crossgeo.indexer.sources_of import first_over, is_of_vintage, shown_layers, sources_of
from crossgeo.indexer.windows import BlockCache, read_window, read_windows, windows_at


@dataclass(frozen=True)
class Segment:
    """The part of an index in one metric CRS, however many folders it lies in; `index.segments[number]`."""

    number: int
    name: str
    crs: CRS
    bounds: Bounds  # x_min, y_min, x_max, y_max of its imagery, metres
    bounds_lat_lon: tuple[float, float, float, float]  # south, west, north, east, degrees
    first_id: int  # its tiles are first_id ... first_id + tiles - 1
    tiles: int


class GeoIndex:
    """The imagery and the tiles of an index, opened for reading without any model; a context manager (`GeoIndex.open`, `close`).

    One generation is pinned: a build that replaces it meanwhile changes nothing here. `len(index)` is the number of its tiles.
    `GeoSearch.index` is one.

    ```python
    from crossgeo import GeoIndex

    with GeoIndex.open("city.geo") as index:
        segment = index.segments[0]
        west, south, east, north = segment.bounds  # metres in segment.crs
        rgb, valid = index.read_window(segment, (west + east) / 2, (south + north) / 2, size_m=60.0, size_px=256)
        print(len(index), [source.name for source in index.manifest.sources], rgb.shape, valid.mean())
    ```
    """

    def __init__(self, path: Path, manifest: Manifest, rows: OpenRows | None = None) -> None:
        self.path = path
        self.manifest = manifest
        self.gsd_m = manifest.grid.gsd_m
        self.tile_m = manifest.grid.tile_m
        self.stride_m = manifest.grid.stride_m
        self.tile_px = manifest.grid.tile_px
        self._parts: list[Part] = []
        self._cache = BlockCache()
        segments, centres = [], []
        self.zones: list[Zone] = []
        self._grounds: list[Ground] = []
        self._layer_sources: dict[tuple[int, int], list[SourceRecord]] = {}
        self._open_rows = rows
        self._rows: RowSearch | None = None
        try:
            first_id = 0
            for number, records in enumerate(zones_of(manifest)):
                zone = self._open_zone(records)
                segments.append(_segment(number, zone, first_id))
                centres.append(zone.tiles.astype(np.float64) * self.stride_m)
                first_id += len(zone)
            self.segments: tuple[Segment, ...] = tuple(segments)
            self.centres: NDArray[np.float64] = np.concatenate(centres)
            self.segment_numbers: NDArray[np.int32] = np.repeat(np.arange(len(segments), dtype=np.int32), [s.tiles for s in segments])
            self._rows = rows(self) if rows is not None else LocalRows(self.zones, manifest.dim)
        except BaseException:
            self.close()
            raise

    def _open_zone(self, records: list[SegmentRecord]) -> Zone:
        parts = []
        for record in records:
            parts.append(Part.open(self.path, record, ROW_FILES if self._open_rows is not None else frozenset()))
            self._parts.append(parts[-1])
        zone = Zone.of(parts)
        self.zones.append(zone)
        self._grounds.append(zone.ground())
        return zone

    @classmethod
    def open(cls, path: str | Path, rows: OpenRows | None = None, identity: ModelIdentity | None = None) -> GeoIndex:
        """Open the current generation; every file is checked against the manifest first.

        `rows` says who searches its descriptors, where that is not this process, which then neither reads nor checks them. An index that
        was not described by the model of `identity` is refused before anything of it is opened, which may take others long.
        Raise InputError where there is no index, StoreError naming the file that is damaged, MismatchError for a newer format or another
        model.
        """
        folder = Path(path)
        for attempt in range(ATTEMPTS):
            before = pointer(folder)
            try:
                manifest = read_manifest(folder)
                if identity is not None:
                    check_model(folder, manifest, identity)
                return cls(folder, manifest, rows)
            except StoreError:
                if attempt == ATTEMPTS - 1 or pointer(folder) == before:
                    raise  # not a build that replaced this generation while it was being opened
        raise AssertionError("unreachable")

    def renewed(self) -> GeoIndex:
        """Return the generation that is current on disk, opened as this one was; raise what `open` does, also for one of another model."""
        return GeoIndex.open(self.path, self._open_rows, self.manifest.identity)

    def close(self) -> None:
        """Let go of the files."""
        if self._rows is not None:
            self._rows.close()
        for part in self._parts:
            part.close()
        self._parts = []

    def __enter__(self) -> GeoIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def calibration(self) -> Mapping[str, Any] | None:
        """How sure answers are, as the engine reads it (`engine.calibrate.Calibration`); None where the index is not calibrated."""
        return self.manifest.calibration

    @property
    def generation(self) -> int:
        """The number of the generation that is open."""
        return self.manifest.generation

    @property
    def widest_stride_m(self) -> float:
        """From one tile to the next where ground is dull, and tiles are therefore fewer; elsewhere it is `stride_m`."""
        return self.stride_m * (1 if self.manifest.grid.sparse_below is None else SPARSE)

    def check_model(self, identity: ModelIdentity) -> None:
        """Raise MismatchError unless a model is the one that described this index's tiles, weights and view alike."""
        check_model(self.path, self.manifest, identity)

    # Places

    def segment_of(self, tile: int) -> Segment:
        """Return the segment that a tile id belongs to."""
        return self.segments[int(self.segment_numbers[tile])]

    def tiles_at(self, segment: Segment, at: ArrayLike) -> NDArray[np.int64]:
        """Return the ids (n,) of a segment's tiles (i, j) (n, 2), which are centred on (i, j) * stride_m; -1 where it has no such tile."""
        wanted = np.asarray(at, np.int64).reshape(-1, 2)
        order = tile_order(wanted)
        low, high = (np.full(len(wanted), segment.first_id + more) for more in (0, segment.tiles))  # ids that begin and end what is left
        while (open_ := low < high).any():  # by halves: a table of all tiles would take as much memory as their centres
            middle = (low + high) // 2
            before = open_ & (tile_order(self._tiles(np.where(open_, middle, segment.first_id))) < order)
            low, high = np.where(before, middle + 1, low), np.where(open_ & ~before, middle, high)
        there = low < segment.first_id + segment.tiles
        there[there] = (self._tiles(low[there]) == wanted[there]).all(axis=1)
        return np.where(there, low, -1)

    def _tiles(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        return np.rint(self.centres[ids] / self.stride_m).astype(np.int64)

    @cached_property
    def _lat_lon(self) -> NDArray[np.float64]:
        out = np.empty((len(self), 2), np.float64)
        for s in self.segments:
            mine = slice(s.first_id, s.first_id + s.tiles)
            lon, lat = geodesy.transform(s.crs, LAT_LON, self.centres[mine, 0], self.centres[mine, 1])
            out[mine] = np.stack([lat, lon], axis=1)
        return out

    def lat_lon(self, ids: ArrayLike) -> NDArray[np.float64]:
        """Return (n, 2) lat, lon in degrees of the centres of tiles (n,)."""
        return self._lat_lon[np.asarray(ids, np.int64)]

    @property
    def bounds_lat_lon(self) -> tuple[float, float, float, float]:
        """South, west, north, east of all segments together, degrees (not cut at the antimeridian)."""
        south, west, north, east = zip(*(s.bounds_lat_lon for s in self.segments), strict=True)
        return min(south), min(west), max(north), max(east)

    def ids_near(self, lat: float, lon: float, radius_m: float) -> NDArray[np.int64]:
        """Return the ids of the tiles whose centres lie within `radius_m` of a place (great circle, 0.5 % of the distance)."""
        return np.flatnonzero(geodesy.great_circle_m(self._lat_lon[:, 0], self._lat_lon[:, 1], lat, lon) <= radius_m).astype(np.int64)

    def segment_at(self, lat: float, lon: float) -> tuple[Segment, float, float] | None:
        """Return (segment, x, y) of a place that some segment has imagery of, the first such segment; None outside all."""
        for s in self.segments:
            south, west, north, east = s.bounds_lat_lon
            if south - 0.1 <= lat <= north + 0.1 and west - 0.1 <= lon <= east + 0.1:
                x, y = geodesy.from_lat_lon(s.crs, lat, lon)
                if self.covers(s, x, y):
                    return s, x, y
        return None

    # Search

    @property
    def rows(self) -> RowSearch:
        """Who searches its descriptors."""
        assert self._rows is not None
        return self._rows

    def to(self, device: str) -> None:
        """Search on a GPU from now on, wherever a segment's descriptors fit there (float16 or int8); elsewhere all stays as it is."""
        self.rows.to(device)

    def search(self, queries: ArrayLike, k: int, ids: ArrayLike | None = None) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Return scores (inner products) and tile ids (Q, K) of the tiles most like (Q, D) unit vectors, best first, K = min(k, searched).

        With `ids` (n,), only those tiles are searched, exactly.
        """
        vectors = np.ascontiguousarray(queries, np.float32)
        if vectors.ndim != 2 or vectors.shape[1] != self.manifest.dim:
            raise UsageError(f"queries have shape {vectors.shape}, but this index's descriptors have length {self.manifest.dim}")
        if k < 1:
            raise UsageError(f"k is {k}; ask for at least one tile")
        among = None if ids is None else np.asarray(ids, np.int64)
        if among is not None and not (among[1:] > among[:-1]).all():  # a selection comes sorted, and may be of millions
            among = np.unique(among)
        return self.rows.search(vectors, k, among)

    def descriptors(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return the (n, D) descriptors of tiles (n,)."""
        return self.rows.descriptors(np.asarray(ids, np.int64))

    # Imagery

    def read_window(self, segment: Segment, x: float, y: float, size_m: float, size_px: int) -> tuple[Pixels, Mask]:
        """Return the imagery of the square of `size_m` about (x, y): RGB (size_px, size_px, 3), north up, 0 where invalid, and valid.

        The square starts on a whole block pixel; `grid.Window.at(x, y, size_m, index.gsd_m)` is where it truly lies.
        """
        return read_window(self._store(segment), self._cache, Window.at(x, y, size_m, self.gsd_m), size_px)

    def read_windows(self, segment: Segment, centres_xy: ArrayLike, size_m: float, size_px: int) -> tuple[Pixels, Mask]:
        """Return `read_window` of each centre (n, 2): (n, size_px, size_px, 3) and (n, size_px, size_px); what overlaps is read once."""
        windows = windows_at(np.asarray(centres_xy, np.float64), size_m, self.gsd_m)
        return read_windows(self._store(segment), self._cache, windows, size_px)

    def covers(self, segment: Segment, x: float, y: float) -> bool:
        """Say whether the pixel at (x, y) is valid imagery."""
        if not (np.isfinite(x) and np.isfinite(y)):
            return False
        at = Window.at(x, y, self.gsd_m, self.gsd_m)
        if abs(at.col) > BLOCK_PX << 30 or abs(at.row) > BLOCK_PX << 30:
            return False
        block = self._cache.get(self._store(segment), at.col // BLOCK_PX, at.row // BLOCK_PX)
        if block is None:
            return False
        return block[1] is None or bool(block[1][at.row % BLOCK_PX, at.col % BLOCK_PX])

    def source_at(self, segment: Segment, x: float, y: float) -> SourceRecord | None:
        """Return the source whose imagery shows at (x, y); None where there is none.

        Of several sources of one build, it is the first in whose bounds the place lies.
        """
        at = Window.at(x, y, self.gsd_m, self.gsd_m)
        ground = self._store(segment)
        number = int(ground.layers_at(np.asarray([at.col]), np.asarray([at.row]))[0])
        return None if number < 0 else first_over(self._sources(segment, number), segment.crs, x, y)

    def source_behind(self, segment: Segment, x: float, y: float, tile: int) -> SourceRecord | None:
        """Return the source that answers for a place: what shows there, or past the rim of the imagery what does at a tile's centre."""
        return self.source_at(segment, x, y) or self.source_at(segment, *self.centres[tile].tolist())

    def sources_of(self, segment: Segment, ids: NDArray[np.int64]) -> list[SourceRecord | None]:
        """Return the source of each of a segment's tiles (n,): what it shows at its centre, or most of; None for what lies in no bounds."""
        ground, centres = self._store(segment), self.centres[ids]
        shown = shown_layers(ground, centres, self.tile_m, self.gsd_m)
        return [
            None if number < 0 else first_over(self._sources(segment, number), segment.crs, float(x), float(y))
            for number, (x, y) in zip(shown.tolist(), centres, strict=True)
        ]

    def ids_of_vintage(self, vintage: str) -> NDArray[np.int64]:
        """Return the ids of the tiles whose ground is of a year, month or day, or of a span of them: 2023 is also 2023-06.

        What a tile shows at its centre counts; where it shows nothing there, what it shows most of.
        """
        found = [np.zeros(0, np.int64)]
        for segment in self.segments:
            ground = self._store(segment)
            asked = [any(is_of_vintage(s.vintage, vintage) for s in self._sources(segment, number)) for number in range(len(ground.layers))]
            if not any(asked):
                continue
            mine = np.arange(segment.first_id, segment.first_id + segment.tiles, dtype=np.int64)
            if not all(asked):
                shown = shown_layers(ground, self.centres[mine], self.tile_m, self.gsd_m)
                mine = mine[(shown >= 0) & np.asarray(asked)[shown]]
            found.append(mine)
        return np.concatenate(found)

    def _sources(self, segment: Segment, number: int) -> list[SourceRecord]:
        """Return the sources of the layer at that place of a segment's ground, which share a vintage and a licence."""
        key = segment.number, number
        if key not in self._layer_sources:
            layer = self._grounds[segment.number].layers[number].number
            self._layer_sources[key] = sources_of(self.manifest, self.zones[segment.number].parts[0].record.crs, layer)
        return self._layer_sources[key]

    def _store(self, segment: Segment) -> Ground:
        if not self._parts:
            raise UsageError(f"{self.path} is closed; open it again to read imagery")
        return self._grounds[segment.number]


OpenRows = Callable[[GeoIndex], RowSearch]
"""Opens what searches the rows of an index whose tiles and imagery are open already."""


def _segment(number: int, zone: Zone, first_id: int) -> Segment:
    record = zone.parts[0].record
    try:
        crs = geodesy.parse_crs(record.crs)
    except GeoError as error:
        raise StoreError(f"segment {record.name}: {error}") from error
    edges = np.asarray([part.record.bounds for part in zone.parts if part.store is not None])
    bounds = float(edges[:, 0].min()), float(edges[:, 1].min()), float(edges[:, 2].max()), float(edges[:, 3].max())
    west, south, east, north = carry_bounds(bounds, crs, LAT_LON)
    return Segment(number, zone.name(), crs, bounds, (south, west, north, east), first_id, len(zone))
