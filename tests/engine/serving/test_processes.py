"""Areas held by processes of this machine: one that is killed, and one that stands still."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from crossgeo.engine.cluster import open_cluster
from crossgeo.engine.cluster.local import LocalActor
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.serving.rows import OnShelf, SpreadRows
from crossgeo.engine.serving.shelf import ShardOptions, Shelf
from crossgeo.indexer.index import GeoIndex

ASKED: dict[str, Any] = {"heading_deg": 0.0, "height_m": 50.0, "fov_deg": 62.0}


def until(true: Callable[[], object], within_s: float = 60.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_processes_that_die_or_stand_still_change_no_answer(index_path: Path, tmp_path: Path, make_describer: Any, ground: Any) -> None:
    photo = ground.photo(363_150.0, 3_057_450.0, 0.0, 60.0)
    options = ShardOptions(tiles=1000, deadline_s=10.0, folder=tmp_path / "shelf")

    def places(search: GeoSearch) -> list[Any]:
        answer = search.query(photo, **ASKED)
        assert answer.partial == ()
        return [place.to_json() for place in answer.places]

    with GeoSearch(GeoIndex.open(index_path), make_describer()) as search:
        want = places(search)
    with (
        open_cluster("local", 1) as cluster,
        Shelf(cluster, options) as shelf,
        GeoSearch(GeoIndex.open(index_path, OnShelf(shelf)), make_describer()) as search,
    ):
        rows = search.index.rows
        assert isinstance(rows, SpreadRows)
        assert places(search) == want

        def pids() -> list[int]:
            actors = [replica.actor for held in rows._held for replica in held.replicas]
            return [actor.pid for actor in actors if isinstance(actor, LocalActor) and actor.pid is not None]

        killed, stopped = pids()
        os.kill(killed, signal.SIGKILL)
        for _ in range(3):
            assert places(search) == want
        until(lambda: rows.metrics()["replicas_alive"] == 2 and killed not in pids())
        os.kill(stopped, signal.SIGSTOP)
        try:
            for _ in range(3):
                assert places(search) == want
            until(lambda: rows.metrics()["replicas_alive"] == 1)
        finally:
            os.kill(stopped, signal.SIGCONT)
        until(lambda: rows.metrics()["replicas_alive"] == 2)
        assert places(search) == want
        assert rows.metrics()["partial"] == 0
