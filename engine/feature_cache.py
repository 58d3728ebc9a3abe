"""What models have made of imagery, kept in memory and, where a folder is given, on disk: features of windows, descriptors of cells.

The reference half of AttenGeo does not depend on the photo (its sec. 3), so a window that was seen once serves every later click on it.
Features are kept in float16, descriptors in float32. Those on disk carry their shape and a checksum over key and all; one that is damaged
is made again, and a folder that cannot be used (full, unwritable, stuck) leaves the cache in memory: no question ever fails for it.

No features are computed when an index is built: windows are centred on a grid of 2 m, which for a square kilometre and the eight turns of
AttenGeo-S would be 131 GB and seven hours of a core, and a coarser grid would not give the windows that clicks ask for.
`warming.warm_index` (`geo index warm`) does it for ground that one knows will be asked about.
"""

from __future__ import annotations

import hashlib
import math
import struct
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.feature_store import FeatureStore, Unusable
from crossgeo.lru import Lru

Features = NDArray[np.float16] | NDArray[np.float32]
"""Of a window (T, C, g, g), T turns of it; of a cell (1, 1, 1, D). No values at all (any shape with a 0) where there is no imagery."""

Promise = Future[Features | None]
"""What a thread is finding or making; None where it could not."""

Make = Callable[[Sequence[int]], Sequence[Features]]
"""Makes features of keys, named by their places among those asked for."""

MEMORY_BYTES = 128 << 20
GPU_BYTES = 2 << 30
_GPU_SHARE = 8  # no more than one part in so many of a GPU's memory, which models want, too
DISK_BYTES = 1 << 30
_HEAD = struct.Struct("<4s4I16s")


@dataclass(frozen=True)
class Form:
    """What a cache holds: the name of its files, the type of its values, and what each begins with on disk."""

    name: str
    dtype: str
    magic: bytes


WINDOWS = Form("object-features", "<f2", b"gof1")
CELLS = Form("cell-descriptors", "<f4", b"gcd1")


@dataclass(frozen=True)
class CacheStats:
    """What a cache has done since it was opened, and what it holds now."""

    device_hits: int  # found as tensors on the device that computes
    memory_hits: int
    disk_hits: int
    misses: int
    device_bytes: int
    memory_bytes: int
    disk_bytes: int
    damaged: int  # values and files found damaged and made again
    trouble: str | None  # why the folder is no longer used; None where it is, or where there is none

    @property
    def hits(self) -> int:
        """Times that features were there."""
        return self.device_hits + self.memory_hits + self.disk_hits

    @property
    def hit_rate(self) -> float:
        """Share of times that features were there; 0 before the first time."""
        asked = self.hits + self.misses
        return self.hits / asked if asked else 0.0


