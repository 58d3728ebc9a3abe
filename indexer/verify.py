"""Checking a whole index: every file against the manifest, and a segment's files against each other."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from crossgeo.errors import StoreError
from crossgeo.indexer.block_store import BlockStore, decode_block
from crossgeo.indexer.descriptor_store import DescriptorRows, read_tiles
from crossgeo.indexer.manifest import (
    ATTEMPTS,
    IMAGERY_FILE,
    TILES_FILE,
    SegmentRecord,
    check_file,
    pointer,
    read_manifest,
    segment_path,
)
from crossgeo.indexer.removed import read_removed
from crossgeo.indexer.vector_index import VectorIndex


def verify_index(path: str | Path) -> list[str]:
    """Return what is wrong with the current generation, a sentence each that names the file; nothing when it is whole.

    Raise InputError where there is no index and MismatchError for a newer format.
    """
    index = Path(path)
    for _ in range(ATTEMPTS):
        before = pointer(index)
        problems = _verify_current(index)
        if not problems or pointer(index) == before:
            break  # else a new generation took away what was being looked at
    return problems


def _verify_current(index: Path) -> list[str]:
    try:
        manifest = read_manifest(index)
    except StoreError as error:
        return [str(error)]
    problems: list[str] = []
    for segment in manifest.segments:
        problems += _verify_segment(index, segment)
    return problems


def _verify_segment(index: Path, segment: SegmentRecord) -> list[str]:
    folder = segment_path(index, segment.name)
    problems = []
    for name, record in sorted(segment.files.items()):
        try:
            check_file(folder / name, record)
        except StoreError as error:
            problems.append(str(error))
    try:
        read_removed(index, segment)
    except StoreError as error:
        problems.append(str(error))
    if problems:
        return problems  # no library opens a file that is not what was written
    return [*(_verify_tiles(folder, segment) if TILES_FILE in segment.files else ()), *_verify_imagery(folder, segment)]


def _verify_tiles(folder: Path, segment: SegmentRecord) -> Iterator[str]:
    try:
        tiles = read_tiles(folder / TILES_FILE)
        with DescriptorRows(folder / TILES_FILE) as rows:
            if rows.shape != (segment.tiles, segment.dim) or tiles.shape != (segment.tiles, 2):
                yield f"{folder / TILES_FILE} does not hold the {segment.tiles} tiles of the manifest"
            VectorIndex(folder).check(rows)
    except StoreError as error:
        yield str(error)


def _verify_imagery(folder: Path, segment: SegmentRecord) -> Iterator[str]:
    if IMAGERY_FILE not in segment.files:
        return
    try:
        opened = BlockStore(folder / IMAGERY_FILE)
    except StoreError as error:
        yield str(error)
        return
    with opened as store:
        if len(store) != segment.blocks:
            yield f"{store.path} holds {len(store)} blocks, the manifest says {segment.blocks}"
        for (bx, by), value in store.items():
            try:
                decode_block(value)
            except (ValueError, zlib.error) as error:
                yield f"{store.path}: block ({bx}, {by}) does not decode: {error}"
