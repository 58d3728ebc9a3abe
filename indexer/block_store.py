"""Blocks of imagery in one LMDB file: 256 x 256 px of RGB as JPEG, with a packed mask where not all of it is valid.

On disk (docs/formats.md): one LMDB environment without sub-folder or lock file, one unnamed database, written once in key order.
Key: uint32 by + 2^31, uint32 bx + 2^31, big-endian. Value: version (1 byte, 1), three zero bytes, uint32 M little-endian,
32 bytes of coverage cells, M bytes of mask (zlib of 8192 packed bits; M = 0: all valid), then a JPEG to the end.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Any

import cv2
import lmdb
import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.files import check_readable, damaged, failed_write
from crossgeo.indexer.grid import BLOCK_PX, CELL_PX, CELLS, block_key, key_block

_HEAD = struct.Struct("<B3xI32s")
_VERSION = 1

Pixels = NDArray[np.uint8]
Mask = NDArray[np.bool_]
Decoded = tuple[Pixels, Mask | None]
"""(256, 256, 3) RGB, 0 where invalid, and (256, 256) valid; None: all is."""


def encode_block(rgb: Pixels, valid: Mask, quality: int) -> bytes:
    """Return the bytes of a block of (256, 256, 3) RGB and (256, 256) valid, at least one of them."""
    cells = np.packbits(cells_of(valid)).tobytes()
    mask = b""
    if not valid.all():
        mask = zlib.compress(np.packbits(valid).tobytes(), 9)
        rgb = np.where(valid[..., None], rgb, np.rint(rgb[valid].mean(axis=0)).astype(np.uint8))  # no hard edge for JPEG to ring at
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality, cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
    done, jpeg = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), flags)
    assert done
    return _HEAD.pack(_VERSION, len(mask), cells) + mask + jpeg.tobytes()


def decode_block(value: bytes) -> tuple[Pixels, Mask | None]:
    """Return (256, 256, 3) RGB, 0 where invalid, and the (256, 256) mask, None where all is valid; raise ValueError for other bytes."""
    if len(value) < _HEAD.size:
        raise ValueError("it is cut short")
    version, mask_bytes, _ = _HEAD.unpack_from(value)
    if version != _VERSION:
        raise ValueError(f"it has version {version}")
    bgr = cv2.imdecode(np.frombuffer(value, np.uint8, offset=_HEAD.size + mask_bytes), cv2.IMREAD_COLOR)
    if bgr is None or bgr.shape != (BLOCK_PX, BLOCK_PX, 3):
        raise ValueError("its JPEG does not decode")
    rgb = np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), np.uint8)
    if mask_bytes == 0:
        return rgb, None
    valid = _unpacked(value, mask_bytes)
    rgb[~valid] = 0
    return rgb, valid


def block_valid(value: bytes) -> Mask:
    """Return which of a block's (256, 256) pixels are valid, without decoding them."""
    mask_bytes = _HEAD.unpack_from(value)[1]
    return _unpacked(value, mask_bytes) if mask_bytes else np.ones((BLOCK_PX, BLOCK_PX), bool)


def _unpacked(value: bytes, mask_bytes: int) -> Mask:
    packed = zlib.decompress(value[_HEAD.size : _HEAD.size + mask_bytes])
    return np.unpackbits(np.frombuffer(packed, np.uint8)).reshape(BLOCK_PX, BLOCK_PX).astype(bool)


def cells_of(valid: Mask) -> Mask:
    """Return the (16, 16) cells of which at least half of the (256, 256) pixels are valid."""
    share: Mask = valid.reshape(CELLS, CELL_PX, CELLS, CELL_PX).sum(axis=(1, 3)) >= CELL_PX * CELL_PX / 2
    return share


def block_cells(value: bytes) -> Mask:
    """Return the (16, 16) coverage cells of a block: true where at least half of a cell's pixels are valid."""
    return np.unpackbits(np.frombuffer(_HEAD.unpack_from(value)[2], np.uint8)).reshape(CELLS, CELLS).astype(bool)


def write_blocks(path: Path, blocks: Iterable[tuple[tuple[int, int], bytes]], total_bytes: int, count: int) -> None:
    """Write blocks ((bx, by), value), sorted by (by, bx), as a fresh LMDB file; raise OSError (ENOSPC) where the disk is full.

    Everything goes into one transaction of a new file, so equal blocks give equal bytes.
    """
    page = 4096
    room = 2 * total_bytes + (3 * count + 1024) * page
    try:
        with lmdb.open(str(path), map_size=room, subdir=False, lock=False, meminit=True, max_dbs=0) as environment:
            with environment.begin(write=True) as transaction:
                for (bx, by), value in blocks:
                    added = transaction.put(block_key(bx, by), value, append=True)
                    assert added
            environment.sync(True)
    except lmdb.Error as error:
        raise failed_write(path, f"LMDB: {error}") from error


# A process may open an LMDB file only once, so stores of the same file share it; by device and inode, with the number of stores.
_shared: dict[tuple[int, int], tuple[Any, int]] = {}
_sharing = Lock()


def _open(path: Path) -> tuple[tuple[int, int], Any]:
    check_readable(path)
    with _sharing:
        try:
            status = path.stat()
            file = status.st_dev, status.st_ino
            environment, users = _shared.get(file, (None, 0))
            if environment is None:
                environment = lmdb.open(str(path), subdir=False, readonly=True, lock=False, readahead=False, create=False)
        except (lmdb.Error, OSError) as error:
            raise damaged(path, f"does not open ({error})") from error
        _shared[file] = environment, users + 1
        return file, environment


def _close(file: tuple[int, int]) -> None:
    with _sharing:
        environment, users = _shared.pop(file)
        if users > 1:
            _shared[file] = environment, users - 1
        else:
            environment.close()


class BlockStore:
    """The blocks of one segment, read only; `store[bx, by]` gives the bytes of a block or None.

    The file must have been checked against its checksum: LMDB maps it and would die of a damaged page.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file, self._environment = _open(path)

    def __len__(self) -> int:
        return int(self._environment.stat()["entries"])

    def __getitem__(self, block: tuple[int, int]) -> bytes | None:
        with self._environment.begin() as transaction:
            value: bytes | None = transaction.get(block_key(*block))
        return value

    def __contains__(self, block: tuple[int, int]) -> bool:
        return self[block] is not None

    def read(self, bx: int, by: int) -> Decoded | None:
        """Return a block decoded (see `decode_block`), None where there is none; raise StoreError where it is damaged."""
        value = self[bx, by]
        try:
            return None if value is None else decode_block(value)
        except (ValueError, zlib.error) as error:
            raise damaged(self.path, f"has a damaged block ({bx}, {by}): {error}") from error

    def blocks(self) -> list[tuple[int, int]]:
        """Return the blocks (bx, by) that it holds, by row, then by column."""
        with self._environment.begin() as transaction:
            return [key_block(key) for key in transaction.cursor().iternext(keys=True, values=False)]

    def items(self) -> Iterator[tuple[tuple[int, int], bytes]]:
        """Yield every block ((bx, by), value) by row, then by column."""
        with self._environment.begin() as transaction:
            for key, value in transaction.cursor():
                yield key_block(key), value

    def close(self) -> None:
        """Let go of the file; closing again does nothing."""
        if self._environment is not None:
            self._environment = None
            _close(self._file)

    def __enter__(self) -> BlockStore:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()
