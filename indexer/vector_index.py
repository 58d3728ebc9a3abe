"""Search over the descriptors of one segment with FAISS (Johnson, Douze, Jegou 2017): exact inner products.

On disk: what faiss.write_index makes of an IndexFlatIP. `write_vectors` and `VectorIndex` are all that the rest knows of FAISS.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.files import check_readable, damaged, failed_write, need_room

_PIECE = 65536  # rows compared at once when only some are searched

Vectors = NDArray[np.float32]
Ids = NDArray[np.int64]


def write_vectors(path: Path, descriptors: Vectors) -> None:
    """Write (n, D) unit vectors as a FAISS index; raise OSError where the disk is full."""
    need_room(path, descriptors.nbytes)
    index = faiss.IndexFlatIP(descriptors.shape[1])
    head_bytes = len(faiss.serialize_index(index))
    index.add(np.ascontiguousarray(descriptors, np.float32))
    try:
        faiss.write_index(index, str(path))
    except RuntimeError as error:
        raise failed_write(path, f"FAISS: {str(error).splitlines()[-1]}") from error
    if path.stat().st_size != head_bytes + descriptors.nbytes:
        raise failed_write(path, "FAISS: the file is cut short")  # it only prints what fails on closing


class VectorIndex:
    """The descriptors of one segment in memory; row n is the segment's tile n.

    The file must have been checked against its checksum: FAISS does not notice damage.
    """

    def __init__(self, path: Path) -> None:
        size = check_readable(path)
        faiss.set_deserialization_vector_byte_limit(size)  # no vector in the file is longer than the file
        faiss.set_deserialization_loop_limit(1 << 20)
        try:
            index: Any = faiss.read_index(str(path))
        except RuntimeError as error:
            raise damaged(path, f"does not open ({str(error).splitlines()[-1]})") from error
        if not isinstance(index, faiss.IndexFlat) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
            raise damaged(path, f"holds a {type(index).__name__}, not exact inner products")
        self._index = index
        self._rows: Vectors = faiss.rev_swig_ptr(index.get_xb(), index.ntotal * index.d).reshape(index.ntotal, index.d)

    def __len__(self) -> int:
        return int(self._index.ntotal)

    @property
    def dim(self) -> int:
        """D, the length of a descriptor."""
        return int(self._index.d)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Return the scores and rows (Q, min(k, n)) of the best, best first, equal scores by row."""
        k = min(k, len(self))
        if k == 0:
            return _nothing(len(queries))
        scores, rows = self._index.search(np.ascontiguousarray(queries, np.float32), k)
        return best(scores, rows, k)

    def search_among(self, queries: Vectors, k: int, rows: Ids) -> tuple[Vectors, Ids]:
        """Return what `search` would if only `rows` (n,) were there, exactly."""
        found = _nothing(len(queries))
        for start in range(0, len(rows), _PIECE):
            piece = rows[start : start + _PIECE]
            scores = queries @ self._rows[piece].T  # (Q, n)
            ids = np.broadcast_to(piece, scores.shape)
            found = best(np.concatenate([found[0], scores], axis=1), np.concatenate([found[1], ids], axis=1), k)
        return found

    def vectors(self, rows: Ids) -> Vectors:
        """Return a copy of the descriptors (n, D) of some rows."""
        return self._rows[rows].copy()


def best(scores: Vectors, ids: Ids, k: int) -> tuple[Vectors, Ids]:
    """Return the k best of each row of (Q, n) scores and ids, best first, equal scores by id."""
    k = min(k, scores.shape[1])
    if k < scores.shape[1]:
        part = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k else np.zeros((len(scores), 0), np.int64)
        scores, ids = np.take_along_axis(scores, part, 1), np.take_along_axis(ids, part, 1)
    order = np.lexsort((ids, -scores), axis=1)
    return np.take_along_axis(scores, order, 1).astype(np.float32), np.take_along_axis(ids, order, 1).astype(np.int64)


def _nothing(queries: int) -> tuple[Vectors, Ids]:
    return np.zeros((queries, 0), np.float32), np.zeros((queries, 0), np.int64)
