"""Builds on Ray that lose a node, a wire or their driver (`make test-long`); with a model: benchmarks/cluster_build.py."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import made_build
import pytest
from made_build import IDENTITY, OPTIONS
from painted import write_painted
from ray_clusters import TestCluster, apart, wait_for

from crossgeo.indexer.build import build_index
from crossgeo.indexer.verify import verify_index

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


def begin(cluster: TestCluster, ortho: Path, folder: Path) -> subprocess.Popen[str]:
    """Start a build that takes a while; return it once tiles are being described."""
    notes = folder / "notes"
    command = [sys.executable, made_build.__file__, cluster.address, str(ortho), str(folder / "a.geo"), str(notes), "0.4"]
    driver = cluster.start(command, stdout=subprocess.PIPE)
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
