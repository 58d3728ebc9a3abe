"""The shards of a build on a cluster: what each is of, and its name, which says all that decides what comes of it.

Ranges depend on how much there is, never on how many workers there are; a shard of tiles holds whole batches, so that every batch is one
that a build in one process describes. Pieces of the journal (pieces.py, described.py) fit into shards, so that either build can go on with
the other's.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer import described, pieces
from crossgeo.indexer.block_store import Mask
from crossgeo.indexer.grid import BLOCK_PX
from crossgeo.indexer.ground import Block
from crossgeo.indexer.manifest import GridRecord, canonical
from crossgeo.indexer.pieces import Site
from crossgeo.indexer.places import crs_text
from crossgeo.indexer.source import Source
from crossgeo.indexer.tiles import Tiles

BLOCKS = 64  # of a shard, at most: strips of a row, of which the patches that tiles are described in read each whole
TILES = 4096
HAND_CHARS = 16
_LEAST_SHARDS = 64  # of a stage, if there is as much: for workers to share


Prints = Mapping[str, str]
"""What a glance at sources shows, by their paths."""


@dataclass(frozen=True)
class Brief:
    """What all shards of a build share."""

    storage: str
    folder: str  # of its shards in the storage, which no other build has
    plan: str  # digest of the journal's plan
    source_crs: str | None
    grid: GridRecord
    batch: int


@dataclass(frozen=True)
class SourceAt:
    """A source as a worker finds it."""

    path: str
    glance: str  # `Source.glance`: each worker compares it, and would read a whole folder of tiles for a fingerprint


@dataclass(frozen=True)
class CutShard:
    """Blocks to be cut, (n, 2) by row, then by column; `boxes` (m, 4) are of the m sources that touch them."""

    name: str
    crs: str
    blocks: NDArray[np.int32]
    sources: tuple[SourceAt, ...]
    boxes: NDArray[np.float64]
    masks: dict[Block, Mask]

    @property
    def size(self) -> int:
        """Return how many blocks it has."""
        return len(self.blocks)

    def block_list(self) -> list[Block]:
        """Return its blocks (bx, by)."""
        return [(int(bx), int(by)) for bx, by in self.blocks]


@dataclass(frozen=True)
class DescribeShard:
    """Tiles (n, 2) to be described, and the shards that hold their blocks."""

    name: str
    tiles: Tiles
    cut: tuple[CutShard, ...]

    @property
    def size(self) -> int:
        """Return how many tiles it has."""
        return len(self.tiles)


@dataclass(frozen=True)
class Made:
    """What a worker says of a shard that it has left in the storage."""

    bytes: int
    hand: str = ""  # of a worker that describes: a digest of how it does, to the last bit
    processor: str = ""


@dataclass(frozen=True)
class Done:
    """A shard that is done, and the node that did it."""

    shard: CutShard | DescribeShard
    made: Made
    node: str


class Runner(Protocol):
    """Whoever has workers do shards (engine/cluster_build.py)."""

    @property
    def who(self) -> str:
        """Return who works, for people."""
        ...

    @property
    def versions(self) -> str:
        """Return a digest of what all workers run: our code and the libraries that decide what they make."""
        ...

    def cut(self, brief: Brief, shards: Iterable[CutShard | None]) -> Generator[Done, None, None]:
        """Have blocks cut, each shard once and for all, and yield the shards as they finish, in any order.

        They are taken as there is room for them, None saying that there is none yet. Closing the generator ends the work.
        Raises what a worker raised, naming its node, and ClusterError where workers are lost for good.
        """
        ...

    def describe(
        self, brief: Brief, shards: Iterable[DescribeShard | None], stop: threading.Event | None = None
    ) -> Generator[Done, None, None]:
        """Have tiles described, as `cut` says; the work ends, and so does the generator, once `stop` is set."""
        ...


def path_of(source: Source) -> str:
    """Return where a source lies, as any node is told."""
    return str(source.path.absolute())


def cut_shards(brief: Brief, site: Site, prints: Prints) -> list[CutShard]:
    """Return the shards of a site's blocks, in order."""
    per, blocks, cutter = (
        _share(len(site.blocks), pieces.BLOCKS_PER_PIECE, BLOCKS),
        np.asarray(site.blocks, np.int32).reshape(-1, 2),
        site.cutter,
    )
    sources = [SourceAt(path, prints[path]) for path in map(path_of, cutter.sources)]
    crs, out = crs_text(cutter.crs), []
    for at in range(0, len(blocks), per):
        some = blocks[at : at + per]
        keys = [(int(bx), int(by)) for bx, by in some]
        numbers = sorted(cutter.sources_of(keys))
        name = _name(brief, site, "blocks", at, crs=crs, blocks=some.tolist())
        masks = {key: cutter.masks[key] for key in keys if key in cutter.masks}
        out.append(CutShard(name, crs, some, tuple(sources[n] for n in numbers), cutter.boxes[numbers], masks))
    return out


