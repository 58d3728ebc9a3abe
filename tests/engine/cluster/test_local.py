"""Work in processes of this machine: deaths, bugs, late shards, actors."""

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cluster_jobs as jobs
import pytest
from ray_clusters import wait_for

from crossgeo.engine.cluster import Cluster, Job, Tally, dispatch, local, open_cluster
from crossgeo.engine.cluster.task import Package
from crossgeo.errors import ClusterError, InputError, LimitError, UsageError, WeightsError, WorkerBugError, WorkerDiedError


@pytest.fixture(scope="module")
def two() -> Iterator[Cluster]:
    with open_cluster("local", 2) as cluster:
        yield cluster


def job(rules: jobs.Rules, **changes: Any) -> Job[Any, Any, Any, Any]:
    return Job("square", **{"setup": jobs.setup, "do": jobs.squares, "context": rules, "halve": jobs.halve, **changes})


def squares_of(outcomes: list[Any]) -> list[int]:
    return sorted(square for outcome in outcomes for square in outcome.result or [])


def test_two_processes_share_the_work_and_make_their_state_once(two: Cluster, tmp_path: Path) -> None:
    rules = jobs.Rules(tmp_path, each_s=0.02)
    tally = Tally()
    outcomes = []
    for outcome in two.run(job(rules), jobs.shards_of(20, 2)):
        tally.count(outcome)
        outcomes.append(outcome)
    assert squares_of(outcomes) == [number * number for number in range(20)]
    setups = jobs.noted(rules, "setup")
    assert len(setups) == 2
    assert set(setups.values()) == {1}
    assert os.getpid() not in setups
    assert (tally.sizes, tally.shards) == ({"this machine": 20}, {"this machine": 10})
    assert tally.rates()["this machine"] > 0.0


def test_a_killed_worker_costs_only_its_try(two: Cluster, tmp_path: Path) -> None:
    rules = jobs.Rules(tmp_path, kill_once=frozenset({3, 11}))
    outcomes = list(two.run(job(rules, halve=None), jobs.shards_of(16, 4)))
    assert squares_of(outcomes) == [number * number for number in range(16)]
    again = [number for number, times in jobs.noted(rules, "do").items() if times > 1]
    assert sorted(again) == [0, 1, 2, 3, 8, 9, 10, 11]


def test_a_number_that_kills_is_found_alone(two: Cluster, tmp_path: Path) -> None:
    rules = jobs.Rules(tmp_path, kill=frozenset({6}))
    outcomes = list(two.run(job(rules), jobs.shards_of(8, 4)))
    (dead,) = (outcome for outcome in outcomes if outcome.died)
    assert (dead.shard.payload, dead.died, dead.node) == ((6,), 2, "this machine")
    assert squares_of(outcomes) == [number * number for number in range(8) if number != 6]


def test_each_process_sees_one_gpu_and_there_is_one_for_each(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "gpus_here", lambda: ("GPU-a", "GPU-b"))
    with open_cluster("local", 3) as cluster:
        asks = job(jobs.Rules(tmp_path, each_s=0.05), do=jobs.gpu, gpus=1.0)
        assert cluster.workers(asks) == 2
        seen = [outcome.result for outcome in cluster.run(asks, jobs.shards_of(12))]
        assert set(seen) == {"GPU-a", "GPU-b"}
        assert cluster.workers(job(jobs.Rules(tmp_path))) == 3


