"""What a build and a service would take on several nodes: hours, bytes and money, from a plan's measured rates (docs/scale.md)."""

from __future__ import annotations

import hashlib
import math
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crossgeo.errors import UsageError
from crossgeo.indexer.descriptor_store import write_descriptors
from crossgeo.indexer.plan import Plan
from crossgeo.indexer.shards import TILES
from crossgeo.indexer.vectors.structure import USUAL, Budget, choose_structure, is_exact

SEARCH_S_PER_TILE = 6.4e-5  # to make inverted lists, one core: 635 s for ten million (benchmarks/results/search-10000000.json)
_TRIED_ROWS = 8192
_FRONT_BYTES = 48  # of a tile in a process that answers: its place, its segment, its number
_START_S = 30.0  # until a worker has joined and loaded its model
_NOTICED_S = 8.4  # until the death of a node is noticed, with the settings of docs/howto/cluster.md
_USED = 0.7  # of a node's memory
_GAIN = 1.1  # as many more nodes must bring, or more are not worth it
_MOST_NODES = 4096


@dataclass(frozen=True)
class Site:
    """What nodes there are; each like the machine that the plan's rates were measured on."""

    memory_bytes: float = 64e9  # of a node that serves
    price_per_hour: float | None = None  # of a node, in any currency
    fails_per_hour: float = 1.0 / 720.0  # of a node: once a month
    shard_tiles: int = 1_000_000  # of a shard that serves
    replicas: int = 2

    def __post_init__(self) -> None:
        checks = {
            "memory": self.memory_bytes > 0.0,
            "price": self.price_per_hour is None or self.price_per_hour >= 0.0,
            "failures an hour": self.fails_per_hour >= 0.0,
            "tiles of a shard": self.shard_tiles >= 1,
            "replicas": self.replicas >= 1,
        }
        for name, fine in checks.items():
            if not fine:
                raise UsageError(f"{name}: out of range; give more than nothing")


@dataclass(frozen=True)
class Row:
    """A build on some nodes."""

    nodes: int
    hours: float
    node_hours: float
    price: float | None
    failures: float  # of nodes, to be expected while it runs
    driver_share: float  # of the time, in which the driver works alone and the nodes wait


@dataclass(frozen=True)
class Serving:
    """What answers from an index that is built."""

    shards: int
    replicas: int
    shard_bytes: int  # of memory, of one shard
    bytes: int  # of all shards and replicas
    front_bytes: int  # of memory, of a process that answers, beside its models
    nodes: int
    price_per_hour: float | None


@dataclass(frozen=True)
class ClusterPlan:
    """A plan for several nodes."""

    build: tuple[Row, ...]
    shards: int  # of the build
    shard_s: float  # of one on one node
    stored_bytes: int  # by the shards until the index is whole
    moved_bytes: int  # through the network: blocks out and in again, descriptors once
    driver_s: float  # of the driver alone
    serving: Serving


def plan_cluster(
    plan: Plan,
    site: Site | None = None,
    nodes: int | None = None,
    within_hours: float | None = None,
    copy_bytes_per_s: float | None = None,
    budget: Budget = USUAL,
    dim: int = 768,
) -> ClusterPlan:
    """Say what the build of `plan` takes on `nodes`, on as few as end `within_hours`, or, without either, on 1, 2, 4 ... as far as it pays.

    `copy_bytes_per_s`: how fast the driver takes shards in; measured here where it is not given. Raise UsageError for a plan without a
    rate, both of the two, or a time that no number of nodes keeps.
    """
    site = site or Site()
    if plan.describe_s is None:
        raise UsageError("no rate is known; give tiles a second, or a model to try")
    if nodes is not None and within_hours is not None:
        raise UsageError("nodes and hours were both given; one follows from the other")
    if nodes is not None and not 1 <= nodes <= _MOST_NODES:
        raise UsageError(f"{nodes} nodes: give 1 to {_MOST_NODES}")
    if within_hours is not None and not within_hours > 0.0:
        raise UsageError(f"{within_hours:g} hours: give more than nothing")
    rows_bytes = 4 * dim * plan.tiles
    copy = copy_bytes_per_s or measure_copy(dim)
    exact = is_exact(math.ceil(plan.tiles / plan.zones), dim, budget)
    driver = _Driver(plan.imagery_bytes / copy, rows_bytes / copy, 0.0 if exact else plan.tiles * SEARCH_S_PER_TILE)
    shards = max(1, math.ceil(plan.tiles / TILES))

    def row(count: int) -> Row:
        return _row(plan, site, driver, shards, count)

    if nodes is not None:
        rows = [row(nodes)]
    elif within_hours is not None:
        rows = [_least(row, within_hours)]
    else:
        rows = [row(1)]
        while rows[-1].nodes < _MOST_NODES and rows[-1].hours > (better := row(2 * rows[-1].nodes)).hours * _GAIN:
            rows.append(better)
    moved = 2 * plan.imagery_bytes + rows_bytes
    shard_s = (plan.cut_s + plan.describe_s) / shards
    serving = _serving(plan, site, budget, dim)
    return ClusterPlan(tuple(rows), shards, shard_s, plan.imagery_bytes + rows_bytes, moved, driver.alone_s, serving)


