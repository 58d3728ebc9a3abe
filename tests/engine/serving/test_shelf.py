"""How a shelf opens areas: a few at once, each in its time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from gated_cluster import GatedCluster

from crossgeo.engine.serving import shelf as module
from crossgeo.engine.serving.held import HeldArea
from crossgeo.engine.serving.shelf import ShardOptions, Shelf
from crossgeo.errors import ClusterError
from crossgeo.indexer.area_rows import AreaFiles, put_on_shelf
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.partition import areas_of


@pytest.fixture
def cluster() -> Iterator[GatedCluster]:
    with GatedCluster() as opened:
        opened.stops = True
        yield opened


@pytest.fixture
def files(index_path: Path, tmp_path: Path) -> list[AreaFiles]:
    with GeoIndex.open(index_path) as index:
        return [put_on_shelf(index, area, tmp_path / "shelf") for area in areas_of(index, 100)][:3]


@pytest.fixture
def taking(cluster: GatedCluster, files: list[AreaFiles]) -> Iterator[Callable[[Shelf], Future[list[HeldArea]]]]:
    """How to take the areas in another thread."""
    with ThreadPoolExecutor() as pool:
        yield lambda shelf: pool.submit(shelf.take, files)


def until(true: Callable[[], object]) -> None:
    ends = time.monotonic() + 30.0
    while not true():
        assert time.monotonic() < ends
        time.sleep(0.005)


def test_the_time_to_open_is_for_the_next_area_and_not_for_all(
    cluster: GatedCluster, taking: Callable[[Shelf], Future[list[HeldArea]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [0.0]
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    with Shelf(cluster, ShardOptions(start_s=60.0)) as shelf:
        taken = taking(shelf)
        until(lambda: len(cluster.actors) == 3)
        cluster.stops = False
        for number in range(3):  # the last is there after 150 s
            clock[0] += 50.0
            cluster.actors[number].go_on()
            until(lambda number=number: taken.done() or len(cluster.actors) == 4 + number)
        assert [held.alive for held in taken.result(30)] == [2, 2, 2]
        clock[0] += 1000.0
        shelf.release(taken.result())
        cluster.stops = True
        again = taking(shelf)
        until(lambda: len(cluster.actors) == 9)
        clock[0] += 61.0
        with pytest.raises(ClusterError, match=r"was not opened within 60 s.*--shard-start-s"):
            again.result(30)


def test_no_more_areas_are_made_at_once_than_there_are_processors(
    cluster: GatedCluster, taking: Callable[[Shelf], Future[list[HeldArea]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin, silent = cluster.actor, list[int]()

    def counted(*given: Any, **more: Any) -> Any:
        silent.append(sum(actor.stopped for actor in cluster.actors))
        return begin(*given, **more)

    monkeypatch.setattr(cluster, "actor", counted)
    cluster.room = 2
    with Shelf(cluster, ShardOptions(replicas=1)) as shelf:
        taken = taking(shelf)
        until(lambda: len(cluster.actors) >= 2)
        cluster.actors[1].go_on()
        until(lambda: len(cluster.actors) == 3)
        assert not taken.done()
        for actor in cluster.actors:
            actor.go_on()
        assert len(taken.result(30)) == 3
    assert silent == [0, 1, 1]
