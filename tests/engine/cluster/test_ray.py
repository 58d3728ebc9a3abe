"""Work given out to a Ray cluster whose workers and nodes are killed; the rest of what can happen to one is in test_ray_long.py."""

import json
import re
import subprocess
import sys
from pathlib import Path

import cluster_jobs as jobs
import pytest
from ray_clusters import ROOT, TestCluster, lines, wait_for

from crossgeo.engine.cluster import open_cluster
from crossgeo.engine.cluster.ray_connect import Where
from crossgeo.engine.cluster.ray_start import NodeOptions, check_token, make_token, start
from crossgeo.errors import ClusterError, InputError, UsageError

DRIVER = str(ROOT / "tests" / "helpers" / "cluster_driver.py")


def test_killed_workers_and_a_killed_node_lose_nothing(ray_nodes: TestCluster, tmp_path: Path) -> None:
    rules = jobs.Rules(tmp_path)
    driver = ray_nodes.start(
        [sys.executable, DRIVER, ray_nodes.address, str(tmp_path), "60", json.dumps({"each_s": 0.25})], stdout=subprocess.PIPE
    )
    wait_for("first numbers", lambda: len(jobs.noted(rules, "do")) > 6)
    ray_nodes.kill_worker(1)
    wait_for("more numbers", lambda: len(jobs.noted(rules, "do")) > 15)
    ray_nodes.kill(2)
    out, _ = driver.communicate(timeout=100)
    told = lines(out)
    assert "done" in told[-1], out
    outcomes = told[1:-1]
    assert sorted(square for outcome in outcomes for square in outcome["result"]) == [number * number for number in range(60)]
    assert len({outcome["node"] for outcome in outcomes}) == 3
    assert told[0]["warnings"] == []


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ray", "auto"), ("auto", "auto"), ("10.0.0.5:6379", "10.0.0.5:6379"), ("ray://head:10001", "ray://head:10001"),
        ("[fd00::5]:6379", "[fd00::5]:6379"), ("ray://[::1]:10001", "ray://[::1]:10001"),
    ],
)  # fmt: skip
def test_an_address_is_read(text: str, address: str) -> None:
    assert Where.of(text).address == address


@pytest.mark.parametrize(
    "text", ["head", "head:", "ray://head", "http://head:80", "head:0", "head:70000", "ray://", "a b:1", "fd00::5:6379"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="give local, ray, HOST:PORT or ray://HOST:PORT"):
        Where.of(text)


@pytest.mark.parametrize("where", ["127.0.0.1:1", "ray://127.0.0.1:1"])
def test_an_address_where_nothing_answers_is_said_at_once(where: str) -> None:
    with pytest.raises(ClusterError, match=r"nothing answers at 127\.0\.0\.1:1 .* look whether the cluster runs"):
        open_cluster(where)


def test_a_node_is_started_without_dashboard_and_statistics_and_with_the_settings() -> None:
    head = start(NodeOptions(host="10.0.0.5"))
    assert {"--head", "--disable-usage-stats", "--include-dashboard=False", "--node-ip-address=10.0.0.5"} < set(head)
    (settings,) = (json.loads(word.partition("=")[2]) for word in head if word.startswith("--system-config="))
    assert settings["grpc_client_keepalive_time_ms"] == 5000
    joining = start(NodeOptions(address="10.0.0.5:6379"))
    assert "--address=10.0.0.5:6379" in joining
    assert not any(word.startswith(("--system-config", "--port", "--head")) for word in joining)


def test_a_token_is_made_once_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "ray" / "auth_token"
    assert make_token(path)
    token = path.read_text()
    assert len(token) == 64
    assert path.stat().st_mode & 0o777 == 0o600
    assert not make_token(path)
    assert path.read_text() == token
    path.chmod(0o644)
    with pytest.raises(ClusterError, match="others may read this token; chmod 600"):
        check_token(path)
    path.write_text("short")
    with pytest.raises(InputError, match="is no token"):
        check_token(path)
    with pytest.raises(InputError, match="copy the token file"):
        check_token(tmp_path / "none")


def test_nothing_but_the_cluster_imports_ray() -> None:
    outside = {"tests", "benchmarks", "build"}
    tops = [path for path in ROOT.iterdir() if path.name not in outside and not path.name.startswith(".")]  # nor an environment
    files = [path for top in tops for path in ([top] if top.suffix == ".py" else top.rglob("*.py"))]
    assert len(files) > 100
    importing = re.compile(r"^\s*(import ray\b|from ray\b)", re.MULTILINE)
    found = {path.relative_to(ROOT).as_posix() for path in files if importing.search(path.read_text())}
    assert found <= {f"engine/cluster/{name}.py" for name in ("ray_cluster", "ray_connect", "ray_gpu", "ray_start", "ray_task")}


def test_ray_is_loaded_only_where_it_is_asked_for() -> None:
    code = "import sys, crossgeo.cli, crossgeo.engine.cluster.local, crossgeo.commands.cluster; sys.exit('ray' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
