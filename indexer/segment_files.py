"""A segment's folder: the one place where its files are made, sealed with checksums, and moved to where readers look."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossgeo.disk import replacing
from crossgeo.errors import StoreError
from crossgeo.indexer import files
from crossgeo.indexer.descriptor_store import DescriptorRows, write_descriptors
from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.manifest import (
    TILES_FILE,
    FileRecord,
    SearchRecord,
    SegmentRecord,
    canonical,
    check_file,
    segment_path,
)
from crossgeo.indexer.vector_index import write_vectors
from crossgeo.indexer.vectors.structure import USUAL, Budget


def write_tiles(
    folder: Path, descriptors: Iterable[NDArray[np.float32]], tiles: NDArray[np.int32], budget: Budget = USUAL
) -> tuple[int, SearchRecord | None]:
    """Write descriptors, pieces (m, D) of n, the (n, 2) tiles that they describe, and what is searched, beside blocks that may lie there.

    Return D, and what an approximate search finds; None where it is exact.
    """
    return write_rows(folder, descriptors, tiles), write_search(folder, budget)


def write_rows(folder: Path, descriptors: Iterable[NDArray[np.float32]], tiles: NDArray[np.int32]) -> int:
    """Write descriptors and tiles, as `write_tiles` does, without what is searched; return D."""
    with replacing(folder / TILES_FILE) as temporary:
        return write_descriptors(temporary, descriptors, tiles)


def write_search(folder: Path, budget: Budget = USUAL) -> SearchRecord | None:
    """Write what is searched of a folder's descriptors: it can always be made again from them."""
    with DescriptorRows(folder / TILES_FILE) as rows:
        return write_vectors(folder, rows, budget)


def seal(
    folder: Path, crs: str, bounds: Bounds, blocks: int, tiles: int, dim: int, layer: int, search: SearchRecord | None = None
) -> SegmentRecord:
    """Return the record of the segment whose files lie in a folder, named by their checksums."""
    found = {path.name: file_record(path) for path in files.listing(folder)}
    return SegmentRecord(segment_name(found), crs, bounds, blocks, tiles, dim, found, layer, search=search)


def segment_name(found: dict[str, FileRecord]) -> str:
    """Return the name of a segment of these files."""
    return "s-" + hashlib.sha256(canonical({name: file.sha256 for name, file in found.items()})).hexdigest()[:16]


def move_in(index: Path, folder: Path, record: SegmentRecord) -> None:
    """Move a sealed folder to where the segments of an index lie, unless the same one is there already."""
    target = segment_path(index, record.name)
    files.make_folder(target.parent)
    if not is_whole(target, record):
        files.remove(target)
        files.move_folder(folder, target)


def is_whole(folder: Path, record: SegmentRecord) -> bool:
    """Say whether a folder holds a segment's files as its record has them."""
    return all(matches(folder / name, file) for name, file in record.files.items())


def matches(path: Path, record: FileRecord) -> bool:
    """Say whether a file is as its record has it."""
    try:
        check_file(path, record)
    except StoreError:
        return False
    return True


def file_record(path: Path) -> FileRecord:
    """Return the record of a file as it is now."""
    return FileRecord(path.stat().st_size, files.checksum(path))