def scaled(plan: Plan, area_km2: float, stride_m: float, budget: Budget = USUAL, dim: int = 768) -> Plan:
    """Return the plan of so much ground that looks like the planned one's, in as many zones."""
    if not 0.0 < area_km2 < math.inf or plan.tiles == 0:
        raise UsageError(f"an area of {area_km2:g} km2: give more than nothing, and imagery that fills tiles")
    times = area_km2 * 1e6 / (stride_m**2 * plan.tiles)

    def more(count: float) -> int:
        return round(count * times)

    describe_s = None if plan.describe_s is None else plan.describe_s * times
    chosen = choose_structure(math.ceil(plan.tiles * times / plan.zones), dim, budget)
    return replace(
        plan,
        search=(f"{chosen}: {chosen.why}",) * plan.zones,
        blocks=more(plan.blocks),
        tiles=more(plan.tiles),
        bytes=more(plan.bytes),
        peak_bytes=more(plan.peak_bytes),
        imagery_bytes=more(plan.imagery_bytes),
        cut_s=plan.cut_s * times,
        describe_s=describe_s,
    )


def measure_copy(dim: int = 768) -> float:
    """Return how many bytes a second this machine reads, checks and writes of what workers made, as a driver does."""
    rows = np.random.default_rng(0).standard_normal((_TRIED_ROWS, dim), np.float32)
    tiles = np.zeros((_TRIED_ROWS, 2), np.int32)
    with tempfile.TemporaryDirectory() as folder:
        payload = rows.tobytes()
        began = time.perf_counter()
        hashlib.sha256(payload)  # of the shard
        write_descriptors(Path(folder) / "rows.h5", [rows], tiles)
        with (Path(folder) / "rows.h5").open("rb") as file:
            hashlib.file_digest(file, "sha256")  # of the index's file
        return len(payload) / max(time.perf_counter() - began, 1e-9)


@dataclass(frozen=True)
class _Driver:
    """What only the driver does: blocks are written once all are cut, rows while others are described, the search at the end."""

    blocks_s: float
    rows_s: float
    search_s: float

    @property
    def alone_s(self) -> float:
        return self.blocks_s + self.search_s


def _row(plan: Plan, site: Site, driver: _Driver, shards: int, nodes: int) -> Row:
    assert plan.describe_s is not None
    busy = min(nodes, shards)  # more nodes than shards have nothing to do
    shard_s = (plan.cut_s + plan.describe_s) / shards
    again = 1.0 + site.fails_per_hour / 3600.0 * (shard_s / 2.0 + _NOTICED_S + _START_S)  # half a shard is lost with a node
    cut_s, describe_s = again * plan.cut_s / busy, again * plan.describe_s / busy
    seconds = _START_S + cut_s + max(describe_s, driver.rows_s) + driver.alone_s
    hours = seconds / 3600.0
    price = None if site.price_per_hour is None else nodes * hours * site.price_per_hour
    waiting_s = driver.alone_s + max(0.0, driver.rows_s - describe_s)
    return Row(nodes, hours, nodes * hours, price, nodes * hours * site.fails_per_hour, waiting_s / seconds)


def _least(row: Callable[[int], Row], within_hours: float) -> Row:
    low, high = 0, _MOST_NODES
    best = row(high)
    if best.hours > within_hours:
        raise UsageError(
            f"{within_hours:g} hours: on {high} nodes it takes {best.hours:.2g}, of which the driver alone works "
            f"{100 * best.driver_share:.0f} %; allow more, or build parts of the ground and merge them"
        )
    while high - low > 1:
        middle = (low + high) // 2
        tried = row(middle)
        if tried.hours <= within_hours:
            high, best = middle, tried
        else:
            low = middle
    return best


def _serving(plan: Plan, site: Site, budget: Budget, dim: int) -> Serving:
    shards = max(1, math.ceil(plan.tiles / site.shard_tiles))
    each = choose_structure(max(1, math.ceil(plan.tiles / shards)), dim, budget).memory_bytes
    total = shards * site.replicas * each
    nodes = max(site.replicas, math.ceil(total / (_USED * site.memory_bytes)))
    price = None if site.price_per_hour is None else nodes * site.price_per_hour
    return Serving(shards, site.replicas, each, total, plan.tiles * _FRONT_BYTES, nodes, price)
