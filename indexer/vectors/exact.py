"""Exact inner products: FAISS's IndexFlatIP on disk; in memory batches go through bfloat16 products where the processor has them.

What float32 sums say first depends on how many rows are multiplied at once. They only tell which rows may be among the best, by a bound on
their error; those are compared by `products`, so that the answer is the same for any division of the rows.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from crossgeo import processor
from crossgeo.indexer.files import failed_write, need_room
from crossgeo.indexer.vectors import Ids, Rows, Vectors, best, nothing, products
from crossgeo.indexer.vectors.ivf import PIECE, read_faiss

if TYPE_CHECKING:
    from crossgeo.indexer.vectors.matrix_scan import MatrixScan

FILES = ("ann.faiss",)
_BATCH = 16  # queries from which on a bfloat16 product pays
_MANY_ROWS = 20_000  # and rows
_SPARE = 8  # rows beyond those asked for, since float32 may have the last ones in another order


def write(path: Path, rows: Rows) -> None:
    """Write unit vectors (n, D) as a FAISS index; raise OSError where the disk is full."""
    count, dim = rows.shape
    need_room(path, count * dim * 4)
    index = faiss.IndexFlatIP(dim)
    head_bytes = len(faiss.serialize_index(index))
    for start in range(0, count, PIECE):
        index.add(np.ascontiguousarray(rows.read(start, min(start + PIECE, count)), np.float32))
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise failed_write(path, f"FAISS: {str(error).splitlines()[-1]}") from error
    if path.stat().st_size != head_bytes + count * dim * 4:
        raise failed_write(path, "FAISS: the file is cut short")  # it only prints what fails on closing


class Exact:
    """The rows in memory. The file must have been checked against its checksum: FAISS does not notice damage."""

    def __init__(self, path: Path) -> None:
        self._index: Any = read_faiss(path, faiss.IndexFlat)
        self.rows: Vectors = faiss.rev_swig_ptr(self._index.get_xb(), self._index.ntotal * self._index.d).reshape(-1, self._index.d)
        self._scan: MatrixScan | None = None
        self._making = Lock()

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """D, the length of a descriptor."""
        return int(self._index.d)

    @property
    def memory_bytes(self) -> int:
        """What a search reads."""
        return int(self.rows.nbytes)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Return scores and rows (Q, k) of the best of at least k rows."""
        if len(queries) >= _BATCH and len(self) >= _MANY_ROWS and processor.multiplies_bfloat16():
            with self._making:
                if self._scan is None:
                    from crossgeo.indexer.vectors.matrix_scan import MatrixScan  # torch, which processes that hold few rows never need

                    self._scan = MatrixScan(self.rows)
            return self._scan.search(queries, k)
        rough, ids = self._index.search(queries, min(k + _SPARE, len(self)))
        least = rough[:, k - 1] - 2.0 * self._errors(queries)
        found: list[tuple[Vectors, Ids]] = []
        for query, scores, rows, floor in zip(queries, rough, ids, least, strict=True):
            near = rows[scores >= floor]
            if len(near) == rough.shape[1] < len(self):  # there may be more
                near = np.concatenate([at + np.flatnonzero(part @ query >= floor) for at, part in _pieces(self.rows)])
            found.append(_finished(query, self.rows, near, k))
        return _stacked(found)

    def search_among(self, queries: Vectors, k: int, rows: Ids) -> tuple[Vectors, Ids]:
        """Return what `search` would if only `rows` (n,) were there."""
        found = nothing(len(queries))
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            some = among(queries, k, self.rows[piece], piece, self._errors(queries))
            found = best(np.concatenate([found[0], some[0]], axis=1), np.concatenate([found[1], some[1]], axis=1), k)
        return found

    def _errors(self, queries: Vectors) -> Vectors:
        """What a sum in float32 errs by at most (Q,), in any order."""
        return errors(queries, self._longest)

    @cached_property
    def _longest(self) -> float:
        return longest(self.rows)

    def holds(self, start: int, rows: Vectors) -> bool:
        """Say whether rows are those from row `start` on."""
        return np.array_equal(self.rows[start : start + len(rows)], rows)


def among(queries: Vectors, k: int, rows: Vectors, ids: Ids, erring: Vectors) -> tuple[Vectors, Ids]:
    """Return scores and ids (Q, min(k, n)) of the best of rows (n, D) that have those ids (n,); `erring` (Q,) is as `errors` has it."""
    k = min(k, len(rows))
    if k == 0:
        return nothing(len(queries))
    rough = queries @ rows.T
    least = np.partition(rough, len(rows) - k, axis=1)[:, len(rows) - k] - 2.0 * erring
    found = [_finished(query, rows, np.flatnonzero(scores >= floor), k) for query, scores, floor in zip(queries, rough, least, strict=True)]
    scores, places = _stacked(found)
    return best(scores, ids[places], k)


def longest(rows: Vectors) -> float:
    """Return the length of the longest of rows (n, D)."""
    return math.sqrt(max((float(np.einsum("ij,ij->i", part, part).max()) for _, part in _pieces(rows)), default=0.0))


def errors(queries: Vectors, length: float) -> Vectors:
    """Return what inner products of (Q, D) with rows no longer than that err by at most when they are summed in float32, in any order."""
    dim = queries.shape[1]
    return np.asarray(np.linalg.norm(queries, axis=1) * (1.02 * (dim + 1) * 2.0**-24 * length), np.float32)


def _finished(query: Vectors, rows: Vectors, near: Ids, k: int) -> tuple[Vectors, Ids]:
    """The k best of the rows that are near enough."""
    scores = products(query, rows[near])
    order = np.lexsort((near, -scores))[:k]
    return scores[order], near[order]


def _stacked(found: list[tuple[Vectors, Ids]]) -> tuple[Vectors, Ids]:
    return np.stack([scores for scores, _ in found]), np.stack([ids for _, ids in found]).astype(np.int64)


def _pieces(rows: Vectors) -> Iterator[tuple[int, Vectors]]:
    for at in range(0, len(rows), PIECE):
        yield at, rows[at : at + PIECE]
