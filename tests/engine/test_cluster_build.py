"""Builds that a cluster does: the same index as this process makes, with workers that die, differ or have no room."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import made_build
import pytest
from inline_cluster import Died, InlineCluster
from made_build import IDENTITY, OPTIONS, SMALL, crew, rules
from painted import write_painted
from ray_clusters import TestCluster, wait_for

from crossgeo.engine import cluster_build
from crossgeo.engine.build import Helpers
from crossgeo.engine.build import build_index as build_with_model
from crossgeo.engine.cluster import open_cluster
from crossgeo.engine.cluster_build import ClusterRunner, Tools
from crossgeo.engine.runtime.choose import RuntimeOptions
from crossgeo.errors import ClusterError, LimitError, MismatchError
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.indexer.spread import Crew
from crossgeo.indexer.workshop import Workshop

TORCH = RuntimeOptions("torch")


@pytest.fixture(scope="module")
def ortho(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a GeoTIFF of 100 x 90 m."""
    return write_painted(tmp_path_factory.mktemp("imagery") / "ortho.tif", 200, 180)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Describe without a model, and cut small imagery into many shards."""
    monkeypatch.setattr(cluster_build, "open_describing_shop", made_build.open_shop)
    for module, name, value in SMALL:
        monkeypatch.setattr(module, name, value)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, ortho: Path) -> str:
    """Return the hash of the index as this process builds it."""
    describe = partial(made_build.describe, {"notes": "", "each_s": 0.0})
    return build_index([ortho], tmp_path_factory.mktemp("wanted") / "a.geo", describe, IDENTITY, OPTIONS).hash


@pytest.mark.usefixtures("made")
def test_processes_that_die_over_and_over_build_the_same_index(tmp_path: Path, ortho: Path, wanted: str) -> None:
    said: list[str] = []
    with open_cluster("local", 2) as cluster:
        work = crew(cluster, ortho, rules(tmp_path / "notes", kill_at=(1, 4, 7, 12)))
        assert build_index([ortho], tmp_path / "a.geo", work, IDENTITY, OPTIONS, lambda at: said.append(at.who)).hash == wanted
    assert set(said) == {"2 processes here"}
    assert (tmp_path / "notes").stat().st_size > 12


@pytest.mark.usefixtures("made")
def test_a_shard_that_ends_every_worker_is_named_and_the_build_goes_on_later(
    tmp_path: Path, ortho: Path, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    describes = Workshop.describe

    def dies(shop: Workshop, shard: Any) -> Any:
        if "-000000008-" in shard.name:
            raise Died
        return describes(shop, shard)

    monkeypatch.setattr(Workshop, "describe", dies)
    with InlineCluster(["node-a", "node-b"]) as cluster:
        work = crew(cluster, ortho, rules(tmp_path / "notes"))
        with pytest.raises(
            ClusterError, match=r"^6 workers ended while they did .*-tiles-000000008-.*, the last on node-[ab] .*run the same command again"
        ):
            build_index([ortho], tmp_path / "a.geo", work, IDENTITY, OPTIONS)
        monkeypatch.setattr(Workshop, "describe", describes)
        assert build_index([ortho], tmp_path / "a.geo", work, IDENTITY, OPTIONS).hash == wanted


@pytest.mark.usefixtures("made")
def test_a_node_without_room_is_passed_over_and_named_when_all_are_full(
    tmp_path: Path, ortho: Path, wanted: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    cuts, full = Workshop.cut, {"node-a"}
    with InlineCluster(["node-a", "node-b"]) as cluster:

        def without_room(shop: Workshop, shard: Any) -> Any:
            if cluster.node in full:
                raise LimitError("/scratch/x: No space left on device; free some room, then run the same command again")
            return cuts(shop, shard)

        monkeypatch.setattr(Workshop, "cut", without_room)
        assert build_index([ortho], tmp_path / "a.geo", crew(cluster, ortho, rules(tmp_path / "n")), IDENTITY, OPTIONS).hash == wanted
        full.add("node-b")
        with pytest.raises(LimitError, match=r"^node-[ab]: /scratch/x: No space left"):
            build_index([ortho], tmp_path / "b.geo", crew(cluster, ortho, rules(tmp_path / "n")), IDENTITY, OPTIONS)


@pytest.mark.usefixtures("made")
def test_several_nodes_are_shown_with_their_rates(tmp_path: Path, ortho: Path) -> None:
    said: list[str] = []
    with InlineCluster(["node-a", "node-b"]) as cluster:
        build_index(
            [ortho], tmp_path / "a.geo", crew(cluster, ortho, rules(tmp_path / "n")), IDENTITY, OPTIONS, lambda at: said.append(at.who)
        )
    assert "2 nodes in this process" in said[0]
    assert "node-a" in said[-1]
    assert "node-b" in said[-1]


def test_a_worker_with_other_weights_is_named(tmp_path: Path, ortho: Path) -> None:
    with InlineCluster(["node-a"]) as cluster:
        other = ModelIdentity("egotr-s-drone", "ab" * 32, "cd" * 8)
        work = Crew(ClusterRunner(cluster, Tools("egotr-s-drone", other, TORCH, (str(ortho),), None)))
        with pytest.raises(MismatchError, match=r"^node-a: egotr-s-drone is another model here .*weights abababababab"):
            build_index([ortho], tmp_path / "a.geo", work, other, OPTIONS)


def test_the_shipped_model_in_two_processes_makes_the_index_of_one(tmp_path: Path, ortho: Path) -> None:
    options = BuildOptions(gsd_m=0.5, stride_m=30.0, batch=4)
    here = build_with_model(ortho, tmp_path / "here.geo", options=options, runtime=TORCH)
    with open_cluster("local", 2) as cluster:
        there = build_with_model(ortho, tmp_path / "there.geo", options=options, runtime=TORCH, helpers=Helpers(cluster))
    assert (there.hash, there.segments) == (here.hash, here.segments)


def test_ray_builds_the_same_index_though_workers_die(ray_nodes: TestCluster, tmp_path: Path, ortho: Path, wanted: str) -> None:
    notes = tmp_path / "notes"
    command = [sys.executable, made_build.__file__, ray_nodes.address, str(ortho), str(tmp_path / "a.geo"), str(notes), "0.2"]
    driver = ray_nodes.start(command, stdout=subprocess.PIPE)
    wait_for("a batch that is described", lambda: notes.exists() and notes.stat().st_size > 4)
    ray_nodes.kill_worker(1)
    said, _ = driver.communicate(timeout=100)
    *told, made = said.splitlines()
    assert driver.returncode == 0
    assert made == wanted
    assert any(line.startswith("describe") and "3 nodes" in line for line in told)
    assert {path.name for path in (tmp_path / "a.geo").iterdir()} == {"CURRENT", "LOCK", "manifest-000001.json", "segments"}
