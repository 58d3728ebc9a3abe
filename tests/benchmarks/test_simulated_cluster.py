"""The simulated cluster against what can be said of it by hand."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest


@pytest.fixture
def sim(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(Path(__file__).resolve().parents[2] / "benchmarks")
    module = importlib.import_module("simulated_cluster")
    monkeypatch.delitem(sys.modules, "simulated_cluster")
    return module


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_equal_shards_fill_equal_workers(sim: ModuleType) -> None:
    run = sim.simulate([sim.Stage("describe", 12, [2.0])], sim.Machines(nodes=2, workers=2), rng())
    assert run.seconds == pytest.approx(6.0)
    assert run.busy_s == pytest.approx(24.0)


def test_a_start_is_paid_once_by_each_worker_and_the_driver_by_itself(sim: ModuleType) -> None:
    stages = [sim.Stage("cut", 4, [1.0], 10.0, after_s=3.0), sim.Stage("describe", 4, [2.0], 10.0, after_s=0.5)]
    run = sim.simulate(stages, sim.Machines(nodes=1, workers=2, begin_s=1.0), rng())
    assert run.by_stage == {"cut": pytest.approx(10 + 2 + 3), "describe": pytest.approx(10 + 4 + 0.5)}
    assert run.seconds == pytest.approx(1 + 15 + 14.5)


def test_a_driver_slower_than_the_workers_is_what_one_waits_for(sim: ModuleType) -> None:
    run = sim.simulate([sim.Stage("describe", 100, [1.0], take_in_s=0.5)], sim.Machines(nodes=10, workers=1), rng())
    assert run.seconds == pytest.approx(1.0 + 100 * 0.5)


def test_more_workers_than_shards_gain_nothing(sim: ModuleType) -> None:
    assert sim.simulate([sim.Stage("describe", 3, [5.0])], sim.Machines(nodes=50, workers=1), rng()).seconds == pytest.approx(5.0)


def test_a_stalled_shard_is_given_out_twice_and_the_first_end_counts(sim: ModuleType) -> None:
    seconds = [10.0] * 8 + [1000.0]
    run = sim.simulate([sim.Stage("describe", 9, seconds)], sim.Machines(nodes=2, workers=1, least_s=30.0, slower=4.0), rng())
    assert run.done_again == 1
    assert run.seconds == pytest.approx(1000.0 + 40.0), "here the shard itself is slow: 40 s until it is given out again"
    stalled = sim.Machines(nodes=4, workers=4, stalls=0.05, stall=100.0)
    run = sim.simulate([sim.Stage("describe", 400, [10.0])], stalled, rng())
    assert run.done_again > 5
    assert run.seconds < 400 / 16 * 10 + 200


def test_failures_cost_time_and_lose_nothing(sim: ModuleType) -> None:
    calm = sim.simulate([sim.Stage("describe", 2000, [10.0])], sim.Machines(nodes=10, workers=2), rng())
    rough = sim.simulate([sim.Stage("describe", 2000, [10.0])], sim.Machines(nodes=10, workers=2, fails_per_hour=6.0, back_s=60.0), rng())
    assert rough.failures > 5
    assert rough.done_again >= rough.failures
    assert calm.seconds < rough.seconds < 1.6 * calm.seconds


def test_all_nodes_down_at_once_only_wait(sim: ModuleType) -> None:
    machines = sim.Machines(nodes=1, workers=1, fails_per_hour=60.0, back_s=30.0, noticed_s=5.0)
    run = sim.simulate([sim.Stage("describe", 50, [10.0])], machines, rng())
    assert run.failures > 0
    assert run.seconds > 500 + 30


def test_hedging_hides_one_dead_replica_and_not_two(sim: ModuleType) -> None:
    times = [4.0, 5.0, 6.0]
    fleet = {"shards": 100, "touched": 100, "answer_ms": times, "front_ms": 10.0, "hedge_ms": 20.0, "deadline_ms": 200.0, "stalls": 0.01}
    one, two = sim.serve(sim.Fleet(replicas=1, **fleet), 4000, rng()), sim.serve(sim.Fleet(replicas=2, **fleet), 4000, rng())
    assert one.partial == pytest.approx(1 - 0.99**100, abs=0.03)
    assert two.partial == pytest.approx(1 - (1 - 1e-4) ** 100, abs=0.01)
    assert two.p50_ms == pytest.approx(10 + 20 + 6, abs=2.1)
    assert two.hedged == pytest.approx(0.01, abs=0.002)
    calm = sim.serve(
        sim.Fleet(shards=100, replicas=2, touched=4, answer_ms=[5.0], front_ms=10.0, hedge_ms=20.0, deadline_ms=200.0), 100, rng()
    )
    assert (calm.p50_ms, calm.partial, calm.hedged) == (15.0, 0.0, 0.0)
