"""Builds on Ray that lose a node, a wire, room or their driver (`make test-long`); with a model: benchmarks/cluster_build.py."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import made_build
import pytest
from made_build import IDENTITY, OPTIONS
from painted import write_painted
from ray_clusters import TestCluster, apart, three_nodes, wait_for
from s3 import KEYS, s3_server, url_of

from crossgeo.indexer.build import build_index
from crossgeo.indexer.verify import verify_index
from crossgeo.models.checkpoint import load_weights, save_weights
from crossgeo.models.library import find_weights

pytestmark = [pytest.mark.cluster_long, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def ortho(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a GeoTIFF of 200 x 190 m."""
    return write_painted(tmp_path_factory.mktemp("imagery") / "ortho.tif", 400, 380)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, ortho: Path) -> str:
    """Return the hash of the index as this process builds it."""
    describe = partial(made_build.describe, {"notes": "", "each_s": 0.0})
    return build_index([ortho], tmp_path_factory.mktemp("wanted") / "a.geo", describe, IDENTITY, OPTIONS).hash


def command(cluster: TestCluster, ortho: Path, folder: Path, storage: Sequence[str] = ()) -> list[str]:
    """Return what builds, and takes a while."""
    words = [cluster.address, str(ortho), str(folder / "a.geo"), str(folder / "notes"), "0.4", *storage]
    return [sys.executable, made_build.__file__, *words]


def begin(cluster: TestCluster, ortho: Path, folder: Path, *storage: str) -> subprocess.Popen[str]:
    """Start a build; return it once tiles are being described."""
    notes = folder / "notes"
    driver = cluster.start(command(cluster, ortho, folder, storage), stdout=subprocess.PIPE)
    wait_for("a batch that is described", lambda: notes.exists() and notes.stat().st_size > 6)
    return driver


def check(driver: subprocess.Popen[str], folder: Path, wanted: str) -> None:
    said, _ = driver.communicate(timeout=300)
    assert driver.returncode == 0, said
    assert said.splitlines()[-1] == wanted
    assert verify_index(folder / "a.geo") == []
    assert {path.name for path in (folder / "a.geo").iterdir()} == {"CURRENT", "LOCK", "manifest-000001.json", "segments"}


def test_a_node_that_is_cut_off_and_healed_changes_nothing(tmp_path: Path, ortho: Path, wanted: str) -> None:
    with tempfile.TemporaryDirectory(prefix="geo-") as short, apart(Path(short)) as cluster:
        driver = begin(cluster, ortho, tmp_path)
        cluster.cut(2)
        check(driver, tmp_path, wanted)
        cluster.heal(2)
        (tmp_path / "later").mkdir()
        check(begin(cluster, ortho, tmp_path / "later"), tmp_path / "later", wanted)
        assert verify_index(tmp_path / "a.geo") == []


def test_a_killed_node_and_a_killed_driver_change_nothing(ray_nodes: TestCluster, tmp_path: Path, ortho: Path, wanted: str) -> None:
    driver = begin(ray_nodes, ortho, tmp_path)
    ray_nodes.kill(2)
    for pid in ray_nodes.drivers(made_build.__file__):
        os.kill(pid, signal.SIGKILL)
    driver.communicate(timeout=60)
    assert driver.returncode != 0
    check(begin(ray_nodes, ortho, tmp_path), tmp_path, wanted)


def test_a_stopped_node_and_a_second_driver_change_nothing(ray_nodes: TestCluster, tmp_path: Path, ortho: Path, wanted: str) -> None:
    driver = begin(ray_nodes, ortho, tmp_path)
    ray_nodes.signal(2, signal.SIGSTOP)
    second = ray_nodes.run(command(ray_nodes, ortho, tmp_path))
    time.sleep(10.0)
    ray_nodes.signal(2, signal.SIGCONT)
    check(driver, tmp_path, wanted)
    assert second.returncode != 0
    assert re.search(r"LockedError: .*a\.geo.* process \d+", second.stderr), second.stderr


def test_a_node_whose_disk_is_full_is_passed_over(ray_nodes: TestCluster, tmp_path: Path, ortho: Path, wanted: str) -> None:
    storage = tmp_path / "storage"
    storage.mkdir()
    ray_nodes.kill(2)
    ray_nodes.start_node(2, mounts=[["-t", "tmpfs", "-o", "size=4k,nr_inodes=64", "tmpfs", str(storage)]])  # less than any shard takes
    try:
        check(begin(ray_nodes, ortho, tmp_path, str(storage)), tmp_path, wanted)
    finally:
        ray_nodes.kill(2)


def test_a_node_with_other_weights_under_the_same_name_is_named(ray_nodes: TestCluster, tmp_path: Path, ortho: Path) -> None:
    weights, other = tmp_path / "egotr.safetensors", tmp_path / "other.safetensors"
    shutil.copy(find_weights("egotr-s-drone"), weights)
    card, state = load_weights(weights)
    save_weights(other, {**state, "aerial.class_token": state["aerial.class_token"] * 2.0}, card)
    ray_nodes.kill(2)
    ray_nodes.start_node(2, mounts=[["--bind", str(other), str(weights)]])
    words = ["index", "build", str(ortho), "--out", str(tmp_path / "a.geo"), "--weights", str(weights), "--gsd-m", "0.5", "--stride-m", "5"]
    try:
        done = ray_nodes.run([sys.executable, "-m", "crossgeo", *words, "--cluster", ray_nodes.address], timeout_s=300.0)
    finally:
        ray_nodes.kill(2)
    assert done.returncode == 7, done.stderr
    assert re.search(r"\(node \w+\): .*egotr.safetensors is another model here", done.stderr), done.stderr


def test_shards_may_pass_through_s3(tmp_path: Path, ortho: Path, wanted: str) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="geo-") as short,
        three_nodes(Path(short), settings=KEYS) as cluster,
        s3_server(cluster.start) as address,
    ):
        driver = begin(cluster, ortho, tmp_path, url_of(address))
        cluster.kill_worker(1)
        check(driver, tmp_path, wanted)
