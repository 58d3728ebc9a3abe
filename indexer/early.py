"""The first tiles of an area described while its last blocks are cut, into the same pieces of the journal as ever.

Tiles stand in rows of patches from the north, and blocks are cut by row from the north: once the blocks beneath a row of patches are
there, its tiles are what they will be in the end, with their numbers, and whole pieces of them can be described. What is left is described
when all blocks are cut, as what another run left would be.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from itertools import islice
from threading import Condition, Lock

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer import described as describing
from crossgeo.indexer import grid
from crossgeo.indexer.ahead import ahead, while_made
from crossgeo.indexer.block_store import Decoded, Mask, block_cells, decode_block
from crossgeo.indexer.cutting import unpacked
from crossgeo.indexer.described import Describe, described_pieces, in_batches, read_tiles
from crossgeo.indexer.grid import BLOCK_PX, PATCH_TILES
from crossgeo.indexer.ground import Block
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.manifest import GridRecord
from crossgeo.indexer.tiles import Tiles, rule_of, with_content
from crossgeo.indexer.windows import BlockCache
from crossgeo.lru import Lru

_KEPT_BYTES = 128 << 20  # of pieces of blocks, as they are packed


class PieceBlocks:
    """The blocks of pieces that a journal has; safe for threads."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._names: dict[Block, str] = {}
        self._kept: Lru[str, dict[Block, bytes]] = Lru(_KEPT_BYTES, lambda values: sum(map(len, values.values())))
        self._lock = Lock()

    def add(self, name: str, payload: bytes) -> dict[Block, bytes]:
        """Hear of a piece; return its blocks."""
        values = dict(unpacked(payload))
        with self._lock:
            self._names.update(dict.fromkeys(values, name))
            self._kept.put(name, values)
        return values

    def read(self, bx: int, by: int) -> Decoded | None:
        """Return a decoded block, None where there is none."""
        with self._lock:
            name = self._names.get((bx, by))
            values = None if name is None else self._kept.get(name)
        if name is None:
            return None
        if values is None:
            values = self.add(name, self._journal.need(name))
        return decode_block(values[bx, by])


class Early:
    """What of one area is described before it is cut: one thread tells what is cut, another describes."""

    def __init__(self, journal: Journal, folder: str, numbers: GridRecord) -> None:
        """Descriptors go to a folder of the journal."""
        self._journal, self._folder, self._grid = journal, folder, numbers
        self._blocks = PieceBlocks(journal)
        self._changed = Condition()
        self._rows: dict[int, dict[Block, Mask]] = {}  # coverage by row of blocks
        self._whole_to: float = -math.inf  # the last row of blocks that is cut, with all before it
        self._patches_to: float = -math.inf  # the last row of patches whose tiles are known, with all before it
        self._closed = self._busy = False
        self._tiles: list[Tiles] = []

    def cut(self, name: str, payload: bytes, whole_to: float) -> None:
        """Hear of the next piece of blocks, after which all rows up to one are whole."""
        values = self._blocks.add(name, payload)
        with self._changed:
            for block, value in values.items():
                self._rows.setdefault(block[1], {})[block] = block_cells(value)
            self._whole_to = whole_to
            self._changed.notify_all()

    def close(self) -> None:
        """Have no more described, and wait for the piece that is; the pieces of blocks may be gone then."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._busy)

    def describe(self, describe: Describe, batch: int, model: str) -> None:
        """Describe whole pieces of tiles as they come to be known, until closed."""
        try:  # before it is said that pieces are described: an interruption must not leave that said
            with self._changed:
                if self._closed:
                    return
                self._busy = True
            while_made(self._pieces(describe, batch, model), self._keep)
        finally:
            with self._changed:
                self._busy = False
                self._changed.notify_all()

    def agrees(self, tiles: Tiles) -> bool:
        """Say whether the tiles of an area begin with those that were taken for its first ones."""
        mine = np.concatenate([np.zeros((0, 2), np.int32), *self._tiles])
        return bool(np.array_equal(tiles[: len(mine)], mine))

    def _pieces(self, describe: Describe, batch: int, model: str) -> Iterator[tuple[int, NDArray[np.float32]]]:
        """Yield the number and the descriptors of each whole piece that the journal does not have."""
        size, number, cache = batch * describing.BATCHES_PER_PIECE, 0, BlockCache()
        left = np.zeros((0, 2), np.int32)
        while (more := self._next_tiles()) is not None:
            left = np.concatenate([left, more])
            ready, left = left[: len(left) // size * size], left[len(left) // size * size :]
            parts = {number + n: ready[n * size : (n + 1) * size] for n in range(len(ready) // size)}
            number += len(parts)
            todo = {n: part for n, part in parts.items() if self._journal.get(self._name(n)) is None}
            batches = (some for part in todo.values() for some in in_batches(part, batch))
            with ahead(partial(read_tiles, self._blocks, cache, self._grid), batches) as read:
                missing = (islice(read, size // batch) for _ in todo)
                with closing(described_pieces(describe, missing, model, lambda _: None)) as vectors:  # as later, to the last digit
                    for n in todo:
                        if self._closed:
                            return
                        yield n, next(vectors)

    def _keep(self, pieces: Iterator[tuple[int, NDArray[np.float32]]]) -> None:
        for number, vectors in pieces:
            self._journal.put(self._name(number), vectors.tobytes())

    def _name(self, number: int) -> str:
        return f"{self._folder}/{number:06d}"

    def _next_tiles(self) -> Tiles | None:
        """Wait for more rows of patches whose tiles are known; return these, or None once closed."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._known_to() > self._patches_to)
            if self._closed:
                return None
            first, self._patches_to = self._patches_to, self._known_to()
            coverage = {block: cells for by in sorted(self._rows) for block, cells in self._rows[by].items()}
            for by in [by for by in self._rows if by < self._north_of(self._patches_to + 1)]:
                del self._rows[by]
        tiles = grid.select_tiles(coverage, rule_of(self._grid))
        patch = -tiles[:, 1].astype(np.int64) // PATCH_TILES
        found = with_content(self._blocks, tiles[(patch > first) & (patch <= self._patches_to)], self._grid)
        self._tiles.append(found)
        return found

    def _known_to(self) -> float:
        """The last row of patches whose tiles show nothing south of what is cut, with a row of blocks to spare."""
        if not math.isfinite(self._whole_to):
            return self._whole_to
        g = self._grid
        tile_rows = (self._whole_to * BLOCK_PX * g.gsd_m - g.tile_m / 2) / g.stride_m + 1
        return math.floor(tile_rows / PATCH_TILES) - 1

    def _north_of(self, patch: float) -> float:
        """The first row of blocks that tiles of a row of patches may show, with one to spare."""
        g = self._grid
        return (patch * PATCH_TILES * g.stride_m - g.tile_m / 2) / (BLOCK_PX * g.gsd_m) - 2
