"""Describing the tiles of a segment in batches of a fixed order, in pieces that a journal keeps.

Three stages at once, with few pieces between them: threads read ahead, the caller's describes, and one writes the journal and what becomes
of the descriptors.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Protocol, TypeVar, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from crossgeo.errors import WeightsError
from crossgeo.indexer.ahead import ahead, while_made
from crossgeo.indexer.block_store import Pixels
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.manifest import GridRecord
from crossgeo.indexer.windows import BlockCache, Blocks, read_windows, windows_at

BATCHES_PER_PIECE = 8

Describe = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""(B, P, P, 3) uint8 RGB tiles -> (B, D) float32 unit vectors."""
R = TypeVar("R")


@runtime_checkable
class InStream(Protocol):
    """A `Describe` of a device that takes many tiles at once, and the next ones while it describes."""

    def __call__(self, tiles: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Describe tiles."""
        ...

    def stream(self, pieces: Iterable[Sequence[NDArray[np.uint8]]]) -> Iterator[NDArray[np.float32]]:
        """Describe pieces of several batches, one after the other, to (m, D) each; the next is asked for before one is done."""
        ...


Write = Callable[[Iterator[NDArray[np.float32]]], R]
"""Does something with the descriptors (m, D) of all tiles in order, in pieces of any size."""
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
    write: Write[R],
) -> R:
    """Return `write` of the descriptors (m, D) of (n, 2) tiles in pieces, which it is given in a thread of its own.

    Finished pieces lie in a folder of the journal, and are put there by the same thread. Raise WeightsError for no unit vectors.
    """
    per_piece = batch * BATCHES_PER_PIECE
    pieces = [tiles[at : at + per_piece] for at in range(0, len(tiles), per_piece)]
    kept = {number for number in range(len(pieces)) if journal.get(f"{folder}/{number:06d}") is not None}
    todo = (some for number, part in enumerate(pieces) if number not in kept for some in in_batches(part, batch))

    def made(read: Iterator[Pixels]) -> Iterator[NDArray[np.float32] | None]:
        """Yield the descriptors of each piece; None for one that is kept."""
        missing = (islice(read, -(-len(part) // batch)) for number, part in enumerate(pieces) if number not in kept)
        vectors = described_pieces(describe, missing, model, step)
        for number, part in enumerate(pieces):
            if number in kept:
                step(len(part))
            yield None if number in kept else next(vectors)

    def journalled(found: Iterator[NDArray[np.float32] | None]) -> Iterator[NDArray[np.float32]]:
        """Keep each piece, and yield it."""
        for number, vectors in enumerate(found):
            name = f"{folder}/{number:06d}"
            if vectors is None:
                yield np.frombuffer(journal.need(name), np.float32).reshape(len(pieces[number]), -1)
            else:
                journal.put(name, vectors.tobytes())
                yield vectors

    with ahead(partial(read_tiles, ground, BlockCache(), grid), todo) as read:
        return while_made(made(read), lambda found: write(journalled(found)))


def read_tiles(ground: Blocks, cache: BlockCache, g: GridRecord, tiles: NDArray[np.int32]) -> Pixels:
    """Return the pixels (m, P, P, 3) of tiles (m, 2)."""
    return read_windows(ground, cache, windows_at(tiles * np.float64(g.stride_m), g.tile_m, g.gsd_m), g.tile_px)[0]


def described_pieces(
    describe: Describe, pieces: Iterable[Iterable[Pixels]], model: str, step: Step
) -> Generator[NDArray[np.float32], None, None]:
    """Describe pieces of batches (m, P, P, 3) as one (n, D) each, whole pieces at once where that pays; raise as `described`."""
    if not isinstance(describe, InStream):
        for piece in pieces:
            yield np.concatenate([described(describe, rgb, model, step) for rgb in piece])
        return
    counts: deque[int] = deque()

    def given() -> Iterator[list[Pixels]]:
        for piece in pieces:
            batches = list(piece)
            counts.append(sum(map(len, batches)))
            yield batches

    for vectors in describe.stream(given()):
        yield _checked(vectors, counts.popleft(), model, step)


def described(describe: Describe, rgb: Pixels, model: str, step: Step) -> NDArray[np.float32]:
    """Describe a batch (m, P, P, 3) as (m, D); raise WeightsError for no unit vectors."""
    return _checked(describe(rgb), len(rgb), model, step)


def _checked(found: NDArray[np.float32], count: int, model: str, step: Step) -> NDArray[np.float32]:
    vectors = np.ascontiguousarray(found, np.float32)
    if vectors.ndim != 2 or len(vectors) != count or not np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-2):
        raise WeightsError(f"model {model} gives no finite unit vectors (shape {vectors.shape}); its weights are damaged")
    step(count)
    return vectors


def in_batches(tiles: NDArray[np.int32], batch: int) -> Iterator[NDArray[np.int32]]:
    """Yield tiles (n, 2) in batches, always the same ones for the same tiles: a model's last digits may depend on them."""
    for at in range(0, len(tiles), batch):
        yield tiles[at : at + batch]


def in_pieces(batches: Iterator[R], tiles: int, batch: int) -> Iterator[Iterator[R]]:
    """Yield the batches of so many tiles in pieces, as a build has them; each is to be taken whole before the next."""
    for _ in range(0, tiles, batch * BATCHES_PER_PIECE):
        yield islice(batches, BATCHES_PER_PIECE)
