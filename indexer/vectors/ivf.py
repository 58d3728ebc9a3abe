"""Inverted lists over projected descriptors: 4-bit product codes scanned quickly, the best ranked again by finer codes from a mapped file.

Files of a segment: `axes.npy` (R, D) float32, what descriptors are projected with; `ann.faiss`, FAISS's IndexIVFPQFastScan (Jegou, Douze,
Schmid 2011; Andre, Kermarrec, Le Scouarnec 2017) over projected rows; `refine.faiss`, FAISS's IndexScalarQuantizer of the same rows, which
is mapped and read where candidates are; `search.json`, how widely to search.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from crossgeo import disk
from crossgeo.indexer.files import check_readable, damaged, failed_write, need_room, unreadable
from crossgeo.indexer.vectors import Ids, Rows, Vectors, best, nothing, projection
from crossgeo.indexer.vectors.structure import Structure, code_bytes

FILES = ("ann.faiss", "axes.npy", "refine.faiss", "search.json")
PIECE = 1 << 15  # rows in memory at once
_SAMPLES_PER_LIST = 64
_CODEBOOK_ROWS = 1 << 16
_EXACT_ROWS = 100_000  # so many selected rows are compared one by one
_FAISS: Any = faiss  # its classes take more than its stubs say
_TABLES_BYTES = 1 << 30
_STRAY = 0.05  # of a coordinate from what stands for it, at most: 8 bits over the range that samples had
_QUANTIZERS = {"fp16": faiss.ScalarQuantizer.QT_fp16, "sq8": faiss.ScalarQuantizer.QT_8bit}


@dataclass(frozen=True)
class Width:
    """How widely a search looks: lists, and candidates that are ranked again for each result that is asked for."""

    lists: int
    candidates: float


def axes_of(rows: Rows) -> Vectors:
    """Return the axes (R, D) that rows (n, D) vary along."""
    return projection.fit_axes(projection.sample(rows, _CODEBOOK_ROWS))


class Writer:
    """Trains on rows and writes what searches them; `fill` streams, so that no more than a piece of the rows is in memory."""

    def __init__(self, folder: Path, rows: Rows, structure: Structure, axes: Vectors, seed: int = 0) -> None:
        """Train for rows (n, D) that use `axes` (R, D)."""
        from crossgeo.indexer.vectors import kmeans

        self._folder, self._rows, self._structure = folder, rows, structure
        mixed, _ = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(axes), len(axes))))  # codes of equal size for equal shares
        self._axes = np.ascontiguousarray(mixed.astype(np.float32) @ axes)
        some = projection.sample(rows, max(_CODEBOOK_ROWS, structure.lists * _SAMPLES_PER_LIST), self._axes)
        self._lists = kmeans.train(some, structure.lists, seed=seed)
        width = len(self._axes)
        self._coarse = faiss.IndexFlatIP(width)
        self._coarse.add(self._lists.centres)
        self._codes = faiss.IndexIVFPQ(self._coarse, width, structure.lists, 2 * code_bytes(width), 4, faiss.METRIC_INNER_PRODUCT)
        self._codes.by_residual = False
        self._codes.pq.cp.min_points_per_centroid = 1  # else FAISS warns on stdout of few rows; tune.py measures the outcome
        self._codes.pq.train(some[:: max(1, len(some) // _CODEBOOK_ROWS)].copy())
        self._codes.is_trained = True
        self._refine = faiss.IndexScalarQuantizer(width, _QUANTIZERS[structure.refine], faiss.METRIC_INNER_PRODUCT)
        self._refine.train(some)

    def fill(self, see: Any = None) -> None:
        """Write all rows; `see(start, rows)` is shown every piece on its way. Raise OSError where the disk is full."""
        count = self._rows.shape[0]
        path = self._folder / "refine.faiss"
        need_room(path, count * (self._refine.sa_code_size() + self._codes.code_size + 8))
        with disk.replacing(path) as temporary, temporary.open("wb") as file:
            file.write(_head(self._refine, count))
            for start in range(0, count, PIECE):
                rows = self._rows.read(start, min(start + PIECE, count))
                if see is not None:
                    see(start, rows)
                short = np.ascontiguousarray(rows @ self._axes.T)
                mine = np.ascontiguousarray(self._lists.nearest(short))
                self._codes.add_core(len(short), faiss.swig_ptr(short), None, faiss.swig_ptr(mine))
                file.write(self._refine.sa_encode(short).tobytes())
        with disk.replacing(self._folder / "ann.faiss") as temporary:
            packed = faiss.IndexIVFPQFastScan(self._codes)
            self._codes.reset()
            try:
                faiss.write_index(packed, str(temporary))
            except RuntimeError as error:
                raise failed_write(temporary, f"FAISS: {str(error).splitlines()[-1]}") from error
        with disk.replacing(self._folder / "axes.npy") as temporary, temporary.open("wb") as file:
            np.save(file, self._axes, allow_pickle=False)
        self.widen(Width(min(self._structure.lists, 32), 16.0))

    def widen(self, width: Width) -> None:
        """Write how widely to search."""
        disk.write(self._folder / "search.json", json.dumps({"version": 1, **asdict(width)}).encode())


class InvertedLists:
    """Search of what `Writer` wrote. The files must have been checked against their checksums."""

    def __init__(self, folder: Path) -> None:
        self._codes = read_faiss(folder / "ann.faiss", faiss.IndexIVFPQFastScan)
        self._refine = read_faiss(folder / "refine.faiss", faiss.IndexScalarQuantizer, mapped=True)
        try:
            self._axes: Vectors = np.load(folder / "axes.npy", allow_pickle=False)
            found = json.loads((folder / "search.json").read_bytes())
            if found.pop("version") != 1:
                raise ValueError("another version")
            self.width = Width(int(found["lists"]), float(found["candidates"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise damaged(folder, f"does not say how it is searched ({error})") from error
        sizes = {self._codes.ntotal, self._refine.ntotal}
        if len(sizes) != 1 or self._axes.shape[:1] != (self._codes.d,) or self._refine.d != self._codes.d:
            raise damaged(folder, "holds files that do not belong together")
        self._found: Any = faiss.IndexRefine(self._codes, self._refine)
        try:
            raw = np.memmap(folder / "refine.faiss", np.uint8, "r")
        except OSError as error:
            raise unreadable(folder / "refine.faiss", error) from error
        size = self._refine.sa_code_size()
        self._raw = raw[len(raw) - len(self) * size :].reshape(len(self), size)

    def __len__(self) -> int:
        return int(self._codes.ntotal)

    @property
    def dim(self) -> int:
        """D, the length of a descriptor."""
        return int(self._axes.shape[1])

    @property
    def lists(self) -> int:
        """How many lists there are."""
        return int(self._codes.nlist)

    @property
    def memory_bytes(self) -> int:
        """What a search reads, in memory or mapped."""
        return len(self) * (int(self._codes.code_size) + 8) + int(self._raw.nbytes) + (self.lists + self.dim) * int(self._codes.d) * 4

    def search(self, queries: Vectors, k: int, width: Width | None = None, among: Any = None) -> tuple[Vectors, Ids]:
        """Return scores and rows (Q, K) of about the best; `among` is a FAISS selector."""
        width = width or self.width
        given = np.ascontiguousarray(queries @ self._axes.T)
        lists = _FAISS.SearchParametersIVF(nprobe=min(width.lists, self.lists), sel=among)
        wanted = _FAISS.IndexRefineSearchParameters(k_factor=width.candidates, base_index_params=lists)
        scores, rows = self._found.search(given, k, params=wanted)
        short = np.flatnonzero((rows < 0).any(axis=1))
        if len(short) and width.lists < self.lists:  # too little of a selection lies in those lists
            scores[short], rows[short] = self.search(queries[short], k, Width(self.lists, width.candidates), among)
        return best(scores, rows, k)

    def search_among(self, queries: Vectors, k: int, rows: Ids) -> tuple[Vectors, Ids]:
        """Return what `search` would if only `rows` (n,) were there: each compared where they are few, else by a selector."""
        if len(rows) > _EXACT_ROWS:
            chosen = np.zeros(len(self), np.bool_)
            chosen[rows] = True
            bits = np.packbits(chosen, bitorder="little")
            share = max(1.0, len(self) / len(rows))  # the best of a selection lie in lists farther off
            wide = Width(int(self.width.lists * share), self.width.candidates)
            return self.search(queries, k, wide, _FAISS.IDSelectorBitmap(bits))
        given = np.ascontiguousarray(queries @ self._axes.T)
        found = nothing(len(queries))
        for start in range(0, len(rows), PIECE):
            piece = rows[start : start + PIECE]
            scores = given @ self._refine.sa_decode(np.ascontiguousarray(self._raw[piece])).T
            ids = np.concatenate([found[1], np.broadcast_to(piece, scores.shape)], axis=1)
            found = best(np.concatenate([found[0], scores], axis=1), ids, k)
        return found

    def holds(self, start: int, rows: Vectors) -> bool:
        """Say whether rows are, but for their coarser codes, those from row `start` on."""
        held = self._refine.sa_decode(np.ascontiguousarray(self._raw[start : start + len(rows)]))
        return held.shape == (len(rows), self._codes.d) and bool(np.allclose(held, rows @ self._axes.T, atol=_STRAY))


def read_faiss(path: Path, kind: type, *, mapped: bool = False) -> Any:
    """Read or map a FAISS file that holds an index of a kind; raise StoreError where it does not."""
    size = check_readable(path)
    # No vector in the file is longer than the file, but FAISS also counts tables that it would make for another metric.
    faiss.set_deserialization_vector_byte_limit(max(size, _TABLES_BYTES))
    faiss.set_deserialization_loop_limit(1 << 20)
    try:
        index = faiss.read_index(str(path), faiss.IO_FLAG_SKIP_PRECOMPUTE_TABLE | (faiss.IO_FLAG_MMAP_IFC if mapped else 0))
    except RuntimeError as error:
        raise damaged(path, f"does not open ({str(error).splitlines()[-1]})") from error
    if not isinstance(index, kind) or index.metric_type != faiss.METRIC_INNER_PRODUCT:
        raise damaged(path, f"holds a {type(index).__name__}, not the {kind.__name__} that it should")
    return index


def _head(empty: Any, rows: int) -> bytes:
    """Return what faiss.write_index writes before the codes of an index, for as many rows as will follow."""
    data: NDArray[np.uint8] = faiss.serialize_index(empty)
    head = bytearray(data.tobytes())
    head[8:16] = rows.to_bytes(8, "little")  # after the four letters of the kind and the dimension
    head[-8:] = (rows * empty.sa_code_size()).to_bytes(8, "little")
    return bytes(head)
