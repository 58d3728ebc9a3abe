"""What happens to a Ray cluster: nodes cut off, stopped and full, drivers killed, strangers, other versions (`make test-long`)."""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_jobs as jobs
import pytest
from ray_clusters import HEAD, ROOT, TestCluster, apart, lines, nowhere, three_nodes, wait_for

from crossgeo.engine.cluster import versions

pytestmark = [pytest.mark.cluster_long, pytest.mark.timeout(600)]
DRIVER = str(ROOT / "tests" / "helpers" / "cluster_driver.py")


@pytest.fixture
def short() -> Iterator[Path]:
    """Return a folder with a short path: Ray puts sockets below it."""
    with tempfile.TemporaryDirectory(prefix="geo-") as folder:
        yield Path(folder)


def begin(cluster: TestCluster, where: str, folder: Path, count: int, **more: Any) -> subprocess.Popen[str]:
    folder.mkdir(exist_ok=True)
    command = [sys.executable, DRIVER, where, str(folder), str(count), json.dumps(more)]
    return cluster.start(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def end(driver: subprocess.Popen[str], timeout_s: float = 300.0) -> list[dict[str, Any]]:
    out, err = driver.communicate(timeout=timeout_s)
    told = lines(out)
    assert told, err
    return told


def squares_of(told: list[dict[str, Any]]) -> list[int]:
    assert "done" in told[-1], told
    return sorted(square for outcome in told[1:-1] for square in outcome["result"] or [])


def squares(count: int) -> list[int]:
    return [number * number for number in range(count)]


@pytest.mark.parametrize("door", ["address", "client_address"])
def test_what_goes_wrong_in_a_worker_is_said_as_it_is_here(ray_nodes: TestCluster, tmp_path: Path, door: str) -> None:
    where = getattr(ray_nodes, door)
    told = end(begin(ray_nodes, where, tmp_path / "a", 24, size=8, kill=[5], refuse=[17]))
    assert "done" in told[-1], told
    assert [(outcome["key"], outcome["died"]) for outcome in told[1:-1] if outcome["died"]] == [("5..5", 2)]
    assert all("(node " in outcome["node"] for outcome in told[1:-1]), told
    assert [outcome["error"] for outcome in told[1:-1] if outcome["error"]] == [["InputError", "17 cannot be read; copy it again"]]
    assert squares_of(told) == [number * number for number in range(16) if number != 5]
    (_, bug) = end(begin(ray_nodes, where, tmp_path / "b", 1, bug=[0]))
    assert bug["error"][0] == "WorkerBugError"
    assert "square of 0..0 failed by a bug: KeyError: 0" in bug["error"][1]
    (_, weights) = end(begin(ray_nodes, where, tmp_path / "c", 1, no_weights=True))
    assert weights["error"][0] == "WeightsError"
    assert "(node " in weights["error"][1] and "no weights egotr-x" in weights["error"][1]


def test_a_full_disk_of_one_node_is_tried_on_others_and_named_where_all_are_full(ray_nodes: TestCluster, tmp_path: Path) -> None:
    told = end(begin(ray_nodes, ray_nodes.address, tmp_path / "a", 12, full=list(range(12)), full_nodes=["first"]))
    assert squares_of(told) == squares(12)
    assert len({outcome["node"] for outcome in told[1:-1]}) == 2
    *_, full = end(begin(ray_nodes, ray_nodes.address, tmp_path / "b", 3, full=[1]))
    assert full["error"][0] == "LimitError"
    assert "(node " in full["error"][1] and "the disk is full" in full["error"][1]


def test_each_process_of_a_node_keeps_a_gpu_of_its_own(ray_nodes: TestCluster, tmp_path: Path) -> None:
    ray_nodes.kill(1)
    ray_nodes.start_node(1, cpus=4, gpus=4, CUDA_VISIBLE_DEVICES="1,3,5,GPU-7")  # Ray believes what it is told
    try:
        told = end(begin(ray_nodes, ray_nodes.address, tmp_path / "a", 160, gpus=1.0, each_s=0.02, kill_once=[70]))
    finally:
        ray_nodes.kill(1)
    assert squares_of(told) == squares(160)
    rules = jobs.Rules(tmp_path / "a")
    found = {gpu: set(jobs.noted(rules, f"gpu{gpu}")) for gpu in ("1", "3", "5", "GPU-7")}
    assert sorted(map(len, found.values())) == [1, 1, 1, 2]  # and the one that followed whoever was killed
    assert len(set.union(*found.values())) == 5


def test_a_stopped_node_holds_nothing_up(ray_nodes: TestCluster, tmp_path: Path) -> None:
    driver = begin(ray_nodes, ray_nodes.address, tmp_path, 60, each_s=0.2, least_s=2.0)
    rules = jobs.Rules(tmp_path)
    wait_for("first numbers", lambda: len(jobs.noted(rules, "do")) > 6)
    ray_nodes.signal(2, signal.SIGSTOP)
    time.sleep(10.0)
    ray_nodes.signal(2, signal.SIGCONT)
    assert squares_of(end(driver)) == squares(60)


def test_a_killed_driver_leaves_no_work_behind_and_the_next_one_goes_on(ray_nodes: TestCluster, tmp_path: Path) -> None:
    driver = begin(ray_nodes, ray_nodes.address, tmp_path, 200, each_s=0.5)
    rules = jobs.Rules(tmp_path)
    wait_for("first numbers", lambda: len(jobs.noted(rules, "do")) > 3)
    driver.kill()  # nsenter's child is the driver itself
    for pid in ray_nodes.drivers():
        os.kill(pid, signal.SIGKILL)
    driver.communicate()
    wait_for("an end of its work", lambda: not ray_nodes.workers())
    assert squares_of(end(begin(ray_nodes, ray_nodes.address, tmp_path / "again", 12))) == squares(12)


def test_two_drivers_share_a_cluster(ray_nodes: TestCluster, tmp_path: Path) -> None:
    drivers = [begin(ray_nodes, ray_nodes.address, tmp_path / name, 24, each_s=0.1) for name in "ab"]
    for driver in drivers:
        assert squares_of(end(driver)) == squares(24)


def test_a_node_that_is_cut_off_and_healed_costs_its_shards_once_more(short: Path) -> None:
    with apart(short) as cluster:
        rules = jobs.Rules(short / "whole")
        whole = end(begin(cluster, cluster.address, rules.notes, 60, each_s=0.3))
        assert squares_of(whole) == squares(60)
        rules = jobs.Rules(short / "cut")
        driver = begin(cluster, cluster.address, rules.notes, 60, each_s=0.3)
        wait_for("first numbers", lambda: rules.notes.exists() and len(jobs.noted(rules, "do")) > 9)
        cluster.cut(2)
        time.sleep(20.0)
        cluster.heal(2)
        told = end(driver)
        assert squares_of(told) == squares(60)
        assert len([outcome["key"] for outcome in told[1:-1]]) == 60
        assert told[-1]["done"] < 60 * 0.3 + 60.0  # the time of a single node, and a minute


@pytest.mark.parametrize("door", ["address", "client_address"])
def test_a_head_node_that_is_gone_is_said(short: Path, door: str) -> None:
    with three_nodes(short, 1) as cluster:
        rules = jobs.Rules(short / "notes")
        driver = begin(cluster, getattr(cluster, door), rules.notes, 1000, each_s=0.3)
        wait_for("first numbers", lambda: rules.notes.exists() and len(jobs.noted(rules, "do")) > 3)
        cluster.kill_head()
        told = end(driver)[-1]["error"]
    assert told[0] == "ClusterError"
    assert "head node" in told[1] and "give the same command" in told[1]


@pytest.mark.parametrize("door", ["address", "client_address"])
def test_strangers_are_told_what_they_lack(ray_nodes: TestCluster, short: Path, door: str) -> None:
    (short / "token").write_text("0" * 64)
    bare = {name: value for name, value in ray_nodes.env().items() if "AUTH" not in name} | {"HOME": str(short)}
    code = "import sys, crossgeo.engine.cluster as c\ntry: c.open_cluster(sys.argv[1])\nexcept Exception as error: print(repr(error))"
    for more, said in [
        ({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(short / "token")}, "another token than that of this machine"),
        ({"RAY_AUTH_MODE": "token"}, "there is none here"),
        ({}, "a program sets RAY_AUTH_MODE=token"),
    ]:
        out = ray_nodes.run([sys.executable, "-c", code, getattr(ray_nodes, door)], env=bare | more).stdout
        assert "ClusterError" in out and said in out and "copy the token file of its head node" in out
    wrong = {"address": "127.0.0.1:10001", "client_address": "ray://127.0.0.1:6379"}[door]
    out = ray_nodes.run([sys.executable, "-c", code, wrong]).stdout
    assert "ClusterError" in out and "is it another port" in out


def test_a_node_with_other_code_is_named_and_does_nothing(ray_nodes: TestCluster, short: Path) -> None:
    other = short / "other"
    for package in ("commands", "engine", "indexer", "kernels", "models", "town", "training", "web"):
        shutil.copytree(
            ROOT / package,
            other / "crossgeo" / package,
            ignore=lambda _, names: [name for name in names if name.endswith((".safetensors", ".pyc"))],
        )
    for path in ROOT.glob("*.py"):
        shutil.copy(path, other / "crossgeo")
    with (other / "crossgeo" / "geodesy.py").open("a") as file:
        file.write("\n# another version\n")
    ray_nodes.kill(2)
    ray_nodes.start_node(2, PYTHONPATH=f"{other}{os.pathsep}{ROOT / 'tests' / 'helpers'}")
    try:
        *_, told = end(begin(ray_nodes, ray_nodes.address, short / "notes", 30, each_s=0.2))
        assert told["error"][0] == "MismatchError"
        assert "(node " in told["error"][1]
        assert f"(here {versions.here()['code']})" in told["error"][1]
        status = ray_nodes.run([sys.executable, "-m", "crossgeo", "cluster", "status", ray_nodes.address, "--json"])
        rows = json.loads(status.stdout)["nodes"]
        assert status.returncode == 7
        assert sorted(row["differs"] is None for row in rows) == [False, True, True]
    finally:
        ray_nodes.kill(2)


ACTORS = """
import json, os, sys, time
from pathlib import Path
import cluster_jobs as jobs
from crossgeo.engine.cluster import open_cluster
from crossgeo.errors import GeoError, WorkerDiedError
with open_cluster(sys.argv[1]) as cluster:
    rules = jobs.Rules(Path(sys.argv[2]))
    first = cluster.actor(jobs.setup, rules, name="one", cpus=0.5)
    second = cluster.actor(jobs.setup, rules, name="two", cpus=0.5, apart_from=[first])
    third = cluster.actor(jobs.setup, rules, name="three", cpus=0.5, apart_from=[first, second])
    for actor in (first, second, third):
        actor.call(jobs.whoami).result(60)
    nodes = [actor.node for actor in (first, second, third)]
    calls = [second.call(jobs.wait, 0.5), second.call(jobs.note, "kept", 1), *[second.call(jobs.note, "dropped", 1) for _ in range(9)]]
    assert all(call.cancel() for call in calls[2:])
    assert [second.call(jobs.add, 1).result(60), calls[1].result(60)] == [2, 1]
    assert not jobs.noted(rules, "dropped")
    seen = [first.call(jobs.add, 1).result(60), first.call(jobs.whoami).result(60)]
    errors = []
    for what in (jobs.refuse, jobs.stumble, jobs.die):
        try: first.call(what).result(60)
        except GeoError as error: errors.append([type(error).__name__, str(error)])
    until = time.monotonic() + 60
    while True:
        try:
            seen.append(first.call(jobs.whoami).result(60)); break
        except WorkerDiedError:
            assert time.monotonic() < until; time.sleep(0.1)
    third.close()
    try: third.call(jobs.add, 1).result(60)
    except WorkerDiedError as error: errors.append(["closed", str(error)])
    print(json.dumps({"nodes": nodes, "seen": seen, "errors": errors}))
"""


@pytest.mark.parametrize("door", ["address", "client_address"])
def test_actors_lie_apart_and_come_back(ray_nodes: TestCluster, tmp_path: Path, door: str) -> None:
    done = ray_nodes.run([sys.executable, "-c", ACTORS, getattr(ray_nodes, door), str(tmp_path)])
    assert done.returncode == 0, done.stderr
    (told,) = lines(done.stdout)
    assert len(set(told["nodes"])) == 3
    two, before, after = told["seen"]
    assert two == 2
    assert before != after
    kinds = [kind for kind, _ in told["errors"]]
    assert kinds == ["InputError", "WorkerBugError", "WorkerDiedError", "closed"]
    assert "one died before it answered" in told["errors"][2][1]


def test_the_command_starts_shows_and_ends_a_cluster(short: Path) -> None:
    with nowhere(short) as place:
        env = {**place.env(), "HOME": str(short)}
        for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN_PATH"):
            del env[name]
        geo = [sys.executable, "-m", "crossgeo", "cluster"]
        none = place.run([*geo, "status"], env=env)
        assert none.returncode == 12
        assert "no Ray runs on this machine; start it (`geo cluster start --head`)" in none.stderr
        assert place.run([*geo, "start"], env=env).returncode == 2
        lost = place.run([*geo, "start", "--address", "127.0.0.1:6379"], env=env)
        assert lost.returncode == 3
        assert "copy the token file" in lost.stderr
        common = ["--host", "127.0.0.1", "--cpus", "1", "--object-store", "80MB", "--temp-dir", str(short / "r")]
        started = place.run([*geo, "start", "--head", *common], env=env)
        assert started.returncode == 0, started.stderr
        assert "geo cluster start --address 127.0.0.1:6379" in started.stderr
        assert (short / ".ray" / "auth_token").stat().st_mode & 0o777 == 0o600
        again = place.run([*geo, "start", "--head", *common], env=env)
        assert again.returncode == 12
        shown = place.run([*geo, "status", "127.0.0.1:6379", "--json"], env=env)
        assert shown.returncode == 0, shown.stderr
        told = json.loads(shown.stdout)
        assert [row["cpus"] for row in told["nodes"]] == [1.0]
        assert told["warnings"] == []
        assert told["nodes"][0]["differs"] is None
        assert place.run([*geo, "stop"], env=env).returncode == 0
        assert place.run([*geo, "status", "127.0.0.1:6379"], env=env).returncode == 12


def test_a_cluster_without_token_and_settings_is_pointed_out(short: Path) -> None:
    with nowhere(short) as place:
        plain = {name: value for name, value in place.env().items() if not name.startswith("RAY_")} | {
            "HOME": str(short),
            "RAY_AUTH_MODE": "disabled",
        }
        head = ["start", "--head", "--node-ip-address=127.0.0.1", "--port=6379", "--num-cpus=1", "--object-store-memory=80000000"]
        started = place.run(
            [sys.executable, "-m", "ray.scripts.scripts", *head, "--include-dashboard=False", f"--temp-dir={short / 'r'}"], env=plain
        )
        assert started.returncode == 0, started.stderr
        command = [sys.executable, DRIVER, place.address, str(short / "notes"), "3", "{}"]
        (short / "notes").mkdir()
        told = lines(place.run(command, HEAD, env=plain).stdout)
    assert squares_of(told) == squares(3)
    first, second = told[0]["warnings"]
    assert "asks for no token" in first
    assert "not started by `geo cluster start`" in second
