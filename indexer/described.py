"""Describing the tiles of a segment in batches of a fixed order, in pieces that a journal keeps; threads read ahead."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from crossgeo.errors import StoreError, WeightsError
from crossgeo.indexer.ahead import ahead
from crossgeo.indexer.block_store import Pixels
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.manifest import GridRecord
from crossgeo.indexer.windows import BlockCache, Blocks, read_windows, windows_at

BATCHES_PER_PIECE = 8

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(B, P, P, 3) uint8 RGB tiles -> (B, D) float32 unit vectors."""
Step = Callable[[int], None]
"""Called with how many more blocks or tiles are done."""


def describe_tiles(
    journal: Journal,
    folder: str,
    ground: Blocks,
    tiles: NDArray[np.int32],
    grid: GridRecord,
    describe: Describe,
    batch: int,
    model: str,
    step: Step,
) -> Iterator[NDArray[np.float32]]:
    """Yield the descriptors (m, D) of (n, 2) tiles in pieces; finished ones lie in a folder of the journal.

    Raise WeightsError for no unit vectors.
    """
    per_piece = batch * BATCHES_PER_PIECE
    pieces = [tiles[at : at + per_piece] for at in range(0, len(tiles), per_piece)]
    kept = {number for number in range(len(pieces)) if journal.get(f"{folder}/{number:06d}") is not None}
    todo = (some for number, part in enumerate(pieces) if number not in kept for some in _batches(part, batch))
    with ahead(partial(_read, ground, BlockCache(), grid), todo) as read:
        for number, part in enumerate(pieces):
            if number in kept:
                payload = journal.get(f"{folder}/{number:06d}")
                if payload is None:
                    raise StoreError(f"{journal.folder}: a piece of this build is gone; check the disk, then run the same command again")
                vectors = np.frombuffer(payload, np.float32).reshape(len(part), -1)
                step(len(part))
            else:
                batches = islice(read, -(-len(part) // batch))
                vectors = np.concatenate([_described(describe, rgb, model, step) for rgb in batches])
                journal.put(f"{folder}/{number:06d}", vectors.tobytes())
            yield vectors


def _read(ground: Blocks, cache: BlockCache, g: GridRecord, tiles: NDArray[np.int32]) -> Pixels:
    return read_windows(ground, cache, windows_at(tiles * np.float64(g.stride_m), g.tile_m, g.gsd_m), g.tile_px)[0]


def _described(describe: Describe, rgb: Pixels, model: str, step: Step) -> NDArray[np.float32]:
    vectors = np.ascontiguousarray(describe(rgb), np.float32)
    if vectors.ndim != 2 or len(vectors) != len(rgb) or not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-2):
        raise WeightsError(f"model {model} gives no finite unit vectors (shape {vectors.shape}); its weights are damaged")
    step(len(rgb))
    return vectors


def _batches(tiles: NDArray[np.int32], batch: int) -> Iterator[NDArray[np.int32]]:
    for at in range(0, len(tiles), batch):
        yield tiles[at : at + batch]
