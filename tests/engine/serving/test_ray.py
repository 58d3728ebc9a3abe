"""An index spread over a Ray cluster of three nodes: of those who hold areas one is killed and one stands still, under questions."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray_clusters

HELPER = Path(__file__).parents[2] / "helpers" / "answering_spread.py"


def actors(cluster: ray_clusters.TestCluster, node: int | None = None) -> list[int]:
    """The processes that hold areas, of a node or of all."""
    return [pid for pid in cluster.workers(node) if b"RayHost" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_questions_are_answered_through_deaths_of_actors(index_path: Path) -> None:
    said: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder, ray_clusters.three_nodes(Path(folder)) as cluster:
        command = [sys.executable, str(HELPER), str(index_path), f"{folder}/shelf", cluster.address, "300", "5"]
        process = cluster.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        assert process.stdin is not None
        assert process.stdout is not None
        reading = threading.Thread(target=lambda: said.extend(json.loads(line) for line in process.stdout or ()))
        reading.start()

        def until(true: Callable[[dict[str, Any]], object]) -> None:
            ray_clusters.wait_for(str(true), lambda: said and true(said[-1]), 100.0)

        until(lambda last: last["replicas_alive"] == last["replicas"] == 4)
        assert max(len(actors(cluster, node)) for node in range(3)) < 4, "replicas lie on different nodes"
        before = len(said)
        os.kill(actors(cluster)[0], signal.SIGKILL)
        until(lambda last: last["failed"] > 0 or last["replicas_alive"] < 4)
        until(lambda last: last["replicas_alive"] == 4 and len(said) > before + 3)
        stopped = actors(cluster)[-1]
        os.kill(stopped, signal.SIGSTOP)
        until(lambda last: last["replicas_alive"] == 3)
        slow = len(said)
        until(lambda last: len(said) > slow + 3)
        os.kill(stopped, signal.SIGCONT)
        until(lambda last: last["replicas_alive"] == 4)
        process.stdin.close()
        assert process.wait(60) == 0
        reading.join()
        process.stdout.close()
    assert all(line["same"] or (line["missing"] and line["status"] in ("low_confidence", "outside_coverage")) for line in said)
    assert said[-1]["same"]
