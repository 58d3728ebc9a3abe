"""Which GPU a worker of Ray keeps, whatever Ray tells it; on real nodes in test_ray_long.py."""

import os
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import ray

from crossgeo.engine.cluster import ray_gpu

HOLD = "import sys; from crossgeo.engine.cluster.ray_gpu import keep_one; print(keep_one(*eval(sys.argv[1])), flush=True); sys.stdin.read()"


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    kept: list[Any] = []
    monkeypatch.setattr(ray_gpu, "_kept", kept)
    yield
    for _, held in kept:
        held.close()


def holder(*args: Any) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, repr(args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_gpu_that_another_process_keeps_is_left_to_it_until_it_ends() -> None:
    node = f"node-{os.getpid()}"
    first, gpu = holder(["1"], ["0", "1"], node)
    try:
        assert gpu == "1"
        assert ray_gpu.keep_one(["1"], ["0", "1"], node) == "0"
        assert holder_of_two(node) == "None"  # Ray's word stands
        assert ray_gpu.keep_one(["1"], ["0", "1"], f"{node}-other") == "1"  # of another node
    finally:
        first.kill()
        first.communicate()
    assert ray_gpu.keep_one(["1"], [], node) == "1"


def holder_of_two(node: str) -> str:
    process, gpu = holder(["0"], ["0", "1"], node)
    process.communicate("")
    return gpu


@pytest.mark.parametrize(
    ("variable", "count", "gpus"),
    [("", 2, ["0", "1"]), ("2, GPU-5,7", 2, ["2", "GPU-5"]), ("2,5", 4, ["2", "5"]), ("", 0, [])],
)
def test_the_gpus_of_a_node_are_those_that_its_raylet_sees(variable: str, count: int, gpus: list[str]) -> None:
    env = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    raylet = subprocess.Popen(
        [sys.executable, "-c", "print(flush=True); input()"], env=env | ({"CUDA_VISIBLE_DEVICES": variable} if variable else {}),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert raylet.stdout is not None
    raylet.stdout.readline()
    assert ray_gpu.gpus_of(raylet.pid, count) == gpus
    raylet.communicate("\n")
    assert ray_gpu.gpus_of(raylet.pid, count) == []  # gone


def test_a_task_has_the_gpu_that_its_process_keeps(monkeypatch: pytest.MonkeyPatch) -> None:
    told, me = {"GPU": ["0"]}, f"me-{os.getpid()}"

    class Context:
        def get_accelerator_ids(self) -> dict[str, list[str]]:
            return told

        def get_node_id(self) -> str:
            return me

    monkeypatch.setattr(ray, "get_runtime_context", Context)
    monkeypatch.setattr(ray, "nodes", lambda: [{"NodeID": me, "Resources": {"GPU": 2.0}}, {"NodeID": "you", "Resources": {}}])
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    other, _ = holder(["0"], [], me)
    try:
        ray_gpu.use_one()
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    finally:
        other.kill()
        other.communicate()
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")  # as Ray does before each task
    ray_gpu.use_one()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "1"
    told["GPU"] = []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    ray_gpu.use_one()
    assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
