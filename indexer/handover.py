"""A build begun in one process gone on with by a cluster, and the other way round: pieces of the journal become shards, and shards pieces.

Pieces fit into shards, and both hold the same bytes. Descriptors are handed over only where both sides describe alike to the last bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer import described
from crossgeo.indexer.cutting import packed, unpacked
from crossgeo.indexer.described import Describe, R, Step, Write
from crossgeo.indexer.ground import Ground
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.pieces import Cut, Here, Site, block_piece, cut_in_pieces, descriptor_folder
from crossgeo.indexer.shard_store import ShardStore
from crossgeo.indexer.shards import Brief, CutShard, DescribeShard, Prints, cut_shards, describe_shards, hand_and_rows, with_hand
from crossgeo.indexer.tiles import Tiles
from crossgeo.indexer.workshop import hand_of


def blocks_to_shards(journal: Journal, site: Site, store: ShardStore, shards: Sequence[CutShard], there: dict[str, int]) -> None:
    """Put shards into a storage whose pieces are all in the journal; `there` says what it has (`ShardStore.sizes`), and is kept true."""
    number, pieces = 0, cut_in_pieces(site.blocks)
    for shard in shards:
        last, left = number, shard.size
        while left > 0:
            left -= len(pieces[last])
            last += 1
        payloads = [journal.get(block_piece(site, n)) for n in range(number, last)]
        whole = [payload for payload in payloads if payload is not None]
        if len(whole) == len(payloads) and shard.name not in there:
            payload = b"".join(whole)
            store.put(shard.name, payload)
            there[shard.name] = len(payload)
        number = last


def first_piece(
    journal: Journal, site: Site, shards: Sequence[DescribeShard], batch: int
) -> tuple[DescribeShard, NDArray[np.float32]] | None:
    """Return the first batch of which the journal has the descriptors, as a shard of its own, and these; None where it has none."""
    per = batch * described.BATCHES_PER_PIECE
    for shard, pieces in _numbered(site, shards, per):
        for at, name in pieces:
            payload = journal.get(name)
            if payload is not None:
                tiles = shard.tiles[at : at + batch]
                rows = np.frombuffer(payload, np.float32).reshape(min(shard.size - at, per), -1)
                return DescribeShard(f"{shard.name}-{at}", tiles, shard.cut), rows[: len(tiles)]
    return None


def descriptors_to_shards(
    journal: Journal, site: Site, store: ShardStore, shards: Sequence[DescribeShard], batch: int, hand: str, there: dict[str, int]
) -> None:
    """Put shards into a storage whose pieces are all in the journal, as described by a hand; `there` is as above."""
    for shard, pieces in _numbered(site, shards, batch * described.BATCHES_PER_PIECE):
        payloads = [journal.get(name) for _, name in pieces]
        whole = [payload for payload in payloads if payload is not None]
        if len(whole) == len(payloads) and shard.name not in there:
            payload = with_hand(hand, np.frombuffer(b"".join(whole), np.float32))
            store.put(shard.name, payload)
            there[shard.name] = len(payload)


def _numbered(site: Site, shards: Sequence[DescribeShard], per: int) -> Iterator[tuple[DescribeShard, list[tuple[int, str]]]]:
    """Yield each shard with the pieces in it: their first tile there, and their names."""
    number = 0
    for shard in shards:
        starts = range(0, shard.size, per)
        yield shard, [(at, f"{descriptor_folder(site)}/{number + n:06d}") for n, at in enumerate(starts)]
        number += len(starts)


class FromShards:
    """This process (`pieces.Here`), going on with what workers of a cluster left in the index's own folder."""

    who = ""
    overlaps = False

    def __init__(
        self, here: Here, journal: Journal, prints: Prints, brief: Brief, store: ShardStore, describe: Describe, model: str
    ) -> None:
        self._here, self._journal, self._prints, self._brief, self._store = here, journal, prints, brief, store
        self._describe, self._model = describe, model

    def cut(self, site: Site, step: Step) -> Cut:
        """Make pieces of the shards of blocks that are there; cut the others."""
        number, pieces = 0, cut_in_pieces(site.blocks)
        for shard in cut_shards(self._brief, site, self._prints):
            payload, left = self._store.get(shard.name), shard.size
            values = {} if payload is None else dict(unpacked(payload))
            while left > 0:
                if payload is not None and self._journal.get(block_piece(site, number)) is None:
                    piece = b"".join(packed(block, values[block]) for block in pieces[number] if block in values)
                    self._journal.put(block_piece(site, number), piece)
                left -= len(pieces[number])
                number += 1
        return self._here.cut(site, step)

    def describe_early(self, site: Site) -> None:
        """Describe nothing yet: what is there already is not known before all is cut."""

    def cut_ended(self, site: Site) -> None:
        """Describe nothing early, as usual."""

    def cut_kept(self, site: Site) -> None:
        """Drop the pieces, as usual."""
        self._here.cut_kept(site)

    def describe(self, site: Site, ground: Ground, tiles: Tiles, step: Step, write: Write[R]) -> R:
        """Make pieces of the shards of tiles that are there, where they were described as this process does it; describe the others."""
        brief = self._brief
        shards = describe_shards(brief, site, tiles, cut_shards(brief, site, self._prints))
        there = self._store.sizes(brief.folder)
        if any(shard.name in there for shard in shards):
            self._take(site, shards, hand_of(self._describe, brief.grid.tile_px, brief.batch, self._model))
        return self._here.describe(site, ground, tiles, step, write)

    def _take(self, site: Site, shards: Sequence[DescribeShard], hand: str) -> None:
        per = self._brief.batch * described.BATCHES_PER_PIECE
        for shard, pieces in _numbered(site, shards, per):
            missing = [(at, name) for at, name in pieces if self._journal.get(name) is None]
            payload = self._store.get(shard.name) if missing else None
            if payload is None:
                continue
            own, rows = hand_and_rows(payload, shard.size)
            for at, name in missing if own == hand else ():
                self._journal.put(name, rows[at : at + per].tobytes())
