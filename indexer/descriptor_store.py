"""The descriptors and grid positions of one segment's tiles in HDF5, each chunk with a Fletcher-32 checksum.

On disk (docs/formats.md): `descriptors` (n, D) float32 unit vectors, `tiles` (n, 2) int32 (i, j), attribute `version` = 1.
FAISS's file can be made again from it.
"""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.files import check_readable, damaged, failed_write, need_room

_ROWS_PER_CHUNK = 256
_VERSION = 1


def write_descriptors(path: Path, descriptors: NDArray[np.float32], tiles: NDArray[np.int32]) -> None:
    """Write (n, D) unit vectors and the (n, 2) tiles they describe; equal input gives equal bytes. Raise OSError where the disk is full."""
    need_room(path, descriptors.nbytes + tiles.nbytes)
    try:
        with h5py.File(path, "w", libver=("v110", "v110")) as file:
            file.attrs["version"] = _VERSION
            for name, data in (("descriptors", descriptors), ("tiles", tiles)):
                rows = min(_ROWS_PER_CHUNK, len(data))
                file.create_dataset(name, data=data, chunks=(rows, data.shape[1]), fletcher32=True, track_times=False)
    except (OSError, RuntimeError) as error:
        raise failed_write(path, f"HDF5: {error}") from error


def read_tiles(path: Path) -> NDArray[np.int32]:
    """Return the tiles (n, 2) as (i, j), in the order of their ids; raise StoreError where the file is damaged."""
    return np.asarray(_read(path, "tiles"), np.int32)


def read_descriptors(path: Path) -> NDArray[np.float32]:
    """Return all descriptors (n, D); raise StoreError where the file is damaged."""
    return np.asarray(_read(path, "descriptors"), np.float32)


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
