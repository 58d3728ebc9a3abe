"""A plan for several nodes follows from rates by arithmetic that can be done by hand."""

from __future__ import annotations

import json
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pyproj import CRS

from crossgeo.errors import UsageError
from crossgeo.indexer import shards
from crossgeo.indexer.block_store import block_cells, encode_block
from crossgeo.indexer.build import BuildOptions, grid_of
from crossgeo.indexer.cutting import Cutter
from crossgeo.indexer.grid import blocks_over, in_order, select_tiles
from crossgeo.indexer.pieces import Site as Ground
from crossgeo.indexer.plan import Plan
from crossgeo.indexer.plan_cluster import BLOCKS_AGAIN, DriverRates, Site, lists_s, measure_driver, plan_cluster, scaled
from crossgeo.indexer.shards import TILES
from crossgeo.indexer.tiles import rule_of

PLAN = Plan(
    blocks=1000, tiles=100 * TILES, zones=1, valid_share=1.0, bytes=2_000_000_000, peak_bytes=4_000_000_000, cut_s=3600.0,
    describe_s=7 * 3600.0, tiles_per_s=16.0, search=("exact: small",), imagery_bytes=100_000_000,
)  # fmt: skip
CALM = Site(fails_per_hour=0.0, price_per_hour=2.0)
QUICK = DriverRates(1e12, 1e12)
ROWS_BYTES = 4 * 768 * PLAN.tiles
RESULTS = Path(__file__).parents[2] / "benchmarks" / "results"


def test_twice_the_nodes_halve_what_is_shared_and_nothing_else() -> None:
    one, two = (plan_cluster(PLAN, CALM, nodes=n, rates=DriverRates(1e8, 1e9)).build[0] for n in (1, 2))
    blocks_s = 1.0 + 0.2 + 1000 * 2.7e-5  # taken in, read twice, looked through
    search_s = lists_s(PLAN.tiles, 1) + ROWS_BYTES / 1e9  # all rows are read for it
    alone_h = (30.0 + blocks_s + search_s + 2.0) / 3600.0  # a start before, a checksum of all files after
    assert one.hours == pytest.approx(8.0 + alone_h)
    assert two.hours == pytest.approx(4.0 + alone_h)
    assert two.node_hours == pytest.approx(2 * two.hours)
    assert two.price == pytest.approx(2.0 * two.node_hours)


def test_more_nodes_than_shards_bring_nothing() -> None:
    many, more = (plan_cluster(PLAN, CALM, nodes=n, rates=QUICK).build[0] for n in (100, 400))
    assert more.hours == pytest.approx(many.hours)


def test_rows_end_where_the_driver_is_what_one_waits_for() -> None:
    slow = plan_cluster(PLAN, CALM, rates=DriverRates(ROWS_BYTES / 3600.0, 1e12)).build  # an hour to write the descriptors
    assert [row.nodes for row in slow] == [1, 2, 4, 8]
    assert slow[-1].hours > 1.0
    assert slow[-1].driver_share > 0.1 > slow[0].driver_share


def test_the_fewest_nodes_that_are_quick_enough() -> None:
    (row,) = plan_cluster(PLAN, CALM, within_hours=1.0, rates=QUICK).build
    assert row.hours <= 1.0
    assert plan_cluster(PLAN, CALM, nodes=row.nodes - 1, rates=QUICK).build[0].hours > 1.0
    with pytest.raises(UsageError, match=r"on 4096 nodes it takes 0\.\d+, of which the driver alone"):
        plan_cluster(PLAN, CALM, within_hours=0.001, rates=QUICK)


def test_failures_cost_the_work_that_they_lose() -> None:
    calm, rough = (plan_cluster(PLAN, Site(fails_per_hour=f), nodes=4, rates=QUICK).build[0] for f in (0.0, 2.0))
    shard_s = 8 * 3600.0 / 100
    assert rough.hours - calm.hours == pytest.approx(2.0 * (2.0 / 3600.0) * (shard_s / 2 + 8.4 + 30.0), rel=0.01)
    assert rough.failures == pytest.approx(4 * rough.hours * 2.0)


