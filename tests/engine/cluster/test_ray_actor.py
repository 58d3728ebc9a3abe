"""What `RayCluster` does for an actor beside Ray: calls that wait, nodes that are chosen, a connection that is lost."""

from __future__ import annotations

from collections.abc import Iterator

import cluster_jobs as jobs
import pytest
from fake_ray import FakeRay, Handle, cluster_of

from crossgeo.engine.cluster import ray_cluster
from crossgeo.engine.cluster.ray_actor import RayActor
from crossgeo.engine.cluster.ray_cluster import RayCluster
from crossgeo.errors import ClusterError, WorkerDiedError


@pytest.fixture
def ray() -> FakeRay:
    return FakeRay(("a", "b", "c"))


@pytest.fixture
def cluster(ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> Iterator[RayCluster]:
    monkeypatch.setattr(ray_cluster, "_PLACED_S", 0.0)
    with cluster_of(ray, monkeypatch) as opened:
        yield opened


def start(cluster: RayCluster, *apart_from: RayActor) -> RayActor:
    actor = cluster.actor(jobs.setup, None, name="rows", apart_from=apart_from)
    assert isinstance(actor, RayActor)
    return actor


def sent(cluster: RayCluster, handle: Handle) -> list[int]:
    """What reached an actor, once all that waits and has room is sent."""
    cluster._later.submit(int).result(60)
    return [number for (number,) in handle.args]


def test_calls_wait_here_and_go_in_their_order(ray: FakeRay, cluster: RayCluster) -> None:
    calls = [start(cluster).call(jobs.add, 0)]
    (actor,), (handle,) = cluster._actors, ray.handles
    calls += [actor.call(jobs.add, number) for number in range(1, 6)]
    for done in range(6):
        assert sent(cluster, handle) == list(range(min(6, done + 2)))
        handle.answer()
        assert calls[done].result(60) == (done,)
    assert actor.node == "here"


def test_what_nobody_waits_for_any_more_does_not_reach_the_actor(ray: FakeRay, cluster: RayCluster) -> None:
    actor = start(cluster)
    (handle,) = ray.handles
    calls = [actor.call(jobs.add, number) for number in range(100)]
    assert [call.cancel() for call in calls] == [False, False] + 98 * [True]
    assert not actor._waiting, "one that never answers keeps nothing"
    last = actor.call(jobs.add, 100)
    handle.answer()
    assert sent(cluster, handle) == [0, 1, 100]
    handle.answer()
    handle.answer()
    assert last.result(60) == (100,)


def test_closing_ends_what_waits_and_what_is_out(ray: FakeRay, cluster: RayCluster) -> None:
    actor = start(cluster)
    calls = [actor.call(jobs.add, number) for number in range(4)]
    assert calls[2].cancel()
    actor.close()
    for call in (calls[0], calls[1], calls[3], actor.call(jobs.add, 4)):
        with pytest.raises(WorkerDiedError, match="rows was closed"):
            call.result(60)
    assert sent(cluster, ray.handles[0]) == [0, 1]


def test_what_an_actor_that_died_was_asked_ends_at_once(ray: FakeRay, cluster: RayCluster) -> None:
    actor = start(cluster)
    calls = [actor.call(jobs.add, number) for number in range(4)]
    ray.handles[0].die()
    for call in calls:
        with pytest.raises(WorkerDiedError, match="rows died before"):
            call.result(0)
    again = actor.call(jobs.add, 4)
    assert sent(cluster, ray.handles[0]) == [0, 1, 4]
    ray.handles[0].answer()
    assert again.result(60) == (4,)


def test_an_actor_is_placed_apart_without_waiting_for_those_that_start(ray: FakeRay, cluster: RayCluster) -> None:
    first = start(cluster)
    assert (first.node, first.place) == ("", "")
    ray.handles[0].started.done.set_result(ray.label("b"))
    assert first.node == ray.label("b")
    others = [start(cluster, first) for _ in range(4)]  # none of which has answered
    assert [handle.node for handle in ray.handles] == [None, "a", "c", "a", "c"]
    assert [other.node for other in others] == [""] * 4
    start(cluster, others[0])
    assert ray.handles[-1].node == "b"
    start(cluster, first, others[0], others[1])
    assert ray.handles[-1].node in {"a", "b", "c"}, "all nodes are taken, and the least loaded is"


def test_actors_that_are_closed_are_no_load(ray: FakeRay, cluster: RayCluster) -> None:
    first = start(cluster)
    ray.handles[0].started.done.set_result(ray.label("b"))
    for _ in range(5):
        start(cluster, first).close()
    assert {handle.node for handle in ray.handles[1:]} == {"a"}
    assert len(cluster._actors) == 2


def test_a_connection_that_is_lost_while_an_actor_starts_is_said(ray: FakeRay, cluster: RayCluster) -> None:
    ray.broken = True
    with pytest.raises(ClusterError, match=r"is lost \(the head node is gone"):
        start(cluster)
