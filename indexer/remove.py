"""Removing ground, a source or a vintage from an index: what is removed is written beside the segments, which stay as they are."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError, UsageError
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.change import Base, Patch, without
from crossgeo.indexer.described import Describe
from crossgeo.indexer.generations import KEEP, commit, tidy
from crossgeo.indexer.grid import CELLS
from crossgeo.indexer.ground import Block, Layer, joined_cells, seen
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.lock import locked
from crossgeo.indexer.manifest import Manifest, SegmentRecord, SourceRecord, read_manifest
from crossgeo.indexer.parts import Zone
from crossgeo.indexer.progress import Counter, Progress
from crossgeo.indexer.region import Region
from crossgeo.indexer.sources_of import is_of_vintage, source_cells, sources_of
from crossgeo.indexer.tiles import reached

WORK = "work-remove"


@dataclass(frozen=True)
class What:
    """What is to be removed: ground, or sources by name or vintage. All that is given must hold of it."""

    region: Region | None = None
    source: str | None = None  # a source's name, as `geo index info` shows it
    vintage: str | None = None  # 2023 also means 2023-06 and 2023-06-30

    def __post_init__(self) -> None:
        if self.region is None and self.source is None and self.vintage is None:
            raise UsageError("nothing is named to be removed; give bounds, a polygon, a source or a vintage")

    def names(self, source: SourceRecord) -> bool:
        """Say whether a source is meant, wherever it lies."""
        if self.source is not None and source.name != self.source:
            return False
        return self.vintage is None or is_of_vintage(source.vintage, self.vintage)


def remove_from_index(
    index: str | Path,
    what: What,
    describe: Describe,
    batch: int = 32,
    keep: int = KEEP,
    progress: Callable[[Progress], None] | None = None,
) -> Manifest:
    """Remove imagery and its tiles, and return the new manifest; the index then answers as one built of the imagery that is left.

    Cells of 16 x 16 px that the region touches are removed whole. Tiles whose squares hold removed imagery go; those that still show
    enough, or show what lay beneath, are described again: `describe`, of the index's own model, is only called where there are such.
    Raise InputError where there is nothing to remove, UsageError where nothing would be left, StoreError for a damaged index, LockedError
    where another process writes.
    """
    index = Path(index)
    read_manifest(index)
    with locked(index):
        manifest = read_manifest(index)
        if not any(what.names(s) for s in manifest.sources):
            known = ", ".join(sorted({s.name for s in manifest.sources} if what.source is not None else _vintages(manifest)))
            asked = what.source if what.source is not None else f"vintage {what.vintage}"
            raise InputError(f"{index} has no {asked}; it has {known or 'none'}")
        with Base(index, manifest) as base:
            plan = {"format": 1, "command": "remove", "index": manifest.hash, "batch": batch, "what": _plain(what)}
            journal = Journal(index, plan, restart=True, folder=WORK)
            segments, dropped = _remove(base, what, describe, batch, journal, progress)
        sources = [s for s in manifest.sources if s not in dropped]
        done = commit(index, manifest.identity, manifest.grid, sources, segments, manifest.generation)
        tidy(index, done, keep)
    return done


def _plain(what: What) -> dict[str, str | None]:
    return {"region": None if what.region is None else what.region.digest(), "source": what.source, "vintage": what.vintage}


def _vintages(manifest: Manifest) -> set[str]:
    return {f"vintage {s.vintage}" for s in manifest.sources if s.vintage is not None}


def _remove(
    base: Base, what: What, describe: Describe, batch: int, journal: Journal, progress: Callable[[Progress], None] | None
) -> tuple[list[SegmentRecord], list[SourceRecord]]:
    """Return the records of the segments that are left, and the sources of which nothing is."""
    manifest, gsd_m = base.manifest, base.manifest.grid.gsd_m
    kept: list[SegmentRecord] = []
    patches: list[Patch] = []
    for crs, zone in base.zones.items():
        cut = _cut(manifest, zone, geodesy.parse_crs(crs), what)
        changed = _changed(zone, cut)
        hidden = any(_had(zone, number, cells) for number, cells in cut.items())
        if not changed and not hidden:
            kept += [part.record for part in zone.parts]
            continue
        layers = [
            replace(layer, removed=joined_cells((layer.removed, cut.get(number, {}))))
            for number, part in enumerate(zone.parts)
            if (layer := part.layer) is not None
        ]
        patches.append(Patch.of(crs, layers, changed, manifest))
        kept += without(base.index, zone, reached(changed, manifest.grid), cut, gsd_m)
    if not patches:
        raise InputError(f"{base.index} has no imagery there; nothing was removed")
    if not sum(record.live_tiles for record in kept) + sum(len(patch.tiles) for patch in patches):
        raise UsageError(f"nothing would be left of {base.index}; remove its folder instead")
    tiles = Counter("describe", sum(len(patch.tiles) for patch in patches), progress)
    new = [patch.describe(n, base.index, journal, manifest, describe, batch, tiles.step) for n, patch in enumerate(patches)]
    left = {(record.crs, record.layer) for record in kept}
    dropped = [s for crs, layer in _layers(base) if (crs, layer) not in left for s in sources_of(manifest, crs, layer)]
    if what.region is None:
        dropped += [s for s in manifest.sources if what.names(s)]
    return [*kept, *(record for record in new if record is not None)], dropped


def _layers(base: Base) -> list[tuple[str, int]]:
    return [(crs, part.record.layer) for crs, zone in base.zones.items() for part in zone.parts if part.store is not None]


def _cut(manifest: Manifest, zone: Zone, crs: CRS, what: What) -> dict[int, Mapping[Block, Mask]]:
    """Return the cells to be removed of the parts of a zone, by number."""
    out: dict[int, Mapping[Block, Mask]] = {}
    for number, part in enumerate(zone.parts):
        sources = sources_of(manifest, part.record.crs, part.record.layer)
        if part.store is None or not any(what.names(s) for s in sources):
            continue
        blocks = part.store.blocks()
        if all(what.names(s) for s in sources):
            cells: Mapping[Block, Mask] = {block: np.ones((CELLS, CELLS), bool) for block in blocks}
        else:
            cells = source_cells(sources, what.names, crs, manifest.grid.gsd_m, blocks)
        if what.region is not None:
            cells = _both(cells, what.region.cells(crs, manifest.grid.gsd_m, blocks))
        if cells:
            out[number] = cells
    return out


def _both(one: Mapping[Block, Mask], two: Mapping[Block, Mask]) -> dict[Block, Mask]:
    both = {block: one[block] & two[block] for block in one.keys() & two.keys()}
    return {block: cells for block, cells in both.items() if cells.any()}


def _changed(zone: Zone, cut: Mapping[int, Mapping[Block, Mask]]) -> dict[Block, Mask]:
    """Return the cells whose look changes when those are removed."""
    above: list[Layer] = []
    found = []
    for number, part in enumerate(zone.parts):
        layer = part.layer
        if layer is None:
            continue
        if number in cut:
            found.append(seen(layer, above, cut[number]))
        above.append(layer)
    return joined_cells(found)


def _had(zone: Zone, number: int, cells: Mapping[Block, Mask]) -> bool:
    """Say whether a part had any imagery in cells."""
    layer = zone.parts[number].layer
    return layer is not None and bool(seen(layer, (), cells))