def test_what_serves_needs_its_memory_in_each_replica() -> None:
    small = plan_cluster(PLAN, Site(shard_tiles=100_000, replicas=3, memory_bytes=1e9), nodes=1, rates=QUICK).serving
    assert small.shards == 5
    assert small.shard_bytes == 4 * 768 * -(-PLAN.tiles // 5)  # exact
    assert small.bytes == 15 * small.shard_bytes
    assert small.nodes == 8  # two of 0.25 GB to each node's 0.7


def test_a_replica_lies_on_one_node_whole() -> None:
    shard_gb = 4 * 768 * 40_960 / 1e9
    for memory_gb, nodes in ((1.99 * shard_gb / 0.7, 20), (2.01 * shard_gb / 0.7, 10)):
        site = Site(shard_tiles=40_960, memory_bytes=memory_gb * 1e9)
        assert plan_cluster(PLAN, site, nodes=1, rates=QUICK).serving.nodes == nodes  # of ten shards, twice
    with pytest.raises(UsageError, match=r"40960 tiles .* take 0\.13 GB, .* smaller --shard-tiles"):
        plan_cluster(PLAN, Site(shard_tiles=40_960, memory_bytes=0.99 * shard_gb / 0.7 * 1e9), nodes=1, rates=QUICK)


def test_blocks_go_out_once_in_several_times_and_to_the_driver_and_rows_twice() -> None:
    assert plan_cluster(PLAN, CALM, nodes=1, rates=QUICK).moved_bytes == 5.5 * PLAN.imagery_bytes + 2 * ROWS_BYTES


def test_workers_read_each_block_as_often_as_the_plan_says() -> None:
    side_m, grid = 12_000.0, grid_of(BuildOptions())
    corner = np.asarray([500_000.0, 5_600_000.0])
    blocks = blocks_over(np.asarray([[*corner, *(corner + side_m)]]), grid.gsd_m)
    i, j = (np.arange(at / grid.stride_m, (at + side_m) / grid.stride_m, dtype=np.int32) for at in corner)
    tiles = np.stack(np.meshgrid(i, j), axis=-1).reshape(-1, 2)
    site = Ground("area-0", Cutter(CRS.from_epsg(32630), [], np.zeros((0, 4)), grid, {}), blocks)
    brief = shards.Brief("", "0", "0" * 64, None, grid, 32)
    cut = shards.cut_shards(brief, site, {})
    described = shards.describe_shards(brief, site, tiles[in_order(tiles)], cut)
    read = sum(one.size for shard in described for one in shard.cut)
    assert read / len(blocks) == pytest.approx(BLOCKS_AGAIN, rel=0.05)


def test_the_driver_waits_for_the_disk_at_the_end_however_slow_the_describing() -> None:
    slow = plan_cluster(PLAN, CALM, nodes=1, rates=DriverRates(1e12, PLAN.bytes / 3600.0))
    assert slow.driver_s > 3600.0  # a checksum of all that was written while others described
    assert slow.build[0].hours > 9.0


@pytest.mark.parametrize("rows", [1_000_000, 10_000_000])
def test_lists_take_as_long_as_they_were_measured_to(rows: int) -> None:
    measured = json.loads((RESULTS / f"search-{rows}.json").read_text())["results"]["crossgeo"]["build_cpu_s"]
    assert lists_s(rows, 1) == pytest.approx(measured, rel=0.01)
    assert lists_s(3 * rows, 3) == pytest.approx(3 * measured, rel=0.01)


def test_the_driver_s_memory_is_of_choosing_or_of_searching() -> None:
    few = plan_cluster(replace(PLAN, tiles=TILES), CALM, nodes=1, rates=QUICK)  # searched exactly
    assert few.driver_bytes == 100 * 1000 + 8 * TILES + 4 * 768 * TILES
    two = plan_cluster(replace(PLAN, tiles=TILES, blocks=2_000_000, zones=2), CALM, nodes=1, rates=QUICK)
    assert two.driver_bytes == 100 * 2_000_000 + 8 * TILES + 1300 * 1_000_000


def test_more_ground_of_the_same_kind_takes_more_of_everything() -> None:
    area_km2 = 10 * PLAN.tiles * 15.0**2 / 1e6
    wide = scaled(PLAN, area_km2, 15.0)
    assert (wide.tiles, wide.bytes, wide.imagery_bytes) == (10 * PLAN.tiles, 10 * PLAN.bytes, 10 * PLAN.imagery_bytes)
    assert wide.describe_s == pytest.approx(70 * 3600.0)
    assert wide.search[0].startswith("inverted lists")
    with pytest.raises(UsageError, match="an area of 0 km2"):
        scaled(PLAN, 0.0, 15.0)


@pytest.mark.parametrize(
    ("given", "said"),
    [({"nodes": 0}, "0 nodes"), ({"nodes": 2, "within_hours": 1.0}, "one follows from the other"), ({"within_hours": -1.0}, "-1 hours")],
)
def test_what_cannot_be_planned_is_said(given: dict[str, float], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        plan_cluster(PLAN, CALM, rates=QUICK, **given)


def test_a_plan_without_a_rate_and_a_site_without_replicas_are_refused() -> None:
    with pytest.raises(UsageError, match="no rate is known"):
        plan_cluster(replace(PLAN, describe_s=None), CALM)
    with pytest.raises(UsageError, match="replicas"):
        Site(replicas=0)


def test_the_driver_s_rate_is_measured_where_it_is_not_given() -> None:
    found = measure_driver(dim=64)
    assert 1e5 < found.take_in < 1e11
    assert 1e5 < found.check < 1e12


def test_a_driver_takes_the_memory_that_is_planned_for_each_block() -> None:
    grid, side_m = grid_of(BuildOptions()), 5_000.0
    value = encode_block(np.full((256, 256, 3), 7, np.uint8), np.ones((256, 256), bool), 90)
    tracemalloc.start()
    try:
        blocks = blocks_over(np.asarray([[5e5, 5.6e6, 5e5 + side_m, 5.6e6 + side_m]]), grid.gsd_m)
        select_tiles({block: block_cells(value) for block in blocks}, rule_of(grid))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak / len(blocks) == pytest.approx(100 + 1300, rel=0.15)
