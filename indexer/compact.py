"""Compacting: the segments of a CRS become one with the tiles that are left, and layers of one vintage and licence one file of blocks.

Nothing is described again and a block that nothing was removed from is copied byte for byte, so that answers stay what they were. Where
several layers have a block, the lower ones' go to further segments: pictures are never mixed, which would cost quality each time.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossgeo.disk import replacing
from crossgeo.errors import StoreError
from crossgeo.indexer import files
from crossgeo.indexer.area import covered
from crossgeo.indexer.block_store import BlockStore, block_cells, encode_block, write_blocks
from crossgeo.indexer.change import Base
from crossgeo.indexer.cutting import HEAD_BYTES
from crossgeo.indexer.descriptor_store import DescriptorRows
from crossgeo.indexer.generations import commit, tidy
from crossgeo.indexer.ground import Block, Layer
from crossgeo.indexer.lock import locked
from crossgeo.indexer.manifest import IMAGERY_FILE, TILES_FILE, GridRecord, Manifest, SegmentRecord, SourceRecord, read_manifest
from crossgeo.indexer.parts import Zone
from crossgeo.indexer.segment_files import move_in, seal, write_tiles
from crossgeo.indexer.sources_of import sources_of, zone_of
from crossgeo.indexer.vectors.structure import USUAL, Budget

PIECE = 1 << 15  # tiles in memory at once
WORK = "work-compact"


def compact_index(index: str | Path, keep: int = 0, budget: Budget = USUAL) -> Manifest:
    """Rewrite what holds removed tiles or imagery, or lies in several segments, and return the new manifest; one that is compact stays.

    Older generations but for `keep` go: with none, what was removed is gone for good, and nothing is left to go back to.
    Raise StoreError for a damaged index, LockedError where another process writes, LimitError for a full disk: the index is then as before.
    """
    index = Path(index)
    read_manifest(index)
    with locked(index):
        manifest = read_manifest(index)
        files.remove(index / WORK)  # of one that was interrupted
        with Base(index, manifest) as base:
            segments: list[SegmentRecord] = []
            sources = list(manifest.sources)
            for n, (crs, zone) in enumerate(base.zones.items()):
                groups = _groups(manifest, crs, zone)
                sources = [_moved(s, groups, crs, manifest.grid) for s in sources]
                segments += _compacted(index, index / WORK / f"zone-{n}", zone, groups, manifest.grid, budget)
        done = manifest
        if (tuple(segments), tuple(sources)) != (manifest.segments, manifest.sources):
            done = commit(index, manifest.identity, manifest.grid, sources, segments, manifest.generation, manifest.calibration)
        tidy(index, done, keep)
    return done


@dataclass(frozen=True)
class _Group:
    """Layers that become one: alike in vintage and licence, and none of another lies between them."""

    number: int  # as which they go on
    layers: tuple[Layer, ...]


def _groups(manifest: Manifest, crs: str, zone: Zone) -> list[_Group]:
    out: list[_Group] = []
    last: object = None
    for part in zone.parts:
        layer = part.layer
        if layer is None:
            continue
        about = {(s.vintage, s.licence) for s in sources_of(manifest, crs, layer.number)}
        if out and (layer.number == out[-1].layers[-1].number or (about == last and len(about) <= 1)):
            out[-1] = replace(out[-1], layers=(*out[-1].layers, layer))
        else:
            out.append(_Group(layer.number, (layer,)))
        last = about
    return out


def _moved(source: SourceRecord, groups: Sequence[_Group], crs: str, grid: GridRecord) -> SourceRecord:
    """Return a source's record with the layer that its own became."""
    if zone_of(source, grid.crs) != crs:
        return source
    number = next((g.number for g in groups if any(layer.number == source.layer for layer in g.layers)), source.layer)
    return replace(source, layer=number)