class FeatureCache:
    """Features by 32-byte key, those asked for longest ago forgotten first; safe for threads."""

    def __init__(
        self,
        memory_bytes: int = MEMORY_BYTES,
        folder: Path | None = None,
        disk_bytes: int = DISK_BYTES,
        form: Form = WINDOWS,
        device_bytes: int | None = None,
    ) -> None:
        """Keep up to `memory_bytes` in memory and, with a `folder`, which other processes may use as well, up to `disk_bytes` there.

        The folder is first touched when features are asked for. Caches of several forms may have the same. Beside that up to
        `device_bytes` stay on the device that `tensors` are asked for on: 2 GiB, or an eighth of its memory, of a GPU, unless told.
        """
        self.form = form
        self._kept: Lru[bytes, Features] = Lru(memory_bytes, _size_bytes)
        self._device_bytes = device_bytes
        self._placed: Lru[bytes, Tensor] = Lru(device_bytes or 0, _size_bytes)
        self._making: dict[bytes, Promise] = {}
        self._lock = Lock()  # of what is in memory; never held while the disk is read or features are made
        self._device_hits = self._memory_hits = self._disk_hits = self._misses = self._damaged = 0
        self._trouble: str | None = None
        self._folder, self._disk_bytes = folder, disk_bytes
        self._store: FeatureStore | None = None
        self._users = 1

    def share(self) -> FeatureCache:
        """Return the cache itself, to be closed once more."""
        with self._lock:
            self._users += 1
        return self

    def get(self, key: bytes) -> Features | None:
        """Return the features of a key, None where there are none."""
        found = self._from_memory(key)
        return self._from_disk(key) if found is None else found

    def put(self, key: bytes, features: Features) -> None:
        """Keep the features of a key."""
        with self._lock:
            self._kept.put(key, features)
        try:
            store = self._opened()
            if store is not None:
                store.put(key, pack(key, features, self.form))
        except Unusable as error:
            self._give_up(error)

    def tensors(self, keys: Sequence[bytes], make: Make, device: torch.device) -> list[Tensor]:
        """Return what `get_or_make` does as tensors on a device, always the same for a key; those that were there last are not moved.

        They stay in the type they are kept in, which every other tier has, too: answers are the same whatever tier they come from.
        """
        with self._lock:
            if self._device_bytes is None:
                self._device_bytes = self._placed.limit_bytes = _suiting(device)
            out = {at: tensor for at, key in enumerate(keys) if (tensor := self._placed.get(key)) is not None}
            self._device_hits += len(out)
        missing = [at for at in range(len(keys)) if at not in out]
        if missing:
            found = self.get_or_make([keys[at] for at in missing], lambda some: make([missing[n] for n in some]))
            for at, features in zip(missing, found, strict=True):
                out[at] = torch.from_numpy(features).to(device)
                if self._placed.limit_bytes and features.dtype == np.dtype(self.form.dtype):
                    out[at] = out[at].to(memory_format=torch.channels_last)  # as networks take it; a copy of what is kept in memory
                    with self._lock:
                        self._placed.put(keys[at], out[at])
        return [out[at] for at in range(len(keys))]

    def get_or_make(self, keys: Sequence[bytes], make: Make) -> list[Features]:
        """Return the features of each key; `make` is called once for all that are nowhere, with their places in `keys`.

        What another thread is making is waited for and not made twice; where that thread fails it is made here. Features of another type
        than the form's are returned and not kept. Raises what `make` does.
        """
        out: dict[int, Features] = {}
        while len(out) < len(keys):
            mine, others = self._claimed({at: key for at, key in enumerate(keys) if at not in out}, out)
            try:
                missing = []
                for at, (key, promise) in mine.items():
                    found = self._from_disk(key)
                    if found is None:
                        missing.append(at)
                    else:
                        out[at] = found
                        promise.set_result(found)
                for at, features in zip(missing, make(missing) if missing else (), strict=True):
                    key, promise = mine[at]
                    if features.dtype == np.dtype(self.form.dtype):
                        self.put(key, features)
                    out[at] = features
                    promise.set_result(features)
            finally:
                self._settle(mine.values())
            for at, promise in others.items():  # after its own, so that no two threads wait for each other
                made = promise.result()
                if made is not None:
                    out[at] = made
                    with self._lock:
                        self._memory_hits += 1
        return [out[at] for at in range(len(keys))]

    def on_disk(self, key: bytes) -> bool:
        """Say whether there are features of a key in the folder, as far as can be said without reading them."""
        try:
            store = self._opened()
            return store is not None and store.has(key)
        except Unusable as error:
            self._give_up(error)
            return False

    def stats(self) -> CacheStats:
        """Return what it has done and holds."""
        with self._lock:
            store, damaged = self._store, self._damaged
            counts = self._device_hits, self._memory_hits, self._disk_hits, self._misses, self._placed.bytes, self._kept.bytes
            trouble = self._trouble
        on_disk, more = (0, 0) if store is None else (store.size_bytes, store.damaged)
        return CacheStats(*counts, on_disk, damaged + more, trouble)

    def close(self) -> None:
        """Let go of the folder and forget what is in memory, once all who share it have closed it."""
        with self._lock:
            self._users -= 1
            if self._users > 0:
                return
            self._kept.clear()
            self._placed.clear()
            store, self._store, self._folder = self._store, None, None
        if store is not None:
            store.close()

    def _claimed(self, keys: dict[int, bytes], out: dict[int, Features]) -> tuple[dict[int, tuple[bytes, Promise]], dict[int, Promise]]:
        """Put into `out` what is in memory; return what is this thread's to find or make, and what others do already."""
        mine: dict[int, tuple[bytes, Promise]] = {}
        others: dict[int, Promise] = {}
        with self._lock:
            for at, key in keys.items():
                found = self._known(key)
                if found is not None:
                    out[at] = found
                elif key in self._making:
                    others[at] = self._making[key]
                else:
                    mine[at] = key, self._making.setdefault(key, Future())
        return mine, others

    def _settle(self, claims: Iterable[tuple[bytes, Promise]]) -> None:
        """Give claims up: what was not made by now is for those who wait for it."""
        with self._lock:
            for key, promise in claims:
                del self._making[key]
                if not promise.done():
                    promise.set_result(None)

    def _opened(self) -> FeatureStore | None:
        with self._lock:
            if self._store is None and self._folder is not None:
                self._store = FeatureStore.shared(self._folder, self._disk_bytes, self.form.name)
            return self._store

    def _from_memory(self, key: bytes) -> Features | None:
        with self._lock:
            return self._known(key)

    def _known(self, key: bytes) -> Features | None:
        found = self._kept.get(key)
        if found is not None:
            self._memory_hits += 1
        return found

    def _from_disk(self, key: bytes) -> Features | None:
        """What is on disk, counted; the lock is not held, since reading takes as long as the disk does."""
        found = self._read(key)
        with self._lock:
            if found is None:
                self._misses += 1
            else:
                self._disk_hits += 1
                self._kept.put(key, found)
        return found

    def _read(self, key: bytes) -> Features | None:
        try:
            store = self._opened()
            value = None if store is None else store.get(key)
            if store is None or value is None:
                return None
            found = unpack(key, value, self.form)
            if found is None:
                store.distrust(key)
            return found
        except Unusable as error:
            self._give_up(error)
            return None

    def _give_up(self, error: Unusable) -> None:
        """Leave the folder alone from now on."""
        with self._lock:
            self._trouble, self._folder = str(error), None
            store, self._store = self._store, None
            if store is not None:
                self._damaged += store.damaged
        if store is not None:
            store.close()


