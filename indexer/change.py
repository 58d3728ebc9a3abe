"""A finished index opened to be changed: its ground layer by layer, and how a change of the ground becomes a change of its tiles.

Every command keeps one rule: the index answers afterwards as one that was built of the ground that is there then. Tiles whose squares hold
changed ground are removed where they stand, and described again in a new segment; segments never change.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from types import TracebackType

import numpy as np

from crossgeo.indexer import files
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.described import Describe, Step, describe_tiles
from crossgeo.indexer.grid import Bounds, block_bounds
from crossgeo.indexer.ground import Block, Ground, Layer
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.manifest import SEARCH_FILES, Manifest, SegmentRecord, parse_segment, plain, segment_path
from crossgeo.indexer.parts import Part, Zone, zones_of
from crossgeo.indexer.removed import Removed, write_removed
from crossgeo.indexer.segment_files import is_whole, move_in, seal, write_rows, write_search
from crossgeo.indexer.tiles import Tiles, among, changed_tiles


class Base:
    """The generation that a change starts from; its writer holds the index's lock. A context manager."""

    def __init__(self, index: Path, manifest: Manifest) -> None:
        """Open all but what is searched, every file checked; raise StoreError, naming the file, where one is damaged."""
        self.index, self.manifest = index, manifest
        self.zones: dict[str, Zone] = {}
        self._parts: list[Part] = []
        try:
            for records in zones_of(manifest):
                parts = []
                for record in records:
                    parts.append(Part.open(index, record, without=SEARCH_FILES))
                    self._parts.append(parts[-1])
                self.zones[records[0].crs] = Zone.of(parts)
        except BaseException:
            self.close()
            raise

    def layers(self, crs: str) -> list[Layer]:
        """Return the imagery of a CRS, the first over the others."""
        return list(self.zones[crs].ground().layers) if crs in self.zones else []

    def close(self) -> None:
        """Let go of the files."""
        for part in self._parts:
            part.close()

    def __enter__(self) -> Base:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def without(
    index: Path, zone: Zone, tiles: Tiles, cut: Mapping[int, Mapping[Block, Mask]] | None = None, gsd_m: float = 0.0
) -> list[SegmentRecord]:
    """Return the records of a zone's segments without some tiles (n, 2) and without cells of parts by number; empty ones are left out."""
    out = []
    for number, part in enumerate(zone.parts):
        gone = part.removed.tiles | among(part.tiles, tiles)
        cells = dict(part.removed.cells)
        for block, more in (cut or {}).get(number, {}).items():
            cells[block] = cells[block] | more if block in cells else more
        removed, bounds = Removed(gone, cells), part.record.bounds
        if part.store is not None and cells != part.removed.cells:
            left = bounds_left(Layer(part.store, cells), gsd_m)
            if left is None and bool(gone.all()):
                continue
            bounds = left or bounds
        elif part.store is None and bool(gone.all()):
            continue
        unchanged = bounds == part.record.bounds and removed.to_bytes() == part.removed.to_bytes()
        out.append(part.record if unchanged else replace(part.record, bounds=bounds, removed=write_removed(index, removed)))
    return out


def bounds_left(layer: Layer, gsd_m: float) -> Bounds | None:
    """Return the bounds of the blocks of which anything is left; None where nothing is."""
    left = [block for block in layer.store.blocks() if block not in layer.removed or bool(np.any(layer.valid(block)))]
    if not left:
        return None
    edges = np.asarray([block_bounds(bx, by, gsd_m) for bx, by in left])
    return float(edges[:, 0].min()), float(edges[:, 1].min()), float(edges[:, 2].max()), float(edges[:, 3].max())


@dataclass(frozen=True)
class Patch:
    """The tiles of one CRS that are to be described again, over the ground as it is then."""

    crs: str
    ground: Ground
    tiles: Tiles

    @classmethod
    def of(cls, crs: str, layers: Sequence[Layer], changed: Mapping[Block, Mask], manifest: Manifest) -> Patch:
        """Return the patch for ground of which some cells changed."""
        ground = Ground(layers)
        return cls(crs, ground, changed_tiles(ground, changed, manifest.grid))

    def describe(
        self, number: int, index: Path, journal: Journal, manifest: Manifest, describe: Describe, batch: int, step: Step
    ) -> SegmentRecord | None:
        """Describe its tiles, move them in as a segment without imagery and return its record; None where there are none."""
        if not len(self.tiles):
            return None
        name = f"patch-{number}"
        folder = journal.folder / name / "segment"
        known = journal.get_json(f"{name}/segment.json")
        if known is not None and is_whole(segment_path(index, parse_segment(known).name), parse_segment(known)):
            step(len(self.tiles))
            return parse_segment(known)
        pieces, g = f"{name}/descriptors", manifest.grid
        files.make_folder(folder)
        write = partial(write_rows, folder, tiles=self.tiles)
        dim = describe_tiles(journal, pieces, self.ground, self.tiles, g, describe, batch, manifest.identity.name, step, write)
        search = write_search(folder)
        record = seal(folder, self.crs, self._bounds(g.stride_m, g.tile_m), 0, len(self.tiles), dim, 0, search)
        journal.put_json(f"{name}/segment.json", plain(record))
        move_in(index, folder, record)
        return record

    def _bounds(self, stride_m: float, tile_m: float) -> Bounds:
        centres = self.tiles * stride_m
        low, high = centres.min(axis=0) - tile_m / 2, centres.max(axis=0) + tile_m / 2
        return float(low[0]), float(low[1]), float(high[0]), float(high[1])
