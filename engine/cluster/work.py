"""What is given out: a job (what to do), its shards (to what), and what came of each."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from crossgeo.errors import GeoError

C = TypeVar("C")  # context: what all shards of a job share
S = TypeVar("S")  # state that a worker makes of it: models, open sources
P = TypeVar("P")  # what one shard is of
R = TypeVar("R")  # what comes of it


@dataclass(frozen=True)
class Shard(Generic[P]):
    """A part of the work. `key` names it in errors; `size` (tiles, photos) is what rates and deadlines count."""

    key: str
    payload: P
    size: int = 1


@dataclass(frozen=True)
class Job(Generic[C, S, P, R]):
    """Work that is cut into shards.

    Functions belong to modules that workers can import. A shard may be done more than once, also at the same time, so `do` is idempotent.
    """

    name: str  # for people: "cut", "describe", "locate"
    setup: Callable[[C], S]  # makes the state of a worker, once per process
    do: Callable[[S, P], R]  # does one shard; what is returned travels to the driver, so it is small
    context: C  # plain, small
    halve: Callable[[Shard[P]], Sequence[Shard[P]]] | None = None  # a shard whose worker died, in two or more; () where it cannot be cut
    cpus: float = 1.0
    gpus: float = 0.0
    memory_bytes: int = 1_000_000_000  # that a worker needs, where a cluster counts it
    retries: int = 1  # how often a shard that cannot be halved is given out again after its worker died; then it is reported
    # A shard that takes longer than `least_s`, and `slower` times what the median says, is given out once more; the first result counts.
    least_s: float = 30.0
    slower: float = 4.0
    longest_s: float = 3600.0  # that a shard may take while no median is known


@dataclass(frozen=True)
class Outcome(Generic[P, R]):
    """What came of a shard: its result, or the error that `do` raised, or how often its worker ended over it."""

    shard: Shard[P]
    result: R | None = None
    error: GeoError | None = None
    died: int = 0  # more than 0: so many workers ended while they did this shard, which cannot be halved
    why: str = ""  # the last of them ended, for people
    node: str = ""
    seconds: float = 0.0  # that `do` took


@dataclass
class Tally:
    """Shards, sizes and rates of each node, counted by the driver from outcomes."""

    sizes: dict[str, int] = field(default_factory=dict)
    shards: dict[str, int] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # of workers, all together
    _began: float = field(default_factory=time.monotonic)

    def count(self, outcome: Outcome[Any, Any]) -> None:
        """Count an outcome for its node."""
        node = outcome.node
        self.shards[node] = self.shards.get(node, 0) + 1
        self.sizes[node] = self.sizes.get(node, 0) + outcome.shard.size
        self.seconds[node] = self.seconds.get(node, 0.0) + outcome.seconds

    def rates(self) -> dict[str, float]:
        """Return what each node did a second since the tally began, in units of `Shard.size`."""
        elapsed = max(time.monotonic() - self._began, 1e-9)
        return {node: size / elapsed for node, size in sorted(self.sizes.items())}