def for_windows(disk_bytes: int) -> int:
    """Return how much of a folder that serves all forms is for windows: all but a quarter, which is for cells."""
    return disk_bytes - disk_bytes // 4


def with_cells(window_bytes: int) -> int:
    """Return how large a folder must be for so much of it to be for windows."""
    return -(-window_bytes * 4 // 3)


def pack(key: bytes, features: Features, form: Form = WINDOWS) -> bytes:
    """Return the bytes of (T, C, g, g) features: magic, shape, a checksum over key, shape and values, then the values, little-endian."""
    values = np.ascontiguousarray(features, form.dtype).tobytes()
    shape = _four(features.shape)
    return _HEAD.pack(form.magic, *shape, _digest(key, shape, values)) + values


def unpack(key: bytes, value: bytes, form: Form = WINDOWS) -> Features | None:
    """Return the features that `pack` was given, None for any other bytes."""
    if len(value) < _HEAD.size:
        return None
    magic, *shape, digest = _HEAD.unpack_from(value)
    values, dtype = value[_HEAD.size :], np.dtype(form.dtype)
    if magic != form.magic or len(values) != dtype.itemsize * math.prod(shape) or _digest(key, tuple(shape), values) != digest:
        return None
    return np.frombuffer(values, dtype).astype(dtype.newbyteorder("=")).reshape(shape)


def _digest(key: bytes, shape: tuple[int, ...], values: bytes) -> bytes:
    digest = hashlib.blake2b(key + struct.pack("<4I", *shape), digest_size=16)
    digest.update(values)
    return digest.digest()


def _four(shape: tuple[int, ...]) -> tuple[int, int, int, int]:
    if len(shape) != 4:
        raise ValueError(f"features are (T, C, g, g), not {shape}")
    return shape


def _suiting(device: torch.device) -> int:
    """How much of a device's memory keeps features: none of a processor's, which has them in memory anyway."""
    if device.type != "cuda":
        return 0
    return min(GPU_BYTES, int(torch.cuda.get_device_properties(device).total_memory) // _GPU_SHARE)


def _size_bytes(features: Features | Tensor) -> int:
    return features.nbytes + 256  # with the key and what Python keeps
