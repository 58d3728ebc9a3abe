"""Blocks cut out of sources: the one way from imagery to blocks, in the process that builds and in those that help it."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo.indexer import grid
from crossgeo.indexer.block_store import Mask, encode_block
from crossgeo.indexer.grid import BLOCK_PX, Bounds
from crossgeo.indexer.ground import Block, pixels_of
from crossgeo.indexer.manifest import GridRecord
from crossgeo.indexer.source import Source, fill

_RECORD = struct.Struct("<iiI")  # bx, by, length of the value that follows
HEAD_BYTES = _RECORD.size


class Cutter:
    """Cuts blocks of one metric CRS; earlier sources lie over later ones."""

    def __init__(
        self, crs: CRS, sources: Sequence[Source], boxes: NDArray[np.float64], numbers: GridRecord, masks: Mapping[Block, Mask]
    ) -> None:
        """`boxes` (n, 4) in the CRS hold the imagery of the n sources, `masks` the cells (16, 16) of blocks that are not to be indexed."""
        self.crs, self.sources, self.boxes, self.grid, self.masks = crs, sources, boxes, numbers, masks

    def cut(self, block: Block) -> bytes:
        """Return a block as it stands in a piece; nothing where there is no imagery."""
        bounds = grid.block_bounds(*block, self.grid.gsd_m)
        rgb, valid = np.zeros((BLOCK_PX, BLOCK_PX, 3), np.uint8), np.zeros((BLOCK_PX, BLOCK_PX), bool)
        for number in self._touching(bounds):
            if valid.all():
                break
            fill(rgb, valid, *self.sources[number].read(self.crs, bounds, (BLOCK_PX, BLOCK_PX)))
        if block in self.masks:
            valid &= ~pixels_of(self.masks[block])
        if not valid.any():
            return b""
        return packed(block, encode_block(rgb, valid, self.grid.jpeg_quality))

    def sources_of(self, blocks: Iterable[Block]) -> set[int]:
        """Return the numbers of the sources that blocks are cut from."""
        return {number for block in blocks for number in self._touching(grid.block_bounds(*block, self.grid.gsd_m))}

    def close_all_but(self, used: set[int]) -> None:
        """Close the sources of ground that was passed: thousands of files may not all be open at once."""
        for number, source in enumerate(self.sources):
            if number not in used:
                source.close()

    def _touching(self, bounds: Bounds) -> list[int]:
        boxes = self.boxes
        touching = (boxes[:, 0] < bounds[2]) & (boxes[:, 2] > bounds[0]) & (boxes[:, 1] < bounds[3]) & (boxes[:, 3] > bounds[1])
        return [int(number) for number in np.flatnonzero(touching)]


def packed(block: Block, value: bytes) -> bytes:
    """Return a block's value as it stands in a piece."""
    return _RECORD.pack(*block, len(value)) + value


def unpacked(payload: bytes) -> Iterator[tuple[Block, bytes]]:
    """Yield the blocks of a piece, ((bx, by), value)."""
    at = 0
    while at < len(payload):
        bx, by, size = _RECORD.unpack_from(payload, at)
        at += _RECORD.size + size
        yield (bx, by), payload[at - size : at]
