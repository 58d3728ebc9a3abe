"""What a worker of a cluster does for a build: cut shards of blocks, describe shards of tiles, and leave both in the storage.

Doing a shard again, also at the same time elsewhere, does no harm: what comes of it is the same, and appears under its name whole.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from crossgeo import geodesy, processor
from crossgeo.errors import MismatchError
from crossgeo.indexer.ahead import ahead
from crossgeo.indexer.block_store import Decoded, decode_block
from crossgeo.indexer.cutting import Cutter, unpacked
from crossgeo.indexer.described import Describe, described, described_pieces, in_batches, in_pieces, read_tiles
from crossgeo.indexer.ground import Block
from crossgeo.indexer.imagery import open_source
from crossgeo.indexer.shard_store import ShardStore, open_store
from crossgeo.indexer.shards import HAND_CHARS, Brief, CutShard, DescribeShard, Made, SourceAt, with_hand
from crossgeo.indexer.source import Source
from crossgeo.indexer.windows import BlockCache

_PAYLOAD_BYTES = 128 << 20  # of shards of blocks that a process keeps: the next tiles need many of the same


class Workshop:
    """What a worker keeps between shards: open sources, the last blocks, and the model where it is to describe."""

    def __init__(self, brief: Brief, describe: Describe | None = None, model: str = "") -> None:
        """Raise InputError where the storage cannot be had here."""
        self._brief, self._describe, self._model = brief, describe, model
        self._store = open_store(brief.storage)
        self._store.check()
        self._sources: dict[SourceAt, Source] = {}
        self._cut = _Payloads(self)
        self.hand = "" if describe is None else hand_of(describe, brief.grid.tile_px, brief.batch, model)

    def cut(self, shard: CutShard) -> Made:
        """Cut blocks and leave them in the storage."""
        return Made(len(self.cut_payload(shard)))

    def cut_payload(self, shard: CutShard) -> bytes:
        """Cut blocks, leave them in the storage and return them."""
        for passed in self._sources.keys() - set(shard.sources):
            self._sources[passed].close()
        sources = [self._source(at) for at in shard.sources]
        cutter = Cutter(geodesy.parse_crs(shard.crs), sources, shard.boxes, self._brief.grid, shard.masks)
        payload = b"".join(cutter.cut(block) for block in shard.block_list())
        self._store.put(shard.name, payload)
        return payload

    def describe(self, shard: DescribeShard) -> Made:
        """Describe tiles, in the batches of a build in one process, and leave the descriptors in the storage."""
        assert self._describe is not None
        ground, grid = _Blocks(shard, self._cut), self._brief.grid
        read = partial(read_tiles, ground, BlockCache(), grid)
        with ahead(read, in_batches(shard.tiles, self._brief.batch), workers=1) as pictures:
            pieces = in_pieces(pictures, len(shard.tiles), self._brief.batch)
            rows = [*described_pieces(self._describe, pieces, self._model, _quiet)]
        payload = with_hand(self.hand, np.concatenate(rows))
        self._store.put(shard.name, payload)
        return Made(len(payload), self.hand, processor.model())

    def close(self) -> None:
        """Close the sources."""
        for source in self._sources.values():
            source.close()

    @property
    def store(self) -> ShardStore:
        """Return where shards are left."""
        return self._store

    def _source(self, at: SourceAt) -> Source:
        """Return a source, opened and compared with what the driver has; InputError where it is missing, MismatchError where it differs."""
        if at not in self._sources:
            source = open_source(Path(at.path), self._brief.source_crs)
            if source.glance() != at.glance:
                source.close()
                raise MismatchError(
                    f"{at.path} is not the same imagery here as where the build was started; all nodes must see the same files under it"
                )
            self._sources[at] = source
        return self._sources[at]


class _Payloads:
    """The shards of blocks used last; safe to be read by one thread at a time."""

    def __init__(self, shop: Workshop) -> None:
        self._shop = shop
        self._kept: OrderedDict[str, dict[Block, bytes]] = OrderedDict()
        self._bytes: dict[str, int] = {}

    def get(self, shard: CutShard) -> dict[Block, bytes]:
        """Return the blocks of a shard; one that is gone or damaged is cut again."""
        if shard.name not in self._kept:
            payload = self._shop.store.get(shard.name)
            if payload is None:
                payload = self._shop.cut_payload(shard)
            self._kept[shard.name], self._bytes[shard.name] = dict(unpacked(payload)), len(payload)
            while sum(self._bytes.values()) > _PAYLOAD_BYTES and len(self._kept) > 1:
                del self._bytes[self._kept.popitem(last=False)[0]]
        self._kept.move_to_end(shard.name)
        return self._kept[shard.name]


@dataclass(frozen=True)
class _Blocks:
    """The blocks under a shard's tiles, as `windows.Blocks`."""

    shard: DescribeShard
    payloads: _Payloads
    _owners: dict[Block, CutShard] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._owners.update((block, cut) for cut in self.shard.cut for block in cut.block_list())

    def read(self, bx: int, by: int) -> Decoded | None:
        owner = self._owners.get((bx, by))
        value = None if owner is None else self.payloads.get(owner).get((bx, by))
        return None if value is None else decode_block(value)


def hand_of(describe: Describe, tile_px: int, batch: int, model: str) -> str:
    """Return a digest of how tiles are described here, to the last bit: runtimes, processors and numbers of threads may differ in it."""
    pictures = np.random.default_rng(0).integers(0, 256, (batch, tile_px, tile_px, 3), np.uint8)
    pictures[batch // 2 :] //= 4  # darker ones, too
    vectors: NDArray[np.float32] = described(describe, pictures, model, _quiet)
    return hashlib.sha256(vectors.tobytes()).hexdigest()[:HAND_CHARS]


def _quiet(_: int) -> None:
    """Count nothing: the driver counts shards."""
