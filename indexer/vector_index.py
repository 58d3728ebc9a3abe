"""Search over the descriptors of one segment: what is written for it, and the one class that the rest searches with.

`vectors/structure.py` chooses; `vectors/exact.py` and `vectors/ivf.py` are the structures. Which of them a segment has shows in its files.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from crossgeo.disk import replacing
from crossgeo.indexer.descriptor_store import ROWS_PER_CHUNK, DescriptorRows
from crossgeo.indexer.files import damaged, remove
from crossgeo.indexer.manifest import SearchRecord
from crossgeo.indexer.vectors import Ids, Rows, Vectors, exact, ivf, nothing, tune
from crossgeo.indexer.vectors.structure import USUAL, Budget, choose_structure, is_exact, most_lists

if TYPE_CHECKING:
    from crossgeo.indexer.vectors.on_device import DeviceRows

TIMED = 32
_FEW_ROWS, _FEW_CHUNKS = 8192, 256  # of a selection whose descriptors are read from disk and compared as they are
_PROBED = 8  # pieces that a check of inverted lists compares


def write_vectors(folder: Path, rows: Rows, budget: Budget = USUAL) -> SearchRecord | None:
    """Write what searches unit vectors (n, D) into a segment's folder; return what an approximate search finds, None of an exact one.

    Equal rows give equal files on the same kind of processor with as many threads. LimitError: too small a budget or disk.
    """
    axes = None if is_exact(*rows.shape, budget) else ivf.axes_of(rows)
    chosen = choose_structure(*rows.shape, budget, None if axes is None else len(axes))
    for name in ivf.FILES:  # of a run that was broken off and had another budget: what lies here says how it is searched
        remove(folder / name)
    if axes is None:
        with replacing(folder / "ann.faiss") as temporary:
            exact.write(temporary, rows)
        return None
    asked = tune.questions(rows)
    writer, truth = ivf.Writer(folder, rows, chosen, axes), tune.Truth(asked)
    writer.fill(truth.see)
    search = ivf.InvertedLists(folder)
    most = most_lists(rows.shape[0], len(axes), search.lists, budget)
    width, found = tune.narrowest(search, asked, truth.rows, budget.recall, most)
    writer.widen(width)
    return SearchRecord(str(chosen), *found, search.memory_bytes, width.lists, width.candidates)


def measured_ms(folder: Path) -> float:
    """Return the median milliseconds of one query, alone, in a segment of which something is searched."""
    search = VectorIndex(folder)
    with DescriptorRows(folder / "descriptors.h5") as rows:
        asked = tune.questions(rows)[:TIMED]
    times = []
    for query in asked:
        began = time.perf_counter()
        search.search(query[None], tune.DEPTH)
        times.append(time.perf_counter() - began)
    return 1e3 * statistics.median(times)


class VectorIndex:
    """What searches the descriptors of one segment; row n is the segment's tile n.

    The files must have been checked against their checksums: FAISS does not notice damage.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        lists = (folder / "search.json").exists()
        self._search: exact.Exact | ivf.InvertedLists = ivf.InvertedLists(folder) if lists else exact.Exact(folder / "ann.faiss")

        self._on_device: DeviceRows | None = None
        self._selected: tuple[Ids, Vectors] = np.zeros(0, np.int64), np.zeros((0, 0), np.float32)

    def to(self, device: str) -> bool:
        """Search all rows on a GPU from now on, if they fit there in float16 or else in int8; say whether they do."""
        if device != "cpu" and self._on_device is None:
            from crossgeo.indexer.vectors import on_device

            if (dtype := on_device.type_that_fits(len(self), self.dim, device)) is not None:
                with DescriptorRows(self._folder / "descriptors.h5") as rows:
                    self._on_device = on_device.DeviceRows(rows, device, dtype)
        return self._on_device is not None

    def __len__(self) -> int:
        return len(self._search)

    @property
    def dim(self) -> int:
        """D, the length of a descriptor."""
        return self._search.dim

    @property
    def is_exact(self) -> bool:
        """Whether every search finds the very best."""
        return self._on_device is not None or isinstance(self._search, exact.Exact)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Return the scores and rows (Q, min(k, n)) of the best, best first, equal scores by row."""
        k = min(k, len(self))
        return (self._on_device or self._search).search(np.ascontiguousarray(queries, np.float32), k) if k else nothing(len(queries))

    def search_among(self, queries: Vectors, k: int, rows: Ids) -> tuple[Vectors, Ids]:
        """Return what `search` would if only `rows` (n,) were there."""
        k = min(k, len(rows))
        given = np.ascontiguousarray(queries, np.float32)
        if not k or self._on_device is not None or isinstance(self._search, exact.Exact) or not self._are_few(rows):
            return (self._on_device or self._search).search_among(given, k, rows) if k else nothing(len(queries))
        held = self._held(rows)
        return exact.among(given, k, held, rows, exact.errors(given, exact.longest(held)))

    def _are_few(self, rows: Ids) -> bool:
        return len(rows) <= _FEW_ROWS and len(np.unique(rows // ROWS_PER_CHUNK)) <= _FEW_CHUNKS

    def _held(self, rows: Ids) -> Vectors:
        """Return the descriptors of a selection, which one photo's questions share."""
        held = self._selected  # another thread may put its own there meanwhile
        if not np.array_equal(held[0], rows):
            self._selected = held = rows.copy(), self.vectors(rows)
        return held[1]

    def vectors(self, rows: Ids) -> Vectors:
        """Return the descriptors (n, D) of some rows, as they were written."""
        if isinstance(self._search, exact.Exact):
            return self._search.rows[rows].copy()
        with DescriptorRows(self._folder / "descriptors.h5") as stored:
            return stored.take(rows)

    def check(self, rows: Rows) -> None:
        """Raise StoreError unless what is searched was made of these rows."""
        wrong = damaged(self._folder / "ann.faiss", "does not hold the vectors of descriptors.h5")
        if (len(self), self.dim) != rows.shape:
            raise wrong
        step = ivf.PIECE if isinstance(self._search, exact.Exact) else max(ivf.PIECE, len(self) // _PROBED)
        for start in range(0, len(self), step):
            if not self._search.holds(start, rows.read(start, min(start + ivf.PIECE, len(self)))):
                raise wrong
