"""A plan for several nodes follows from rates by arithmetic that can be done by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from crossgeo.errors import UsageError
from crossgeo.indexer.plan import Plan
from crossgeo.indexer.plan_cluster import Site, measure_copy, plan_cluster, scaled
from crossgeo.indexer.shards import TILES

PLAN = Plan(
    blocks=1000, tiles=100 * TILES, zones=1, valid_share=1.0, bytes=2_000_000_000, peak_bytes=4_000_000_000, cut_s=3600.0,
    describe_s=7 * 3600.0, tiles_per_s=16.0, search=("exact: small",), imagery_bytes=100_000_000,
)  # fmt: skip
CALM = Site(fails_per_hour=0.0, price_per_hour=2.0)


def test_twice_the_nodes_halve_what_is_shared_and_nothing_else() -> None:
    one, two = (plan_cluster(PLAN, CALM, nodes=n, copy_bytes_per_s=1e9).build[0] for n in (1, 2))
    alone_h = (30.0 + 0.1 + PLAN.tiles * 6.4e-5) / 3600.0  # a start, the blocks, the lists
    assert one.hours == pytest.approx(8.0 + alone_h)
    assert two.hours == pytest.approx(4.0 + alone_h)
    assert two.node_hours == pytest.approx(2 * two.hours)
    assert two.price == pytest.approx(2.0 * two.node_hours)


def test_more_nodes_than_shards_bring_nothing() -> None:
    many, more = (plan_cluster(PLAN, CALM, nodes=n, copy_bytes_per_s=1e12).build[0] for n in (100, 400))
    assert more.hours == pytest.approx(many.hours)


def test_rows_end_where_the_driver_is_what_one_waits_for() -> None:
    slow = plan_cluster(PLAN, CALM, copy_bytes_per_s=4 * 768 * PLAN.tiles / 3600.0).build  # an hour to write the descriptors
    assert [row.nodes for row in slow] == [1, 2, 4, 8]
    assert slow[-1].hours > 1.0
    assert slow[-1].driver_share > 0.1 > slow[0].driver_share


def test_the_fewest_nodes_that_are_quick_enough() -> None:
    (row,) = plan_cluster(PLAN, CALM, within_hours=1.0, copy_bytes_per_s=1e12).build
    assert row.hours <= 1.0
    assert plan_cluster(PLAN, CALM, nodes=row.nodes - 1, copy_bytes_per_s=1e12).build[0].hours > 1.0
    with pytest.raises(UsageError, match=r"on 4096 nodes it takes 0\.\d+, of which the driver alone"):
        plan_cluster(PLAN, CALM, within_hours=0.001, copy_bytes_per_s=1e12)


def test_failures_cost_the_work_that_they_lose() -> None:
    calm, rough = (plan_cluster(PLAN, Site(fails_per_hour=f), nodes=4, copy_bytes_per_s=1e12).build[0] for f in (0.0, 2.0))
    shard_s = 8 * 3600.0 / 100
    assert rough.hours - calm.hours == pytest.approx(2.0 * (2.0 / 3600.0) * (shard_s / 2 + 8.4 + 30.0), rel=0.01)
    assert rough.failures == pytest.approx(4 * rough.hours * 2.0)


def test_what_serves_needs_its_memory_in_each_replica() -> None:
    small = plan_cluster(PLAN, Site(shard_tiles=100_000, replicas=3, memory_bytes=1e9), nodes=1, copy_bytes_per_s=1e9).serving
    assert small.shards == 5
    assert small.shard_bytes == 4 * 768 * -(-PLAN.tiles // 5)  # exact
    assert small.bytes == 15 * small.shard_bytes
    assert small.nodes == 6  # of 3.78 GB at 0.7 GB a node


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
        plan_cluster(PLAN, CALM, copy_bytes_per_s=1e9, **given)


def test_a_plan_without_a_rate_and_a_site_without_replicas_are_refused() -> None:
    with pytest.raises(UsageError, match="no rate is known"):
        plan_cluster(replace(PLAN, describe_s=None), CALM)
    with pytest.raises(UsageError, match="replicas"):
        Site(replicas=0)


def test_the_driver_s_rate_is_measured_where_it_is_not_given() -> None:
    assert 1e6 < measure_copy(dim=64) < 1e11
