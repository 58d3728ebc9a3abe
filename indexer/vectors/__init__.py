"""The structures that descriptors are searched with: exact scans, and inverted lists with product quantisation."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]
_AT_ONCE = 256  # rows whose products lie in a processor's cache: 1.5 MB


class Rows(Protocol):
    """Descriptors (n, D) that need not fit in memory."""

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        ...

    def read(self, start: int, stop: int) -> Vectors:
        """Return rows `start` to `stop` as float32."""
        ...


class ArrayRows:
    """Rows that are in memory already, in float16 or float32."""

    def __init__(self, array: NDArray[np.floating]) -> None:
        self._array = array

    @property
    def shape(self) -> tuple[int, int]:
        """(n, D)."""
        return self._array.shape[0], self._array.shape[1]

    def read(self, start: int, stop: int) -> Vectors:
        """Return rows `start` to `stop` as float32."""
        return np.ascontiguousarray(self._array[start:stop], np.float32)


def best(scores: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """Return the k best of each row of (Q, n) scores and ids, best first, equal scores by id."""
    k = min(k, scores.shape[1])
    if 0 < k < scores.shape[1]:
        part = np.argpartition(-scores, k - 1, axis=1)[:, :k]
        last = np.take_along_axis(scores, part, 1).min(axis=1, keepdims=True)
        for row in np.flatnonzero((scores >= last).sum(axis=1) > k):  # of equal scores at the end those of the lowest ids stay
            part[row] = np.lexsort((ids[row], -scores[row]))[:k]
        scores, ids = np.take_along_axis(scores, part, 1), np.take_along_axis(ids, part, 1)
    order = np.lexsort((ids, -scores), axis=1)[:, :k]
    return np.take_along_axis(scores, order, 1).astype(np.float32), np.take_along_axis(ids, order, 1).astype(np.int64)


def products(queries: Vectors, rows: Vectors) -> Vectors:
    """Return the inner products (n,) of queries (n, D), or of one (D,), with rows (n, D), to the last bit of float32.

    Products of float32 are exact in float64, and those of a row are added in one order: a score depends on its two vectors alone, not on
    how many rows lie beside it, nor on where. So an index answers the same however its rows are spread over processes.
    """
    found = np.empty(len(rows), np.float32)
    for at in range(0, len(rows), _AT_ONCE):
        some = slice(at, at + _AT_ONCE)
        wide = rows[some].astype(np.float64)
        wide *= queries if queries.ndim == 1 else queries[some]
        found[some] = wide.sum(axis=1)
    return found


def nothing(queries: int) -> tuple[Vectors, Ids]:
    """Return the answer of a search that has nothing to look through."""
    return np.zeros((queries, 0), np.float32), np.zeros((queries, 0), np.int64)
