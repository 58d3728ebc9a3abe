"""The libraries that search is measured against, each as its users call it, widened until it finds enough."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Found = NDArray[np.int64]


class Peer:
    """One index; `widths` are what its users turn to find more, from narrow to wide."""

    widths: Sequence[int] = (0,)
    slow = False  # a batch takes long: few questions are asked

    def __init__(self, rows: Array) -> None:
        raise NotImplementedError

    def search(self, queries: Array, k: int, width: int) -> Found:
        """Return the rows (Q, k) found."""
        raise NotImplementedError

    def size_bytes(self) -> int:
        """Return what it holds."""
        raise NotImplementedError


class FaissPeer(Peer):
    """An index of FAISS's, made by its factory."""

    factory = ""

    def __init__(self, rows: Array) -> None:
        self._index: Any = faiss.index_factory(rows.shape[1], self.factory, faiss.METRIC_INNER_PRODUCT)
        if not self._index.is_trained:
            self._index.train(rows)
        self._index.add(rows)

    def search(self, queries: Array, k: int, width: int) -> Found:
        """Return the rows (Q, k) found."""
        self._widen(width)
        return np.asarray(self._index.search(queries, k)[1])

    def _widen(self, width: int) -> None:
        """Set what decides how many rows are looked at."""

    def size_bytes(self) -> int:
        """Return what faiss.write_index would write."""
        with tempfile.NamedTemporaryFile() as file:
            faiss.write_index(self._index, file.name)
            return Path(file.name).stat().st_size


class Flat(FaissPeer):
    """Exact."""

    factory = "Flat"


class Lists(FaissPeer):
    """Inverted lists; their number as FAISS's guide has it."""

    widths = (8, 16, 32, 64, 96, 128, 192, 256, 384, 512, 1024)

    def _widen(self, width: int) -> None:
        faiss.extract_index_ivf(self._index).nprobe = width
        if isinstance(self._index, faiss.IndexRefine):
            self._index.k_factor = 16.0


def lists_of(factory: str) -> type[Lists]:
    """Return inverted lists that store rows in another way."""
    return type("Lists", (Lists,), {"factory": factory})


class FaissGraph(FaissPeer):
    """FAISS's HNSW."""

    factory = "HNSW32,Flat"
    widths = (16, 32, 64, 128, 256, 512, 1024, 2048)

    def _widen(self, width: int) -> None:
        self._index.hnsw.efSearch = width


class HnswLib(Peer):
    """hnswlib."""

    widths = FaissGraph.widths

    def __init__(self, rows: Array) -> None:
        import hnswlib

        self._index = hnswlib.Index("ip", rows.shape[1])
        self._index.init_index(len(rows), M=16, ef_construction=200)
        self._index.add_items(rows, num_threads=1)
        self._index.set_num_threads(1)

    def search(self, queries: Array, k: int, width: int) -> Found:
        """Return the rows (Q, k) found."""
        self._index.set_ef(max(k, width))
        return np.asarray(self._index.knn_query(queries, k)[0], np.int64)

    def size_bytes(self) -> int:
        """Return what it writes."""
        return int(self._index.index_file_size())


class Usearch(Peer):
    """usearch, in float32."""

    widths = FaissGraph.widths

    def __init__(self, rows: Array) -> None:
        from usearch.index import Index

        self._index = Index(ndim=rows.shape[1], metric="ip", dtype="f32")
        self._index.add(np.arange(len(rows)), rows, threads=1)

    def search(self, queries: Array, k: int, width: int) -> Found:
        """Return the rows (Q, k) found."""
        self._index.expansion_search = width
        return np.asarray(self._index.search(queries, k, threads=1).keys, np.int64).reshape(len(queries), k)

    def size_bytes(self) -> int:
        """Return what it says it holds."""
        return int(self._index.memory_usage)


class MilvusLite(Peer):
    """Milvus Lite, with the index that it makes by itself."""

    slow = True

    def __init__(self, rows: Array) -> None:
        from pymilvus import MilvusClient

        self._folder = Path(tempfile.mkdtemp())
        self._client = MilvusClient(str(self._folder / "milvus.db"))
        self._client.create_collection("tiles", dimension=rows.shape[1], metric_type="IP")
        for at in range(0, len(rows), 2000):
            self._client.insert("tiles", [{"id": at + n, "vector": row} for n, row in enumerate(rows[at : at + 2000])])

    def search(self, queries: Array, k: int, width: int) -> Found:
        """Return the rows (Q, k) found."""
        found = self._client.search("tiles", list(queries), limit=k)
        return np.asarray([[hit["id"] for hit in hits] for hits in found], np.int64)

    def size_bytes(self) -> int:
        """Return what lies on disk."""
        return sum(path.stat().st_size for path in self._folder.rglob("*") if path.is_file())

    def __del__(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)


def peers(rows: int) -> dict[str, tuple[Callable[[Array], Peer], int]]:
    """Return the peers by name, with the most rows that each is built of unless all are wanted: what takes an hour waits for a long run."""
    lists = 1024 if rows < 500_000 else 4096
    return {
        "FAISS Flat": (Flat, 2_000_000),
        f"FAISS IVF{lists},Flat": (lists_of(f"IVF{lists},Flat"), 2_000_000),
        f"FAISS IVF{lists},SQ8": (lists_of(f"IVF{lists},SQ8"), 2_000_000),
        f"FAISS IVF{lists},PQ192x4fs,Refine(SQ8)": (lists_of(f"IVF{lists},PQ192x4fs,Refine(SQ8)"), 2_000_000),
        "FAISS HNSW32": (FaissGraph, 150_000),
        "hnswlib": (HnswLib, 150_000),
        "usearch": (Usearch, 150_000),
        "Milvus Lite": (MilvusLite, 150_000),
    }
