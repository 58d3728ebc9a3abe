"""Who makes the pieces of a build: the interface, and this process, which keeps its pieces in the journal.

Threads cut the next blocks, and read the next tiles while a batch is described and those before it are written, in order (ahead.py). Here
one site's blocks may be cut while another's tiles are described. The other maker is `spread.Spread`, which has the workers of a cluster
do it.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from threading import Lock
from typing import Protocol, TypeVar

from crossgeo.indexer.ahead import ahead
from crossgeo.indexer.cutting import Cutter
from crossgeo.indexer.described import Describe, Step, Write, describe_tiles
from crossgeo.indexer.early import Early
from crossgeo.indexer.ground import Block, Ground
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.tiles import Tiles

R = TypeVar("R")
BLOCKS_PER_PIECE = 64


@dataclass(frozen=True)
class Site:
    """The ground of one segment in the making: its name in the journal, what cuts it, and the blocks (bx, by) by row, then by column."""

    name: str
    cutter: Cutter
    blocks: list[Block]


class ResizedError(Exception):
    """A piece has another size than was said when its site was cut: it is to be asked for once more."""


@dataclass(frozen=True)
class Cut:
    """All blocks of a site, in pieces of `cutting.packed` ones in order; going through them may raise ResizedError, once for a site."""

    size_bytes: int  # of all pieces
    pieces: Iterator[bytes]


class Maker(Protocol):
    """Makes the blocks and the descriptors of a build's sites, and keeps what is done beyond its own end."""

    overlaps: bool  # whether it may cut a site while it describes another

    @property
    def who(self) -> str:
        """Return who works, for people; "" for this process alone."""
        ...

    def cut(self, site: Site, step: Step) -> Cut:
        """Cut all blocks of a site, telling how many."""
        ...

    def describe_early(self, site: Site) -> None:
        """Describe of a site what can be before all of it is cut, which another thread does: `cut_ended` ends it."""
        ...

    def cut_ended(self, site: Site) -> None:
        """Hear that a site's blocks are cut, or cannot be."""
        ...

    def cut_kept(self, site: Site) -> None:
        """Hear that a site's blocks lie in its LMDB file: pieces may go that only that was made of."""
        ...

    def describe(self, site: Site, ground: Ground, tiles: Tiles, step: Step, write: Write[R]) -> R:
        """Return `write` of the descriptors of tiles over a ground, all in order."""
        ...


class Here:
    """This process: pieces lie in the journal, numbered in an order that depends on the plan alone."""

    who = ""
    overlaps = True

    def __init__(self, journal: Journal, describe: Describe, batch: int, model: str) -> None:
        self._journal, self._describe, self._batch, self._model = journal, describe, batch, model
        self._early: dict[str, Early] = {}
        self._lock = Lock()

    def _early_of(self, site: Site) -> Early:
        with self._lock:
            return self._early.setdefault(site.name, Early(self._journal, descriptor_folder(site), site.cutter.grid))

    def cut(self, site: Site, step: Step) -> Cut:
        """Cut the blocks whose pieces the journal does not have."""
        pieces = cut_in_pieces(site.blocks)
        payloads = (self._journal.get(block_piece(site, number)) for number in range(len(pieces)))
        sizes = {number: len(payload) for number, payload in enumerate(payloads) if payload is not None}
        missing, cutter = deque(number for number in range(len(pieces)) if number not in sizes), site.cutter
        early = self._early_of(site)
        with ahead(cutter.cut, [block for number in missing for block in pieces[number]]) as cut:
            for number, blocks in enumerate(pieces):
                if number not in sizes:
                    payload = b"".join(islice(cut, len(blocks)))
                    self._journal.put(block_piece(site, number), payload)
                    early.cut(block_piece(site, number), payload, whole_to(pieces, number))
                    sizes[number] = len(payload)
                    missing.popleft()
                    cutter.close_all_but(cutter.sources_of([*blocks, *pieces[missing[0]]] if missing else []))
                else:
                    name = block_piece(site, number)
                    early.cut(name, self._journal.need(name), whole_to(pieces, number))
                step(len(blocks))
        return Cut(sum(sizes.values()), (self._journal.need(block_piece(site, number)) for number in range(len(pieces))))

    def describe_early(self, site: Site) -> None:
        """Describe whole pieces whose tiles are known."""
        self._early_of(site).describe(self._describe, self._batch, self._model)

    def cut_ended(self, site: Site) -> None:
        """Have no more described early."""
        self._early_of(site).close()

    def cut_kept(self, site: Site) -> None:
        """Drop the pieces."""
        self.cut_ended(site)
        self._journal.drop(f"{site.name}/blocks")

    def describe(self, site: Site, ground: Ground, tiles: Tiles, step: Step, write: Write[R]) -> R:
        """Describe the tiles whose pieces the journal does not have."""
        grid, folder = site.cutter.grid, descriptor_folder(site)
        with self._lock:
            early = self._early.pop(site.name, None)
        if early is not None and not early.agrees(tiles):
            self._journal.drop(folder)
        return describe_tiles(self._journal, folder, ground, tiles, grid, self._describe, self._batch, self._model, step, write)


def whole_to(pieces: Sequence[Sequence[Block]], number: int) -> float:
    """Return the last row of blocks that is whole once a piece and those before it are cut."""
    row = pieces[number][-1][1]
    if number + 1 == len(pieces):
        return math.inf
    return row if pieces[number + 1][0][1] > row else row - 1


def cut_in_pieces(blocks: Sequence[Block]) -> list[Sequence[Block]]:
    """Return the blocks of each piece."""
    return [blocks[at : at + BLOCKS_PER_PIECE] for at in range(0, len(blocks), BLOCKS_PER_PIECE)]


def block_piece(site: Site, number: int) -> str:
    """Return the name of a piece of blocks."""
    return f"{site.name}/blocks/{number:06d}"


def descriptor_folder(site: Site) -> str:
    """Return where the pieces of descriptors lie."""
    return f"{site.name}/descriptors"
