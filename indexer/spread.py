"""A build whose pieces are made by the workers of a cluster: who has done what, and what is done read back in order.

Workers leave shards in a storage under names that say all that decides their content (shards.py). A shard that is there is done, whoever
made it and when; what is read back is checked, and made again where it is not whole. The journal's plan says which build it is, and the
index is committed as always, by the one process that holds its lock.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from crossgeo.errors import InputError, MismatchError
from crossgeo.indexer import handover
from crossgeo.indexer.ahead import collected
from crossgeo.indexer.cutting import packed
from crossgeo.indexer.described import R, Step, Write
from crossgeo.indexer.ground import Ground
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.pieces import Cut, ResizedError, Site
from crossgeo.indexer.shard_store import ShardStore
from crossgeo.indexer.shards import Brief, CutShard, DescribeShard, Done, Prints, Runner, cut_shards, describe_shards, hand_and_rows
from crossgeo.indexer.tiles import Tiles

HAND = "hand"  # the piece of the journal that says how tiles are described, and who did first
_MISSED = 2  # times that a shard may be gone or damaged


@dataclass(frozen=True)
class Crew:
    """Workers who are to make a build's pieces, and where they leave them."""

    runner: Runner
    storage: str | None = None  # a folder or an address that all nodes see; None: the index's own folder, which they see then
    mixed: bool = False  # whether nodes may describe whose last digits differ


