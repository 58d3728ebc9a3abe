"""What a build and a service would take on several nodes: hours, bytes and money, from a plan's measured rates (docs/scale.md)."""

from __future__ import annotations

import hashlib
import math
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from crossgeo import disk
from crossgeo.errors import UsageError
from crossgeo.indexer.descriptor_store import write_descriptors
from crossgeo.indexer.files import checksum
from crossgeo.indexer.plan import Plan
from crossgeo.indexer.shards import TILES
from crossgeo.indexer.vectors.structure import USUAL, Budget, choose_structure, is_exact

BLOCKS_AGAIN = 3.5  # times that workers read each block: tiles are patches, blocks strips of 64 of a row (counted, in the tests, too)
_LISTS_S, _LISTS_OF, _LISTS_GROWTH = 635.3, 1e7, 1.12  # of one core, to make lists (results/search-10000000.json, search-1000000.json)
_BLOCK_S = 2.7e-5  # of one core, to read what a block covers and to choose its tiles: measured on 100,000 blocks, as are the two below
_BLOCK_BYTES = 100  # of the driver's memory, of each block as long as it works
_CHOOSING_BYTES = 1300  # besides, of each block of the zone whose tiles are being chosen, at a stride of 15 m
_TILE_BYTES = 8
_TRIED_ROWS = 16_384
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
class DriverRates:
    """How many bytes a second one process takes in, as a driver does."""

    take_in: float  # of what workers made: read, checked and written, until the disk has it
    check: float  # of its own files: read again, for their checksums


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
    moved_bytes: int  # to the storage and from it: blocks out, in again to who describes, and to the driver; descriptors out and in
    driver_s: float  # of the driver alone
    driver_bytes: int  # of its memory, at most
    serving: Serving


def plan_cluster(
    plan: Plan,
    site: Site | None = None,
    nodes: int | None = None,
    within_hours: float | None = None,
    rates: DriverRates | None = None,
    budget: Budget = USUAL,
    dim: int = 768,
) -> ClusterPlan:
    """Say what the build of `plan` takes on `nodes`, on as few as end `within_hours`, or, without either, on 1, 2, 4 ... as far as it pays.

    `rates` are of the driver; measured here where they are not given. Raise UsageError for a plan without a rate, both of the two, a time
    that no number of nodes keeps, or a shard that no node has the memory to serve.
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
    serving = _serving(plan, site, budget, dim)
    rows_bytes = 4 * dim * plan.tiles
    driver = _driver(plan, rates or measure_driver(dim), budget, dim)
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
    moved = round((1.0 + BLOCKS_AGAIN + 1.0) * plan.imagery_bytes) + 2 * rows_bytes
    shard_s = (plan.cut_s + plan.describe_s) / shards
    stored = plan.imagery_bytes + rows_bytes
    return ClusterPlan(tuple(rows), shards, shard_s, stored, moved, driver.alone_s, _driver_bytes(plan, budget, dim), serving)


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


def lists_s(tiles: float, zones: int) -> float:
    """Return the seconds of one core that inverted lists of so many tiles in equal zones take: a guess past ten million in one."""
    return zones * _LISTS_S * math.pow(tiles / zones / _LISTS_OF, _LISTS_GROWTH)


def measure_driver(dim: int = 768) -> DriverRates:
    """Return how fast this machine does a driver's work, in the folder of temporary files and past the cache, where the system lets it."""
    rows = np.random.default_rng(0).standard_normal((_TRIED_ROWS, dim), np.float32)
    tiles = np.zeros((_TRIED_ROWS, 2), np.int32)
    with tempfile.TemporaryDirectory() as folder:
        shard, made = Path(folder) / "shard", Path(folder) / "rows.h5"
        disk.write(shard, rows.tobytes())
        _onto_disk(shard)
        began = time.perf_counter()
        payload = shard.read_bytes()
        hashlib.sha256(payload)
        write_descriptors(made, [np.frombuffer(payload, np.float32).reshape(rows.shape)], tiles)
        _onto_disk(made)
        taken = time.perf_counter()
        checksum(made)
        checked = time.perf_counter()
    return DriverRates(rows.nbytes / max(taken - began, 1e-9), rows.nbytes / max(checked - taken, 1e-9))


def _onto_disk(path: Path) -> None:
    """Wait until the disk has a file, and have it read from there next time: an index is larger than what memory keeps of it."""
    disk.sync(path)
    with path.open("rb") as file:
        if hasattr(os, "posix_fadvise"):
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


@dataclass(frozen=True)
class _Driver:
    """What only the driver does: blocks are written once all are cut, rows while others are described, then the search is made."""

    blocks_s: float
    rows_s: float
    search_s: float
    seal_s: float  # all files are read for their checksums at the end

    @property
    def alone_s(self) -> float:
        return self.blocks_s + self.search_s + self.seal_s


def _driver(plan: Plan, rates: DriverRates, budget: Budget, dim: int) -> _Driver:
    rows_bytes = 4 * dim * plan.tiles
    blocks_s = plan.imagery_bytes / rates.take_in + plan.blocks * _BLOCK_S
    blocks_s += 2 * plan.imagery_bytes / rates.check  # for their checksum, and for what they cover
    if is_exact(math.ceil(plan.tiles / plan.zones), dim, budget):
        search_s = rows_bytes / rates.take_in  # a copy
    else:
        search_s = lists_s(plan.tiles, plan.zones) + rows_bytes / rates.check  # all rows are read once more
    return _Driver(blocks_s, rows_bytes / rates.take_in, search_s, plan.bytes / rates.check)


def _driver_bytes(plan: Plan, budget: Budget, dim: int) -> int:
    """Return how much memory the driver takes at most: when it chooses the tiles of a zone, or when it makes what searches them."""
    searched = choose_structure(math.ceil(plan.tiles / plan.zones), dim, budget).memory_bytes
    one = max(_CHOOSING_BYTES * math.ceil(plan.blocks / plan.zones), searched)
    return _BLOCK_BYTES * plan.blocks + _TILE_BYTES * plan.tiles + one


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
    fit = int(_USED * site.memory_bytes // each)  # a replica lies on one node, whole
    if fit == 0:
        raise UsageError(
            f"{site.shard_tiles} tiles of a process that serves: they take {each / 1e9:.2g} GB, more than the {100 * _USED:.0f} % that may "
            f"be used of a node of {site.memory_bytes / 1e9:.2g} GB; give a smaller --shard-tiles, or nodes of more memory"
        )
    nodes = max(site.replicas, math.ceil(shards * site.replicas / fit))
    price = None if site.price_per_hour is None else nodes * site.price_per_hour
    return Serving(shards, site.replicas, each, total, plan.tiles * _FRONT_BYTES, nodes, price)
