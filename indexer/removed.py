"""What is removed of a segment, whose own files never change: its tiles, and cells of its imagery (docs/formats.md).

On disk: a file in `removed/`, named by its checksum; zlib of uint32 T (the segment's tiles), uint32 B (blocks), T bits (packed, 1 is
removed), then B times the key of a block (8 bytes, as in blocks.lmdb) and 256 bits of cells.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossgeo import disk
from crossgeo.errors import StoreError
from crossgeo.indexer import files
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.grid import CELLS, block_key, key_block
from crossgeo.indexer.manifest import FileRecord, RemovedRecord, SegmentRecord, check_file

_HEAD = struct.Struct("<II")
_KEY_BYTES, _CELL_BYTES = 8, CELLS * CELLS // 8


@dataclass(frozen=True)
class Removed:
    """The tiles (n,) that are removed, and the cells (16, 16) of blocks whose imagery is."""

    tiles: NDArray[np.bool_]
    cells: Mapping[tuple[int, int], Mask] = field(default_factory=dict)

    def to_bytes(self) -> bytes:
        """Return it as it stands on disk; equal content gives equal bytes."""
        blocks = sorted(((bx, by) for bx, by in self.cells if self.cells[bx, by].any()), key=lambda block: (block[1], block[0]))
        pieces = [_HEAD.pack(len(self.tiles), len(blocks)), np.packbits(self.tiles).tobytes()]
        for block in blocks:
            pieces += [block_key(*block), np.packbits(self.cells[block]).tobytes()]
        return zlib.compress(b"".join(pieces), 6)

    @classmethod
    def from_bytes(cls, data: bytes) -> Removed:
        """Read what `to_bytes` gave; raise ValueError for anything else."""
        try:
            raw = zlib.decompress(data)
            tiles, blocks = _HEAD.unpack_from(raw)
        except (zlib.error, struct.error) as error:
            raise ValueError(str(error)) from error
        at = _HEAD.size + (tiles + 7) // 8
        if len(raw) != at + blocks * (_KEY_BYTES + _CELL_BYTES):
            raise ValueError("it has another length than it says")
        gone = np.unpackbits(np.frombuffer(raw[_HEAD.size : at], np.uint8), count=tiles).astype(bool)
        rows = np.frombuffer(raw[at:], np.uint8).reshape(blocks, _KEY_BYTES + _CELL_BYTES)
        bits = np.unpackbits(rows[:, _KEY_BYTES:], axis=1).reshape(blocks, CELLS, CELLS).astype(bool)
        return cls(gone, {key_block(rows[n, :_KEY_BYTES].tobytes()): bits[n] for n in range(blocks)})


def removed_path(index: Path, record: RemovedRecord) -> Path:
    """Return where the file of a record lies."""
    return index / "removed" / record.sha256[:16]


def write_removed(index: Path, removed: Removed) -> RemovedRecord:
    """Write what is removed of a segment, unless it is there already, and return its record."""
    data = removed.to_bytes()
    record = RemovedRecord(int(removed.tiles.sum()), len(data), hashlib.sha256(data).hexdigest())
    path = removed_path(index, record)
    files.make_folder(path.parent)
    try:
        check_removed(index, record)
    except StoreError:
        disk.write(path, data)
    return record


def check_removed(index: Path, record: RemovedRecord) -> None:
    """Raise StoreError, naming the file, unless it is whole."""
    check_file(removed_path(index, record), FileRecord(record.bytes, record.sha256))


def read_removed(index: Path, segment: SegmentRecord) -> Removed:
    """Return what is removed of a segment, which may be nothing; raise StoreError where the file is damaged."""
    if segment.removed is None:
        return Removed(np.zeros(segment.tiles, bool))
    check_removed(index, segment.removed)
    path = removed_path(index, segment.removed)
    try:
        removed = Removed.from_bytes(files.read(path))
    except ValueError as error:
        raise files.damaged(path, f"does not say what is removed ({error})") from error
    if len(removed.tiles) != segment.tiles or int(removed.tiles.sum()) != segment.removed.tiles:
        raise files.damaged(path, f"is not of the {segment.tiles} tiles of {segment.name}")
    return removed
