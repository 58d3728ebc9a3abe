"""The descriptors and grid positions of one segment's tiles in HDF5, each chunk with a Fletcher-32 checksum.

On disk (docs/formats.md): `descriptors` (n, D) float32 unit vectors, `tiles` (n, 2) int32 (i, j), attribute `version` = 1.
FAISS's file can be made again from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.files import check_readable, damaged, failed_write, need_room

ROWS_PER_CHUNK = 256
_VERSION = 1


def write_descriptors(path: Path, descriptors: Iterable[NDArray[np.float32]], tiles: NDArray[np.int32]) -> int:
    """Write unit vectors, pieces (m, D) of n in all, and the (n, 2) tiles they describe; equal input gives equal bytes. Return D.

    Raise OSError where the disk is full.
    """
    pieces = iter(descriptors)
    first = next(pieces)
    dim = int(first.shape[1])
    need_room(path, len(tiles) * dim * 4 + tiles.nbytes)
    chunk = min(ROWS_PER_CHUNK, len(tiles))
    try:
        with h5py.File(path, "w", libver=("v110", "v110")) as file:
            file.attrs["version"] = _VERSION
            stored = file.create_dataset(
                "descriptors", (len(tiles), dim), np.float32, chunks=(chunk, dim), fletcher32=True, track_times=False
            )
            for start, rows in in_chunks(chain([first], pieces)):
                stored[start : start + len(rows)] = rows
            file.create_dataset("tiles", data=tiles, chunks=(chunk, tiles.shape[1]), fletcher32=True, track_times=False)
    except (OSError, RuntimeError) as error:
        raise failed_write(path, f"HDF5: {error}") from error
    return dim


def read_tiles(path: Path) -> NDArray[np.int32]:
    """Return the tiles (n, 2) as (i, j), in the order of their ids; raise StoreError where the file is damaged."""
    return np.asarray(_read(path, "tiles"), np.int32)


def in_chunks(pieces: Iterable[NDArray[np.float32]]) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield rows of pieces once more, with the number of the first: whole chunks, so that none is written twice."""
    start, kept = 0, []
    for piece in pieces:
        kept.append(piece)
        ready = sum(map(len, kept)) // ROWS_PER_CHUNK * ROWS_PER_CHUNK
        if ready:
            rows = np.concatenate(kept)
            yield start, rows[:ready]
            start, kept = start + ready, [rows[ready:]]
    if kept and len(rest := np.concatenate(kept)):
        yield start, rest


class DescriptorRows:
    """The stored descriptors, read piece by piece; a context manager. Raise StoreError where the file is damaged."""

    def __init__(self, path: Path) -> None:
        self._path = path
        with self._guarded():
            self._file = h5py.File(path, "r")
        with self._guarded():
            self._rows = self._file["descriptors"]
            self.shape: tuple[int, int] = (int(self._rows.shape[0]), int(self._rows.shape[1]))

    def __enter__(self) -> DescriptorRows:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._file.close()

    def read(self, start: int, stop: int) -> NDArray[np.float32]:
        """Return rows `start` to `stop`."""
        with self._guarded():
            return np.asarray(self._rows[start:stop], np.float32)

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return some rows (n,), in any order; each chunk that holds one is read once."""
        found = np.empty((len(rows), self.shape[1]), np.float32)
        order = np.argsort(rows, kind="stable")
        chunks, starts = np.unique(rows[order] // ROWS_PER_CHUNK, return_index=True)
        for chunk, mine in zip(chunks.tolist(), np.split(order, starts[1:]), strict=True):
            first = chunk * ROWS_PER_CHUNK
            found[mine] = self.read(first, min(first + ROWS_PER_CHUNK, self.shape[0]))[rows[mine] - first]
        return found

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except (OSError, KeyError, RuntimeError, ValueError) as error:
            raise damaged(self._path, f"has no descriptors that can be read ({error})") from error


def _read(path: Path, name: str) -> NDArray[np.generic]:
    check_readable(path)
    try:
        with h5py.File(path, "r") as file:
            if file.attrs["version"] != _VERSION:
                raise damaged(path, f"has version {file.attrs['version']}, not {_VERSION}")
            data: NDArray[np.generic] = file[name][:]
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise damaged(path, f"has no {name} that can be read ({error})") from error
    if data.ndim != 2:
        raise damaged(path, f"has {name} of shape {data.shape}")
    return data
