"""Exact inner products: FAISS's IndexFlatIP on disk; in memory batches go through bfloat16 products where the processor has them."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import Any

import faiss
import numpy as np

from crossgeo.indexer.files import failed_write, need_room
from crossgeo.indexer.vectors import Ids, Rows, Vectors, best, matrix_scan, nothing
from crossgeo.indexer.vectors.ivf import PIECE, read_faiss

FILES = ("ann.faiss",)
_BATCH = 16  # queries from which on a bfloat16 product pays
_MANY_ROWS = 20_000  # and rows


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
        self._scan: matrix_scan.MatrixScan | None = None
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
        if len(queries) >= _BATCH and len(self) >= _MANY_ROWS and matrix_scan.is_quick():
            with self._making:
                if self._scan is None:
                    self._scan = matrix_scan.MatrixScan(self.rows)
            return self._scan.search(queries, k)
        scores, ids = self._index.search(queries, k)
        return best(scores, ids, k)

    def search_among(self, queries: Vectors, k: int, rows: Ids) -> tuple[Vectors, Ids]:
        """Return what `search` would if only `rows` (n,) were there."""
        found = nothing(len(queries))
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            scores = queries @ self.rows[piece].T  # (Q, n)
            ids = np.broadcast_to(piece, scores.shape)
            found = best(np.concatenate([found[0], scores], axis=1), np.concatenate([found[1], ids], axis=1), k)
        return found

    def holds(self, start: int, rows: Vectors) -> bool:
        """Say whether rows are those from row `start` on."""
        return np.array_equal(self.rows[start : start + len(rows)], rows)
