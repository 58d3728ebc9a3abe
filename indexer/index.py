"""A finished index, opened for reading: tiles and their places, search over their descriptors, and windows of imagery.

A tile id is global over the index's segments; a position is (segment, x, y) in metres of the segment's CRS, or lat, lon.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import GeoError, MismatchError, StoreError, UsageError
from crossgeo.indexer.block_store import BlockStore, Mask, Pixels
from crossgeo.indexer.descriptor_store import read_tiles
from crossgeo.indexer.files import damaged
from crossgeo.indexer.grid import BLOCK_PX, Bounds, Window, tile_order
from crossgeo.indexer.manifest import Manifest, ModelIdentity, SegmentRecord, check_file, read_manifest, segment_path
from crossgeo.indexer.places import LAT_LON, carry_bounds
from crossgeo.indexer.vector_index import VectorIndex, best
from crossgeo.indexer.windows import BlockCache, read_window, read_windows, windows_at

_ATTEMPTS = 5


@dataclass(frozen=True)
class Segment:
    """A part of an index with its own metric CRS; `index.segments[number]`."""

    number: int
    name: str
    crs: CRS
    bounds: Bounds  # x_min, y_min, x_max, y_max of its imagery, metres
    bounds_lat_lon: tuple[float, float, float, float]  # south, west, north, east, degrees
    first_id: int  # its tiles are first_id ... first_id + tiles - 1
    tiles: int


class GeoIndex:
    """One generation of an index, pinned: a build that replaces it meanwhile changes nothing here. Use `GeoIndex.open` and `close`."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path = path
        self.manifest = manifest
        self.gsd_m = manifest.grid.gsd_m
        self.tile_m = manifest.grid.tile_m
        self.stride_m = manifest.grid.stride_m
        self.tile_px = manifest.grid.tile_px
        self._blocks: list[BlockStore] = []
        self._vectors: list[VectorIndex] = []
        self._cache = BlockCache()
        segments, centres = [], []
        try:
            first_id = 0
            for number, record in enumerate(manifest.segments):
                tiles = self._open_segment(record)
                segments.append(_segment(number, record, first_id))
                centres.append(tiles.astype(np.float64) * self.stride_m)
                first_id += record.tiles
        except BaseException:
            self.close()
            raise
        self.segments: tuple[Segment, ...] = tuple(segments)
        self.centres: NDArray[np.float64] = np.concatenate(centres)
        self.segment_numbers: NDArray[np.int32] = np.repeat(np.arange(len(segments), dtype=np.int32), [s.tiles for s in segments])

    def _open_segment(self, record: SegmentRecord) -> NDArray[np.int32]:
        folder = segment_path(self.path, record.name)
        for name, file in record.files.items():
            check_file(folder / name, file)  # before any library believes a byte of it
        tiles = read_tiles(folder / "descriptors.h5")
        vectors = VectorIndex(folder / "ann.faiss")
        if tiles.shape != (record.tiles, 2) or (len(vectors), vectors.dim) != (record.tiles, self.manifest.dim):
            raise damaged(folder, f"does not hold the {record.tiles} tiles of the manifest")
        self._vectors.append(vectors)
        self._blocks.append(BlockStore(folder / "blocks.lmdb"))
        return tiles

    @classmethod
    def open(cls, path: str | Path) -> GeoIndex:
        """Open the current generation; every file is checked against the manifest first.

        Raise InputError where there is no index, StoreError naming the file that is damaged, MismatchError for a newer format.
        """
        folder = Path(path)
        for attempt in range(_ATTEMPTS):
            manifest = read_manifest(folder)
            try:
                return cls(folder, manifest)
            except StoreError:
                if attempt == _ATTEMPTS - 1 or read_manifest(folder).generation == manifest.generation:
                    raise  # not a build that replaced this generation while it was being opened
        raise AssertionError("unreachable")

    def close(self) -> None:
        """Let go of the files."""
        for store in self._blocks:
            store.close()
        self._blocks = []

    def __enter__(self) -> GeoIndex:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def __len__(self) -> int:
        return len(self.centres)

    @property
    def generation(self) -> int:
        """The number of the generation that is open."""
        return self.manifest.generation

    def check_model(self, identity: ModelIdentity) -> None:
        """Raise MismatchError unless a model is the one that described this index's tiles, weights and view alike."""
        mine = self.manifest.identity
        if identity != mine:
            what = "set of weights" if identity.sha256 != mine.sha256 else "view" if identity.view != mine.view else "name"
            raise MismatchError(
                f"{self.path} was built with {mine.name} (weights {mine.sha256[:12]}, view {mine.view[:12]}), not with {identity.name} "
                f"(weights {identity.sha256[:12]}, view {identity.view[:12]}): another {what}; query with its own model or build it again"
            )

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
        found = [self._search_segment(s, vectors, k, among) for s in self.segments]
        return best(np.concatenate([f[0] for f in found], axis=1), np.concatenate([f[1] for f in found], axis=1), k)

    def _search_segment(
        self, s: Segment, queries: NDArray[np.float32], k: int, ids: NDArray[np.int64] | None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        if ids is None:
            scores, rows = self._vectors[s.number].search(queries, k)
        else:
            mine = ids[slice(*np.searchsorted(ids, (s.first_id, s.first_id + s.tiles)))] - s.first_id
            scores, rows = self._vectors[s.number].search_among(queries, k, mine)
        return scores, rows + s.first_id

    def descriptors(self, ids: ArrayLike) -> NDArray[np.float32]:
        """Return the (n, D) descriptors of tiles (n,)."""
        wanted = np.asarray(ids, np.int64)
        out = np.empty((len(wanted), self.manifest.dim), np.float32)
        for s in self.segments:
            mine = self.segment_numbers[wanted] == s.number
            out[mine] = self._vectors[s.number].vectors(wanted[mine] - s.first_id)
        return out

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

    def _store(self, segment: Segment) -> BlockStore:
        if not self._blocks:
            raise UsageError(f"{self.path} is closed; open it again to read imagery")
        return self._blocks[segment.number]


def _segment(number: int, record: SegmentRecord, first_id: int) -> Segment:
    try:
        crs = geodesy.parse_crs(record.crs)
    except GeoError as error:
        raise StoreError(f"segment {record.name}: {error}") from error
    west, south, east, north = carry_bounds(record.bounds, crs, LAT_LON)
    return Segment(number, record.name, crs, record.bounds, (south, west, north, east), first_id, record.tiles)