def _compacted(index: Path, work: Path, zone: Zone, groups: Sequence[_Group], grid: GridRecord, budget: Budget) -> list[SegmentRecord]:
    """Return the records of the segments that a zone becomes."""
    made: list[tuple[int, Path, list[tuple[Layer, list[Block]]]]] = []
    for n, group in enumerate(groups):
        for m, level in enumerate(_levels(group.layers)):
            made.append((group.number, work / f"{n}-{m}", level))
    if _is_compact(zone, made):
        return [part.record for part in zone.parts]
    out = []
    for n, (layer, folder, level) in enumerate(made):
        files.make_folder(folder)
        coverage = _write_level(folder / IMAGERY_FILE, level, grid.jpeg_quality)
        if n == 0:
            dim, search = write_tiles(folder, _descriptors(zone), zone.tiles, budget)
        else:
            dim, search = 0, None
        record = seal(
            folder, zone.parts[0].record.crs, covered(coverage, grid.gsd_m), len(coverage), 0 if n else len(zone), dim, layer, search
        )
        move_in(index, folder, record)
        out.append(record)
    return out


def _is_compact(zone: Zone, made: Sequence[tuple[int, Path, list[tuple[Layer, list[Block]]]]]) -> bool:
    if any(part.record.removed is not None for part in zone.parts) or sum(len(part.tiles) > 0 for part in zone.parts) > 1:
        return False
    return len(made) == len(zone.parts) and all(len(level) == 1 for _, _, level in made)


def _levels(layers: Sequence[Layer]) -> list[list[tuple[Layer, list[Block]]]]:
    """Return, for each file of blocks to be, which blocks it takes from which layer: a block's first picture goes to the first file."""
    depth: dict[Block, int] = {}
    levels: list[dict[int, list[Block]]] = []
    for number, layer in enumerate(layers):
        for block in layer.store.blocks():
            if block in layer.removed and not np.any(layer.valid(block)):
                continue
            at = depth.get(block, 0)
            depth[block] = at + 1
            if at == len(levels):
                levels.append({})
            levels[at].setdefault(number, []).append(block)
    return [[(layers[number], blocks) for number, blocks in level.items()] for level in levels]


def _write_level(path: Path, level: Sequence[tuple[Layer, list[Block]]], quality: int) -> dict[Block, NDArray[np.bool_]]:
    """Write a file of blocks and return its coverage."""
    owner = {block: layer for layer, blocks in level for block in blocks}
    order = sorted(owner, key=lambda block: (block[1], block[0]))
    total = sum(HEAD_BYTES + len(owner[block].store[block] or b"") for block in order)  # the room that a build would take: equal bytes

    def values() -> Iterator[tuple[Block, bytes]]:
        for block in order:
            yield block, _value(owner[block], block, quality)

    with replacing(path) as temporary:
        write_blocks(temporary, values(), total, len(order))
    with BlockStore(path) as store:
        return {block: block_cells(value) for block, value in store.items()}


def _value(layer: Layer, block: Block, quality: int) -> bytes:
    """Return the bytes of a block: as they are, or encoded again without what was removed of it."""
    value = layer.store[block]
    assert value is not None
    if block not in layer.removed:
        return value
    found = layer.read(*block)
    assert found is not None
    valid = found[1] if found[1] is not None else np.ones(found[0].shape[:2], bool)
    return encode_block(found[0], valid, quality)


def _descriptors(zone: Zone) -> Iterator[NDArray[np.float32]]:
    """Yield the descriptors (m, D) of a zone's tiles, piece by piece, in their order."""
    if not len(zone):
        raise StoreError(f"{zone.parts[0].folder.parent.parent} has imagery in {zone.parts[0].record.crs} without a tile; remove it")
    with ExitStack() as stack:
        stored = [stack.enter_context(DescriptorRows(p.folder / TILES_FILE)) if len(p.live) else None for p in zone.parts]
        for start in range(0, len(zone), PIECE):
            some = np.arange(start, min(start + PIECE, len(zone)))
            out: NDArray[np.float32] | None = None
            for number, rows in enumerate(stored):
                if rows is None:
                    continue
                ids, mine = zone.rows(number, some)
                out = np.empty((len(some), rows.shape[1]), np.float32) if out is None else out
                if ids is not None and mine is not None:
                    out[ids - start] = rows.take(mine)
            if out is not None:
                yield out