def test_a_job_on_gpus_is_refused_where_there_is_none(two: Cluster, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(local, "gpus_here", lambda: ())
    with pytest.raises(ClusterError, match="this machine has no GPU to square with; give --device cpu"):
        two.run(job(jobs.Rules(tmp_path), gpus=1.0), jobs.shards_of(1))


def test_it_is_known_since_when_a_process_is_at_its_work(tmp_path: Path) -> None:
    with local.LocalCluster(1) as cluster:
        asks = job(jobs.Rules(tmp_path, setup_s=0.2, each_s=30.0))
        pool = local._LocalPool(cluster, asks, Package.of_job(asks))
        pool.start(1, jobs.shard_of((3,)), frozenset())
        assert pool.places([1, 2]) == {1: dispatch.Place("this machine", None)}
        began = time.monotonic()
        wait_for("its begin", lambda: pool.ended(0.05) == [] and pool.places([1])[1].begun)
        assert jobs.noted(jobs.Rules(tmp_path), "setup") != {}
        assert (pool.places([1])[1].begun or 0.0) > began
        pool.cancel(1)


def test_what_goes_wrong_keeps_its_kind(two: Cluster, tmp_path: Path) -> None:
    outcomes = list(two.run(job(jobs.Rules(tmp_path, refuse=frozenset({1}))), jobs.shards_of(3)))
    assert [str(outcome.error) for outcome in outcomes if outcome.error] == ["1 cannot be read; copy it again"]
    assert {type(outcome.error) for outcome in outcomes} == {InputError, type(None)}
    with pytest.raises(LimitError, match=r"^this machine: the disk is full"):
        list(two.run(job(jobs.Rules(tmp_path, full=frozenset({1}))), jobs.shards_of(3)))
    with pytest.raises(WeightsError, match=r"^this machine: no weights egotr-x"):
        list(two.run(job(jobs.Rules(tmp_path, no_weights=True)), jobs.shards_of(3)))
    with pytest.raises(WorkerBugError, match="KeyError") as caught:
        list(two.run(job(jobs.Rules(tmp_path, bug=frozenset({1}))), jobs.shards_of(3)))
    assert "cluster_jobs.py" in caught.value.traceback_text


def test_a_result_that_cannot_travel_is_a_bug_and_no_hang(two: Cluster, tmp_path: Path) -> None:
    with pytest.raises(WorkerBugError, match="pickle"):
        list(two.run(job(jobs.Rules(tmp_path), do=jobs.unsendable), jobs.shards_of(1)))


def test_a_worker_that_hangs_is_overtaken_and_ended(two: Cluster, tmp_path: Path) -> None:
    rules = jobs.Rules(tmp_path, hang_once=frozenset({2}))
    outcomes = list(two.run(job(rules, least_s=0.3), jobs.shards_of(6)))
    assert squares_of(outcomes) == [number * number for number in range(6)]
    assert jobs.noted(rules, "do")[2] == 2


def test_closing_ends_what_is_out_and_the_workers_go_on(two: Cluster, tmp_path: Path) -> None:
    slow = two.run(job(jobs.Rules(tmp_path, hang_once=frozenset(range(1, 9)))), jobs.shards_of(9))
    assert next(slow).result == [0]
    slow.close()
    assert squares_of(list(two.run(job(jobs.Rules(tmp_path)), jobs.shards_of(2)))) == [0, 1]


def test_stop_ends_a_run_that_waits(two: Cluster, tmp_path: Path) -> None:
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    assert list(two.run(job(jobs.Rules(tmp_path, hang_once=frozenset({0}))), jobs.shards_of(1), stop)) == []


def test_workers_end_with_their_driver(tmp_path: Path) -> None:
    code = (
        "import sys, cluster_jobs as jobs\nfrom pathlib import Path\nfrom crossgeo.engine.cluster import Job, open_cluster\n"
        f"rules = jobs.Rules(Path({str(tmp_path)!r}), hang_once=frozenset({{0}}))\n"
        "list(open_cluster('local', 1).run(Job('square', jobs.setup, jobs.squares, rules), jobs.shards_of(1)))"
    )
    driver = subprocess.Popen([sys.executable, "-c", f"import sys; sys.path[:] = {sys.path!r}\n{code}"])
    rules = jobs.Rules(tmp_path)
    until = time.monotonic() + 60.0
    while not jobs.noted(rules, "do"):
        assert time.monotonic() < until
        assert driver.poll() is None
        time.sleep(0.05)
    (worker,) = jobs.noted(rules, "setup")
    os.kill(worker, 0)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    while Path(f"/proc/{worker}").exists() and "Z" not in Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[0]:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_worker_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    with open_cluster("local", 1) as cluster, pytest.raises(Exception, match="no process can be started"):
        list(cluster.run(job(jobs.Rules(tmp_path)), jobs.shards_of(1)))


def test_no_workers_are_too_few() -> None:
    with pytest.raises(UsageError, match="at least one"):
        open_cluster("local", 0)


def test_an_actor_keeps_its_state_and_says_what_went_wrong(two: Cluster, tmp_path: Path) -> None:
    rules = jobs.Rules(tmp_path)
    actor = two.actor(jobs.setup, rules, name="shard 1")
    assert [actor.call(jobs.add, number).result(60) for number in (1, 2)] == [2, 3]
    assert list(jobs.noted(rules, "setup").values()) == [1]
    with pytest.raises(InputError, match="no such photo"):
        actor.call(jobs.refuse).result(60)
    with pytest.raises(WorkerBugError, match="shard 1 failed by a bug: KeyError"):
        actor.call(jobs.stumble).result(60)
    assert actor.call(jobs.add, 5).result(60) == 6
    actor.close()
    with pytest.raises(WorkerDiedError, match="shard 1 was closed"):
        actor.call(jobs.add, 1).result(60)


def test_an_actor_that_dies_comes_back_by_itself(two: Cluster, tmp_path: Path) -> None:
    rules = jobs.Rules(tmp_path)
    actor = two.actor(jobs.setup, rules, name="shard 1")
    first = actor.call(jobs.whoami).result(60)
    asked = [actor.call(jobs.die), actor.call(jobs.add, 1)]
    with pytest.raises(WorkerDiedError, match="this machine: shard 1 died before it answered"):
        asked[0].result(60)
    assert asked[1].result(60) == 2  # it had not been sent yet
    second = actor.call(jobs.whoami).result(60)
    os.kill(second, signal.SIGKILL)
    until = time.monotonic() + 60.0
    while len(jobs.noted(rules, "setup")) < 3:  # nobody asks it anything
        assert time.monotonic() < until
        time.sleep(0.02)
    assert actor.call(jobs.whoami).result(60) not in {first, second}
    actor.close()


def test_closing_an_actor_ends_the_call_that_waits(two: Cluster, tmp_path: Path) -> None:
    actor = two.actor(jobs.setup, jobs.Rules(tmp_path), name="shard 1")
    actor.call(jobs.add, 1).result(60)
    waiting = [actor.call(jobs.wait, 600.0), actor.call(jobs.add, 1), actor.call(jobs.add, 2)]
    assert waiting[1].cancel()
    time.sleep(0.2)
    actor.close()
    for future in waiting[::2]:
        with pytest.raises(WorkerDiedError, match="was closed"):
            future.result(60)


def test_an_actor_whose_setup_fails_says_so_to_everybody(two: Cluster, tmp_path: Path) -> None:
    actor = two.actor(jobs.setup, jobs.Rules(tmp_path, no_weights=True), name="shard 1")
    for _ in range(2):
        with pytest.raises(WeightsError, match="this machine: no weights"):
            actor.call(jobs.add, 1).result(60)
    actor.close()


@pytest.fixture
def starting(monkeypatch: pytest.MonkeyPatch) -> list[Exception]:
    """What the start of any process raises; nothing while it is empty."""
    errors: list[Exception] = []

    class Worker(local.Worker):
        def __init__(self, threads: int, gpu: str | None = None) -> None:
            if errors:
                raise errors[0]
            super().__init__(threads, gpu)

    monkeypatch.setattr(local, "Worker", Worker)
    return errors


@pytest.mark.parametrize(
    "error", [OSError(errno.EMFILE, "Too many open files"), ClusterError("no process can be started to work (no memory)")]
)
def test_an_actor_whose_process_cannot_be_started_again_says_so_and_goes_on(
    two: Cluster, tmp_path: Path, starting: list[Exception], error: Exception
) -> None:
    actor = two.actor(jobs.setup, jobs.Rules(tmp_path), name="shard 1")
    actor.call(jobs.add, 1).result(60)
    starting.append(error)
    with pytest.raises(WorkerDiedError):
        actor.call(jobs.die).result(60)
    for _ in range(2):
        with pytest.raises(ClusterError, match="no process can be started to work"):
            actor.call(jobs.add, 1).result(60)
    starting.clear()
    until = time.monotonic() + 60.0
    while actor.call(jobs.add, 1).exception(60) is not None:  # of a start that was tried before
        assert time.monotonic() < until
    actor.close()


def test_closing_an_actor_whose_process_has_ended_kills_no_other(
    two: Cluster, tmp_path: Path, starting: list[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    actor = two.actor(jobs.setup, jobs.Rules(tmp_path), name="shard 1")
    assert isinstance(actor, local.LocalActor)
    actor.call(jobs.add, 1).result(60)
    starting.append(ClusterError("no process can be started to work"))
    with pytest.raises(WorkerDiedError):
        actor.call(jobs.die).result(60)
    with pytest.raises(ClusterError, match="no process can be started"):
        actor.call(jobs.add, 1).result(60)
    assert actor.pid is None
    killed: list[int] = []
    with monkeypatch.context() as patched:
        patched.setattr(os, "kill", lambda pid, number: killed.append(pid))
        actor.close()
    assert killed == []


def test_actors_that_are_closed_are_let_go(tmp_path: Path) -> None:
    with local.LocalCluster(1) as cluster:
        for _ in range(3):
            cluster.actor(jobs.setup, jobs.Rules(tmp_path), name="shard 1").close()
        assert len(cluster._actors) == 1
