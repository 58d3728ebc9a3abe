"""An index spread over a Ray cluster of three nodes: of those who hold areas one is killed and one stands still, under questions."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray_clusters import ROOT, TestCluster, lines, wait_for

HELPER = str(ROOT / "tests" / "helpers" / "answering_spread.py")


def actors(cluster: TestCluster, node: int | None = None) -> list[int]:
    """The processes that hold areas, of a node or of all."""
    return [pid for pid in cluster.workers(node) if b"RayHost" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_questions_are_answered_through_deaths_of_actors(index_path: Path, ray_nodes: TestCluster, tmp_path: Path) -> None:
    said: list[dict[str, Any]] = []
    command = [sys.executable, HELPER, str(index_path), str(tmp_path / "shelf"), ray_nodes.address, "300", "5"]
    process = ray_nodes.start(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    out = process.stdout
    reading = threading.Thread(target=lambda: said.extend(lines(line)[0] for line in out if lines(line)))
    reading.start()

    def until(true: Callable[[dict[str, Any]], object]) -> None:
        wait_for("replicas", lambda: said and true(said[-1]), 100.0)

    try:
        until(lambda last: last["replicas_alive"] == last["replicas"] == 4)
        assert max(len(actors(ray_nodes, node)) for node in range(3)) < 4, "replicas lie on different nodes"
        before = len(said)
        os.kill(actors(ray_nodes)[0], signal.SIGKILL)
        until(lambda last: last["failed"] > 0 or last["replicas_alive"] < 4)
        until(lambda last: last["replicas_alive"] == 4 and len(said) > before + 3)
        stopped = actors(ray_nodes)[-1]
        os.kill(stopped, signal.SIGSTOP)
        until(lambda last: last["replicas_alive"] == 3)
        slow = len(said)
        until(lambda last: len(said) > slow + 3)
        os.kill(stopped, signal.SIGCONT)
        until(lambda last: last["replicas_alive"] == 4)
    finally:
        process.stdin.close()
        code = process.wait(60)
        reading.join()
        out.close()
    assert code == 0
    assert all(line["same"] or (line["missing"] and line["status"] in ("low_confidence", "outside_coverage")) for line in said)
    assert said[-1]["same"]
