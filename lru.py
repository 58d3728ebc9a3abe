"""Values by key up to a bound of bytes, those asked for longest ago forgotten first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Lru(Generic[K, V]):
    """What was asked for or put last, up to `limit_bytes` of it by `size_of`; whoever shares it between threads holds a lock."""

    def __init__(self, limit_bytes: int, size_of: Callable[[V], int]) -> None:
        self.limit_bytes, self.bytes = limit_bytes, 0
        self._size_of = size_of
        self._kept: OrderedDict[K, V] = OrderedDict()

    def __len__(self) -> int:
        return len(self._kept)

    def get(self, key: K) -> V | None:
        """Return a value, which is now the last to go; None where there is none."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def put(self, key: K, value: V) -> None:
        """Keep a value, in the place of an older one; one that is larger than the bound pushes out all others and itself."""
        old = self._kept.pop(key, None)
        self._kept[key] = value
        self.bytes += self._size_of(value) - (0 if old is None else self._size_of(old))
        while self.bytes > self.limit_bytes and self._kept:
            self.bytes -= self._size_of(self._kept.popitem(last=False)[1])

    def clear(self) -> None:
        """Forget all."""
        self._kept.clear()
        self.bytes = 0
