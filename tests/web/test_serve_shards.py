"""`geo serve --cluster` told to stop while a newer generation waits for its areas."""

from __future__ import annotations

import inspect
import shutil
import threading
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from gated_cluster import GatedCluster

from crossgeo.commands.serve import Serving, serve
from crossgeo.commands.shard_options import Sharding
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.web import served, server


def test_a_stop_ends_the_opening_of_a_generation(
    index_path: Path, tmp_path: Path, make_describer: Any, ground: Any, write_ortho: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, describer, cluster, opening = tmp_path / "live.geo", make_describer(), GatedCluster(), threading.Event()
    shutil.copytree(index_path, path)
    begin = cluster.actor

    def begun(*given: Any, **more: Any) -> Any:
        actor = begin(*given, **more)
        if cluster.stops:
            opening.set()
        return actor

    def until_opening(*given: Any) -> None:
        cluster.stops = True
        write_ortho(tmp_path / "more.tif", np.ascontiguousarray(ground.rgb[:80, :80]))
        add_to_index([tmp_path / "more.tif"], path, describer.tiles, describer.identity, AddOptions(over=True))
        assert opening.wait(30)

    monkeypatch.setattr(cluster, "actor", begun)
    monkeypatch.setattr("crossgeo.engine.cluster.open_cluster", lambda where: cluster)
    monkeypatch.setattr(served, "Opening", partial(served.Opening, every_s=0.02))
    monkeypatch.setattr(server, "run", until_opening)
    models = SimpleNamespace(open_at=lambda path, runtime, rows: GeoSearch(GeoIndex.open(path, rows), describer))
    running = SimpleNamespace(options=lambda build: RuntimeOptions())
    serving, sharding = Serving(port=0, jobs=tmp_path / "jobs"), Sharding(cluster="fake", shard_tiles=500)
    thread = threading.Thread(target=inspect.unwrap(serve), args=([path], serving, sharding, models, running), daemon=True)
    thread.start()
    thread.join(20)
    assert not thread.is_alive()
    assert opening.is_set()
    assert all(actor.closed for actor in cluster.actors)
