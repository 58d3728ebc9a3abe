"""The segments of one CRS, opened: their tiles in one order of ids, and their imagery as one ground, without what is removed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.block_store import BlockStore
from crossgeo.indexer.descriptor_store import read_tiles
from crossgeo.indexer.files import damaged
from crossgeo.indexer.grid import in_order
from crossgeo.indexer.ground import Ground, Layer
from crossgeo.indexer.manifest import (
    IMAGERY_FILE,
    TILES_FILE,
    Manifest,
    SegmentRecord,
    canonical,
    check_file,
    plain,
    segment_path,
)
from crossgeo.indexer.removed import Removed, read_removed
from crossgeo.indexer.vector_index import VectorIndex
from crossgeo.indexer.vectors import exact, ivf

ROW_FILES = frozenset({TILES_FILE, *exact.FILES, *ivf.FILES})
"""What holds descriptors and what searches them: of use to who searches alone. Tiles, in one of them, have checksums of their own."""


@dataclass(frozen=True)
class Part:
    """A segment's tiles (n, 2), which of them are removed, and its imagery where it has any."""

    record: SegmentRecord
    folder: Path
    tiles: NDArray[np.int32]
    removed: Removed
    store: BlockStore | None

    @classmethod
    def open(cls, index: Path, record: SegmentRecord, without: frozenset[str] = frozenset()) -> Part:
        """Open a segment whose files, but for those named, are checked first; raise StoreError, naming the file, where one is damaged."""
        folder = segment_path(index, record.name)
        for name, file in record.files.items():
            if name not in without:
                check_file(folder / name, file)  # before any library believes a byte of it
        removed = read_removed(index, record)
        tiles = read_tiles(folder / TILES_FILE) if TILES_FILE in record.files else np.zeros((0, 2), np.int32)
        if tiles.shape != (record.tiles, 2):
            raise damaged(folder, f"does not hold the {record.tiles} tiles of the manifest")
        return cls(record, folder, tiles, removed, BlockStore(folder / IMAGERY_FILE) if IMAGERY_FILE in record.files else None)

    def vectors(self) -> VectorIndex:
        """Open what is searched of its tiles; raise StoreError where it is not of them."""
        vectors = VectorIndex(self.folder)
        if (len(vectors), vectors.dim) != (self.record.tiles, self.record.dim):
            raise damaged(self.folder, f"does not hold the {self.record.tiles} tiles of the manifest")
        return vectors

    @property
    def layer(self) -> Layer | None:
        """Its imagery as a layer."""
        return None if self.store is None else Layer(self.store, self.removed.cells, self.record.layer)

    @property
    def live(self) -> NDArray[np.int64]:
        """The rows of its tiles that are not removed."""
        return np.flatnonzero(~self.removed.tiles)

    def close(self) -> None:
        """Let go of its imagery."""
        if self.store is not None:
            self.store.close()


@dataclass(frozen=True)
class Zone:
    """The parts of one CRS, and their tiles that are not removed in the order in which one build of all would have them."""

    parts: tuple[Part, ...]  # the first one's imagery lies over the others
    part_of: NDArray[np.int32] | None  # (n,) of each tile; None where there is one part and nothing removed: all as it stands there
    row_of: NDArray[np.int64] | None  # (n,) in its part

    @classmethod
    def of(cls, parts: Sequence[Part]) -> Zone:
        """Put parts of one CRS together."""
        parts = tuple(sorted(parts, key=lambda part: part.record.layer))
        if len(parts) == 1 and parts[0].record.removed is None:
            return cls(parts, None, None)
        part_of = np.concatenate([np.full(len(part.live), n, np.int32) for n, part in enumerate(parts)])
        row_of = np.concatenate([part.live for part in parts])
        order = in_order(np.concatenate([part.tiles[part.live] for part in parts]))
        return cls(parts, part_of[order], row_of[order])

    def __len__(self) -> int:
        return len(self.parts[0].tiles) if self.row_of is None else len(self.row_of)

    @property
    def tiles(self) -> NDArray[np.int32]:
        """The tiles (n, 2), as (i, j)."""
        if self.part_of is None or self.row_of is None:
            return self.parts[0].tiles
        out = np.empty((len(self), 2), np.int32)
        for n, part in enumerate(self.parts):
            mine = self.part_of == n
            out[mine] = part.tiles[self.row_of[mine]]
        return out

    def rows(self, part: int, ids: NDArray[np.int64] | None) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        """Return which of the tiles `ids` (n,) are of a part, and their rows in it, rising; None is all: of `ids`, and as an answer."""
        if self.part_of is None or self.row_of is None:
            return ids, ids
        mine = np.flatnonzero(self.part_of == part) if ids is None else ids[self.part_of[ids] == part]
        return mine, self.row_of[mine]

    def ground(self) -> Ground:
        """Return its imagery."""
        return Ground([layer for part in self.parts if (layer := part.layer) is not None])

    def name(self) -> str:
        """Return a name for what it holds: a segment's own where there is only one, with nothing removed."""
        if self.part_of is None:
            return self.parts[0].record.name
        return "z-" + hashlib.sha256(canonical([plain(part.record) for part in self.parts])).hexdigest()[:16]


def zones_of(manifest: Manifest) -> list[list[SegmentRecord]]:
    """Return the segments by their CRS, in the order in which CRSs first come."""
    found: dict[str, list[SegmentRecord]] = {}
    for record in manifest.segments:
        found.setdefault(record.crs, []).append(record)
    return list(found.values())
