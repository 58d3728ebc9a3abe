"""Who searches the rows of descriptors behind an index, and gives the descriptors of ids: this process, unless an index is told otherwise.

Ids are those of the index: of its segments one after the other. Whoever it is holds rows by area or by file, as it likes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import numpy as np

from crossgeo.indexer.grid import Bounds
from crossgeo.indexer.parts import Zone
from crossgeo.indexer.vector_index import VectorIndex
from crossgeo.indexer.vectors import Ids, Vectors, best


class RowSearch(Protocol):
    """Searches the rows of one index; safe for threads."""

    def search(self, queries: Vectors, k: int, ids: Ids | None) -> tuple[Vectors, Ids]:
        """Return scores and ids (Q, K) of the best of all, or of the tiles `ids` (n,), rising: best first, equal scores by id."""
        ...

    def descriptors(self, ids: Ids) -> Vectors:
        """Return the descriptors (n, D) of tiles (n,); zeros for those of an area that `missing` names."""
        ...

    def question(self) -> AbstractContextManager[None]:
        """Answer what is asked by this thread until the block is left with what can be had in time; elsewhere all is waited for."""
        ...

    def missing(self) -> tuple[Bounds, ...]:
        """Return the areas (west, south, east, north in degrees) that this thread's question was to look at and could not in time."""
        ...

    def to(self, device: str) -> None:
        """Search on a GPU from now on, wherever that helps."""
        ...

    def metrics(self) -> dict[str, Any]:
        """Return what happened so far, as plain values; nothing where nothing can go wrong."""
        ...

    def close(self) -> None:
        """Let go of the rows."""
        ...


class LocalRows:
    """The rows of an index in this process."""

    def __init__(self, zones: Sequence[Zone], dim: int) -> None:
        """Open what is searched of the segments' tiles; raise StoreError where it is not of them."""
        self._zones, self._dim = zones, dim
        self._vectors: list[list[VectorIndex | None]] = []
        self._every: list[list[tuple[Ids | None, Ids | None]]] = []
        for zone in zones:
            self._vectors.append([part.vectors() if len(part.live) else None for part in zone.parts])
            self._every.append([_every(zone, number) for number in range(len(zone.parts))])

    def search(self, queries: Vectors, k: int, ids: Ids | None) -> tuple[Vectors, Ids]:
        """Return the best as `RowSearch` says."""
        found = [one for number, first_id, tiles in self._spans() for one in self._search(number, first_id, tiles, queries, k, ids)]
        return best(np.concatenate([f[0] for f in found], axis=1), np.concatenate([f[1] for f in found], axis=1), k)

    def _spans(self) -> Iterator[tuple[int, int, int]]:
        """Each segment's number, first id and number of tiles."""
        first_id = 0
        for number, zone in enumerate(self._zones):
            yield number, first_id, len(zone)
            first_id += len(zone)

    def _search(self, number: int, first_id: int, tiles: int, queries: Vectors, k: int, ids: Ids | None) -> Iterator[tuple[Vectors, Ids]]:
        zone = self._zones[number]
        mine = None if ids is None else ids[slice(*np.searchsorted(ids, (first_id, first_id + tiles)))] - first_id
        for part, vectors in enumerate(self._vectors[number]):
            if vectors is None:
                continue
            own, rows = zone.rows(part, mine) if mine is not None else self._every[number][part]
            if rows is None:
                scores, found = vectors.search(queries, k)
            else:
                scores, found = vectors.search_among(queries, k, rows)
            if own is not None and own is not rows:
                found = own[found if rows is None else np.searchsorted(rows, found)]
            yield scores, found + first_id

    def descriptors(self, ids: Ids) -> Vectors:
        """Return the descriptors (n, D) of tiles (n,)."""
        out = np.empty((len(ids), self._dim), np.float32)
        for number, first_id, tiles in self._spans():
            zone = self._zones[number]
            for part, vectors in enumerate(self._vectors[number]):
                mine = np.flatnonzero((ids >= first_id) & (ids < first_id + tiles))
                local = ids[mine] - first_id
                if zone.part_of is not None and zone.row_of is not None:
                    here = zone.part_of[local] == part
                    mine, local = mine[here], zone.row_of[local[here]]
                if vectors is not None and len(mine):
                    out[mine] = vectors.vectors(local)
        return out

    def to(self, device: str) -> None:
        """Search on a GPU from now on, wherever a segment's descriptors fit there (float16 or int8); elsewhere all stays as it is."""
        for every in self._vectors:
            for vectors in every:
                if vectors is not None:
                    vectors.to(device)

    def question(self) -> AbstractContextManager[None]:
        """Nothing is ever missing."""
        return nullcontext()

    def missing(self) -> tuple[Bounds, ...]:
        """Nothing is."""
        return ()

    def metrics(self) -> dict[str, Any]:
        """Nothing goes on elsewhere."""
        return {}

    def close(self) -> None:
        """They go with who holds them."""


def _every(zone: Zone, part: int) -> tuple[Ids | None, Ids | None]:
    """Return the ids and the rows of a part's tiles; rows are None where all of them are there: then the whole part is searched."""
    ids, rows = zone.rows(part, None)
    return ids, None if rows is None or len(rows) == len(zone.parts[part].tiles) else rows