def describe_shards(brief: Brief, site: Site, tiles: Tiles, cut: Sequence[CutShard]) -> list[DescribeShard]:
    """Return the shards of a site's tiles, in order; `cut` are all shards of its blocks."""
    per, out = tiles_per_shard(len(tiles), brief.batch), []
    starts = _keys(np.asarray([shard.blocks[0] for shard in cut]))
    for at in range(0, len(tiles), per):
        some = tiles[at : at + per]
        needed = np.unique(np.searchsorted(starts, _keys(_blocks_of(some, brief.grid)), side="right") - 1)
        mine = tuple(cut[number] for number in needed.tolist() if number >= 0)
        name = _name(brief, site, "tiles", at, tiles=_bytes_digest(some), blocks=[shard.name for shard in mine])
        out.append(DescribeShard(name, some, mine))
    return out


def with_hand(hand: str, vectors: NDArray[np.float32]) -> bytes:
    """Return what a shard of tiles leaves: the hand that described it, and the rows."""
    return hand.encode("ascii") + vectors.tobytes()


def hand_and_rows(payload: bytes, tiles: int) -> tuple[str, NDArray[np.float32]]:
    """Return the hand and the rows (tiles, D) of a shard of tiles."""
    return payload[:HAND_CHARS].decode("ascii"), np.frombuffer(payload, np.float32, offset=HAND_CHARS).reshape(tiles, -1)


def tiles_per_shard(tiles: int, batch: int) -> int:
    """Return how many tiles a shard has."""
    return _share(tiles, batch * described.BATCHES_PER_PIECE, TILES)


def _share(count: int, piece: int, most: int) -> int:
    """Return how much of `count` goes into a shard, whole pieces: about `most`, less where there would be too few shards."""
    return max(1, min(most, count // _LEAST_SHARDS) // piece) * piece


def _blocks_of(tiles: Tiles, grid: GridRecord) -> NDArray[np.int64]:
    """Return the blocks (n, 2) that tiles may reach."""
    centres, reach = tiles * np.float64(grid.stride_m) / grid.gsd_m * [1.0, -1.0], grid.tile_m / grid.gsd_m / 2 + 2.0  # px
    low = np.floor((centres - reach) / BLOCK_PX).astype(np.int64)
    high = np.floor((centres + reach) / BLOCK_PX).astype(np.int64)
    found = []
    for right in range(int((high - low)[:, 0].max()) + 1):
        for down in range(int((high - low)[:, 1].max()) + 1):
            blocks = low + np.asarray([right, down])
            found.append(np.unique(blocks[(blocks <= high).all(axis=1)], axis=0))
    return np.unique(np.concatenate(found), axis=0)


def _keys(blocks: NDArray[Any]) -> NDArray[np.int64]:
    """Return numbers that sort blocks (n, 2) by row, then by column."""
    both = np.asarray(blocks, np.int64)
    return (both[:, 1] << 32) + both[:, 0]


def _name(brief: Brief, site: Site, kind: str, at: int, **content: Any) -> str:
    digest = digest_of({"plan": brief.plan, "kind": kind, "at": at, **content})
    return f"{brief.folder}/{site.name}-{kind}-{at:09d}-{digest[:32]}"


def digest_of(value: Any) -> str:
    """Return a hash of plain data."""
    return hashlib.sha256(canonical(value)).hexdigest()


def _bytes_digest(tiles: Tiles) -> str:
    return hashlib.sha256(np.ascontiguousarray(tiles, "<i4").tobytes()).hexdigest()