class Spread:
    """A `pieces.Maker` that has workers do it."""

    overlaps = False  # they are all busy with the tiles of one site

    def __init__(self, journal: Journal, prints: Prints, brief: Brief, store: ShardStore, runner: Runner, mixed: bool = False) -> None:
        self._journal, self._prints, self._brief, self._store, self._runner = journal, prints, brief, store, runner
        self._mixed = mixed
        self._cut: dict[str, list[CutShard]] = {}
        self._resized: set[str] = set()  # sites of which a shard has another size than the storage's list says
        self._hand: dict[str, str] | None = None

    @property
    def who(self) -> str:
        """Return what the runner says of its workers."""
        return self._runner.who

    def cut(self, site: Site, step: Step) -> Cut:
        """Have the shards of blocks cut that are not in the storage."""
        shards, there = self._cut_shards(site), self._store.sizes(self._brief.folder)
        handover.blocks_to_shards(self._journal, site, self._store, shards, there)
        if site.name in self._resized:
            payloads = ((shard.name, self._store.get(shard.name)) for shard in shards if shard.name in there)
            there = {name: len(payload) for name, payload in payloads if payload is not None}
        sizes = {shard.name: there[shard.name] for shard in shards if shard.name in there}
        step(sum(shard.size for shard in shards if shard.name in sizes))
        missing = [shard for shard in shards if shard.name not in sizes]
        with closing(self._runner.cut(self._brief, missing)) as running:
            for done in running if missing else ():
                sizes[done.shard.name] = done.made.bytes
                step(done.shard.size)
        return Cut(sum(sizes.values()), self._payloads(site, shards, sizes))

    def _cut_shards(self, site: Site) -> list[CutShard]:
        if site.name not in self._cut:
            self._cut[site.name] = cut_shards(self._brief, site, self._prints)
        return self._cut[site.name]

    def _payloads(self, site: Site, shards: Iterable[CutShard], sizes: Mapping[str, int]) -> Iterator[bytes]:
        """Yield the blocks of each shard; where they are gone or damaged, they are cut again."""
        for shard in shards:
            payload = self._store.get(shard.name)
            if payload is None:
                payload = self._again(shard)
            if len(payload) != sizes[shard.name]:
                self._resized.add(site.name)
                raise ResizedError(shard.name)
            yield payload

    def describe_early(self, site: Site) -> None:
        """Describe nothing yet: workers take whole shards, of tiles that are all known."""

    def cut_ended(self, site: Site) -> None:
        """Describe nothing early, as usual."""

    def cut_kept(self, site: Site) -> None:
        """Drop what a build in one process left; shards stay, since tiles are described from them."""
        self._journal.drop(f"{site.name}/blocks")

    def describe(self, site: Site, ground: Ground, tiles: Tiles, step: Step, write: Write[R]) -> R:
        """Have the shards of tiles described that are not in the storage, and each written in its turn, while others are described.

        Raise MismatchError where a node describes tiles otherwise than another did.
        """
        return write(self._described(site, ground, tiles, step))

    def _described(self, site: Site, ground: Ground, tiles: Tiles, step: Step) -> Iterator[NDArray[np.float32]]:
        shards, listed = describe_shards(self._brief, site, tiles, self._cut_shards(site)), self._store.sizes(self._brief.folder)
        self._take_pieces(site, shards, ground, listed)
        there = {shard.name for shard in shards if shard.name in listed}
        todo = deque(shard for shard in shards if shard.name not in there)
        self._give_blocks(todo, ground, listed)
        counted: set[str] = set()
        stop = threading.Event()

        def count(done: DescribeShard | CutShard) -> None:
            if done.name not in counted:
                counted.add(done.name)
                step(done.size)

        shards_now = (todo.popleft() if todo else None for _ in itertools.count())
        with collected(self._runner.describe(self._brief, shards_now, stop), stop) as running:  # which does not wait for what is read here
            for shard in shards:
                if shard.name in there:
                    count(shard)
                missed = 0
                while (rows := self._rows(shard) if shard.name in there else None) is None:
                    if shard.name in there:  # gone, damaged, or described by another hand
                        missed += 1
                        self._check_missed(shard, missed)
                        there.discard(shard.name)
                        todo.appendleft(shard)
                    done = next(running)
                    self._accept(done)
                    there.add(done.shard.name)
                    count(done.shard)
                yield rows

    def _again(self, shard: CutShard | DescribeShard) -> bytes:
        """Return what a worker makes of a shard now."""
        for missed in itertools.count(1):
            if isinstance(shard, CutShard):
                running = self._runner.cut(self._brief, [shard])
            else:
                running = self._runner.describe(self._brief, [shard])
            with closing(running):
                done = next(running)
            if isinstance(shard, DescribeShard):
                self._accept(done)
            payload = self._store.get(shard.name)
            if payload is not None:
                return payload
            self._check_missed(shard, missed)
        raise AssertionError

    def _check_missed(self, shard: CutShard | DescribeShard, times: int) -> None:
        """Raise InputError for a shard that was made again and again, and is not there."""
        if times > _MISSED:
            raise InputError(
                f"a worker has left {shard.name} in {self._store.shown} {times} times, but it is not to be found there from here; nodes "
                "must share it: give --storage with a folder that all of them see, or an address like s3://bucket/prefix"
            )

    def _rows(self, shard: DescribeShard) -> NDArray[np.float32] | None:
        """Return the rows of a shard of tiles; None where they are gone, damaged or by another hand."""
        payload = self._store.get(shard.name)
        hand, rows = hand_and_rows(payload, shard.size) if payload is not None else ("", None)
        return rows if payload is not None and self._is_ours(hand, "a worker before", "unknown") else None

    # Hands

    def _accept(self, done: Done) -> None:
        """Raise MismatchError where a node describes otherwise than the first one of this build."""
        made = done.made
        if not self._is_ours(made.hand, done.node, made.processor):
            first = self._hand or {}
            raise MismatchError(
                f"{done.node} ({made.processor}) describes tiles with other last digits than {first.get('node')} "
                f"({first.get('processor')}), so the index would depend on who did what; build on nodes of one kind with one --runtime, "
                "or allow it with --mixed-nodes: the index is as good then, but another run makes other bytes. Where libraries were "
                f"updated since the build began, remove {self._journal.folder}: it then begins again"
            )

    def _is_ours(self, hand: str, node: str, processor: str) -> bool:
        if self._mixed:
            return True
        if self._hand is None:
            self._hand = self._journal.get_json(HAND)
        if self._hand is None:
            self._hand = {"hand": hand, "node": node, "processor": processor}
            self._journal.put_json(HAND, self._hand)
        return self._hand["hand"] == hand

    # What is there from a build in one process

    def _take_pieces(self, site: Site, shards: Sequence[DescribeShard], ground: Ground, there: dict[str, int]) -> None:
        """Put whole shards of pieces into the storage, if a worker describes a batch of one as it stands in the piece."""
        found = handover.first_piece(self._journal, site, shards, self._brief.batch)
        if found is None:
            return
        shard, rows = found
        self._give_blocks([shard], ground, there)
        payload = self._again(shard)
        if np.array_equal(hand_and_rows(payload, shard.size)[1], rows) and self._hand is not None:
            handover.descriptors_to_shards(self._journal, site, self._store, shards, self._brief.batch, self._hand["hand"], there)

    def _give_blocks(self, shards: Iterable[DescribeShard], ground: Ground, there: dict[str, int]) -> None:
        """See to it that the storage has the blocks of tiles that are to be described; what is not there lies in the index."""
        store = ground.layers[0].store
        for cut in {cut.name: cut for shard in shards for cut in shard.cut}.values():
            if cut.name not in there:
                values = ((block, store[block]) for block in cut.block_list())
                payload = b"".join(packed(block, value) for block, value in values if value is not None)
                self._store.put(cut.name, payload)
                there[cut.name] = len(payload)
