"""How shards are given out, whoever does them: retried, halved, tried elsewhere, given out again, reported."""

import threading
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from inline_cluster import Died, InlineCluster

from crossgeo.engine.cluster import Job, Outcome, Shard, dispatch, open_cluster, task, versions
from crossgeo.engine.cluster.task import Report
from crossgeo.errors import ClusterError, InputError, LimitError, MismatchError, StoreError, UsageError, WeightsError, WorkerBugError


@dataclass
class Script:
    """What is to happen; kept here, since inline workers cannot see the test's own variables otherwise."""

    do: Any = None
    setup: Any = None


SCRIPT = Script()


def setup(context: str) -> str:
    if SCRIPT.setup is not None:
        SCRIPT.setup()
    return context


def do(state: str, numbers: tuple[int, ...]) -> int:
    return int(SCRIPT.do(numbers))


def halve(shard: Shard[tuple[int, ...]]) -> Sequence[Shard[tuple[int, ...]]]:
    numbers, middle = shard.payload, len(shard.payload) // 2
    return [shard_of(numbers[:middle]), shard_of(numbers[middle:])] if middle else ()


def shard_of(numbers: tuple[int, ...]) -> Shard[tuple[int, ...]]:
    return Shard(f"{numbers[0]}..{numbers[-1]}", numbers, len(numbers))


def job(**changes: Any) -> Job[str, str, tuple[int, ...], int]:
    return Job("add up", setup, do, "context", **{"halve": halve, **changes})


@pytest.fixture(autouse=True)
def plain() -> Iterator[None]:
    SCRIPT.do, SCRIPT.setup = sum, None
    task.end_states()
    yield
    task.end_states()


def ones(count: int) -> list[Shard[tuple[int, ...]]]:
    return [shard_of((number,)) for number in range(count)]


def test_every_shard_comes_out_once_with_its_result_and_node() -> None:
    with InlineCluster(("a", "b")) as cluster:
        outcomes = list(cluster.run(job(), ones(5)))
    assert sorted((outcome.shard.key, outcome.result) for outcome in outcomes) == [(f"{n}..{n}", n) for n in range(5)]
    assert {outcome.node for outcome in outcomes} == {"a", "b"}


def test_a_state_is_made_once_for_a_process_and_context() -> None:
    made = []
    SCRIPT.setup = lambda: made.append(1)
    with InlineCluster() as cluster:
        list(cluster.run(job(), ones(3)))
        list(cluster.run(job(), ones(3)))
    assert len(made) == 1


def test_a_shard_whose_worker_died_is_tried_again() -> None:
    tries = []

    def dies_once(numbers: tuple[int, ...]) -> int:
        tries.append(numbers)
        if len(tries) == 1:
            raise Died
        return sum(numbers)

    SCRIPT.do = dies_once
    with InlineCluster() as cluster:
        (outcome,) = cluster.run(job(halve=None), [shard_of((1, 2))])
    assert (outcome.result, outcome.died, tries) == (3, 0, [(1, 2), (1, 2)])


def test_a_shard_that_kills_its_workers_is_halved_until_the_culprit_is_alone() -> None:
    def poison(numbers: tuple[int, ...]) -> int:
        if 5 in numbers:
            raise Died
        return sum(numbers)

    SCRIPT.do = poison
    with InlineCluster() as cluster:
        outcomes = list(cluster.run(job(retries=1), [shard_of(tuple(range(8)))]))
    (dead,) = (outcome for outcome in outcomes if outcome.died)
    assert (dead.shard.payload, dead.died, dead.result, dead.error) == ((5,), 2, None, None)
    assert sorted(n for outcome in outcomes if not outcome.died for n in outcome.shard.payload) == [0, 1, 2, 3, 4, 6, 7]


def test_workers_that_all_die_before_anything_is_done_are_no_shards_fault() -> None:
    def poison(numbers: tuple[int, ...]) -> int:
        raise Died

    SCRIPT.do = poison
    with InlineCluster() as cluster, pytest.raises(ClusterError, match="workers ended before any of them finished a shard of add up"):
        list(cluster.run(job(), ones(100)))


def test_an_error_of_one_shard_is_its_outcome_and_keeps_its_kind() -> None:
    def refuse(numbers: tuple[int, ...]) -> int:
        if numbers == (1,):
            raise InputError("1.jpg: not a photo; leave it out")
        return sum(numbers)

    SCRIPT.do = refuse
    with InlineCluster() as cluster:
        outcomes = {outcome.shard.payload: outcome for outcome in cluster.run(job(), ones(3))}
    assert type(outcomes[1,].error) is InputError
    assert str(outcomes[1,].error) == "1.jpg: not a photo; leave it out"
    assert [outcomes[n,].result for n in (0, 2)] == [0, 2]


def test_a_missing_file_in_a_worker_is_the_users_to_mend() -> None:
    SCRIPT.do = lambda numbers: Path("/no/such/ortho.tif").read_bytes()
    with InlineCluster() as cluster:
        (outcome,) = cluster.run(job(), ones(1))
    assert type(outcome.error) is InputError
    assert "/no/such/ortho.tif" in str(outcome.error)


def test_a_bug_stops_the_run_and_says_where_it_was() -> None:
    SCRIPT.do = lambda numbers: {}[numbers]
    said = r"node 7: add up of 0\.\.0 failed by a bug: KeyError"
    with InlineCluster(("node 7",)) as cluster, pytest.raises(WorkerBugError, match=said) as caught:
        list(cluster.run(job(), ones(2)))
    assert "test_dispatch.py" in caught.value.traceback_text
    assert caught.value.exit_code == 1


def test_an_error_of_setup_stops_the_run_names_the_node_and_keeps_its_kind() -> None:
    def fail() -> None:
        raise WeightsError("no weights; pull them")

    SCRIPT.setup = fail
    with InlineCluster(("node 7",)) as cluster, pytest.raises(WeightsError, match=r"^node 7: no weights; pull them"):
        list(cluster.run(job(), ones(2)))


def test_a_full_disk_of_one_node_is_tried_on_another_one() -> None:
    with InlineCluster(("full", "free")) as cluster:

        def full(numbers: tuple[int, ...]) -> int:
            if cluster.node == "full":
                raise LimitError("disk full; make room")
            return sum(numbers)

        SCRIPT.do = full
        outcomes = list(cluster.run(job(), ones(4)))
    assert sorted(outcome.shard.payload[0] for outcome in outcomes) == [0, 1, 2, 3]
    assert {outcome.node for outcome in outcomes} == {"free"}


def test_a_disk_that_is_full_everywhere_stops_the_run_and_names_a_node() -> None:
    def full(numbers: tuple[int, ...]) -> int:
        raise LimitError("disk full; make room")

    SCRIPT.do = full
    with InlineCluster(("a", "b")) as cluster, pytest.raises(LimitError, match=r"^(a|b): disk full; make room"):
        list(cluster.run(job(), ones(1)))
    assert {node for node, _ in cluster.begun} == {"a", "b"}


def test_storage_that_is_full_is_believed_before_all_nodes_have_tried() -> None:
    def full(numbers: tuple[int, ...]) -> int:
        raise LimitError("disk full; make room")

    SCRIPT.do = full
    with InlineCluster([f"node {number}" for number in range(50)]) as cluster, pytest.raises(LimitError, match="disk full"):
        list(cluster.run(job(), ones(1)))
    assert len({node for node, _ in cluster.begun}) == 3


@pytest.mark.parametrize(("fails", "fine"), [(1, True), (2, True), (3, False)])
def test_storage_that_fails_for_a_moment_is_tried_again_elsewhere(fails: int, fine: bool) -> None:
    tries: list[str] = []
    with InlineCluster(("a", "b", "c")) as cluster:

        def stumble(numbers: tuple[int, ...]) -> int:
            tries.append(cluster.node)
            if len(tries) <= fails:
                raise StoreError("s3://shards: 503 Slow Down")
            return sum(numbers)

        SCRIPT.do = stumble
        if fine:
            (outcome,) = cluster.run(job(), ones(1))
            assert outcome.result == 0
        else:
            with pytest.raises(StoreError, match=r"^[abc]: s3://shards: 503 Slow Down"):
                list(cluster.run(job(), ones(1)))
    assert len(set(tries)) == len(tries)


def test_a_node_whose_workers_die_is_no_shards_fault() -> None:
    with InlineCluster(("sick", "b", "c")) as cluster:

        def dies_there(numbers: tuple[int, ...]) -> int:
            if cluster.node == "sick":
                raise Died
            return sum(numbers)

        SCRIPT.do = dies_there
        outcomes = list(cluster.run(job(), [shard_of(tuple(range(at, at + 8))) for at in range(0, 400, 8)]))
    assert [outcome.shard.key for outcome in outcomes if outcome.died] == []
    assert sorted(number for outcome in outcomes for number in outcome.shard.payload) == list(range(400))
    assert sum(node == "sick" for node, _ in cluster.begun) == 3  # then it is left out for a while


def test_a_shard_that_kills_is_tried_on_another_node_before_it_is_blamed() -> None:
    with InlineCluster(("a", "b", "c")) as cluster:

        def poison(numbers: tuple[int, ...]) -> int:
            if 5 in numbers:
                raise Died
            return sum(numbers)

        SCRIPT.do = poison
        outcomes = list(cluster.run(job(), ones(12)))
    (bad,) = (outcome for outcome in outcomes if outcome.died)
    assert (bad.shard.key, bad.died, bad.why) == ("5..5", 2, "SIGKILL")
    assert len({node for node, key in cluster.begun if key == "5..5"}) == 2


def test_code_that_differs_is_refused_before_the_first_shard(monkeypatch: pytest.MonkeyPatch) -> None:
    done = []
    SCRIPT.do = done.append
    here = dict(versions.here())
    with InlineCluster(("node 7",)) as cluster:
        monkeypatch.setattr(task, "here", lambda: {**here, "code": "feedbeef", "ray": "2.1"})
        run = cluster.run(job(), ones(1))
        monkeypatch.setattr(task, "here", lambda: here)
        with pytest.raises(MismatchError, match=rf"node 7 .*code {here['code']} \(here feedbeef\), ray .*\(here 2\.1\)"):
            list(run)
    assert done == []


def test_shards_are_taken_only_as_there_is_room() -> None:
    taken = []

    def source() -> Iterator[Shard[tuple[int, ...]] | None]:
        for shard in ones(100):
            taken.append(shard)
            yield shard
            yield None  # none yet

    with InlineCluster(("a", "b")) as cluster:
        run = cluster.run(job(), source())
        for finished in range(1, 11):
            next(run)
            assert len(taken) <= finished + 2 * len(cluster.nodes)
        run.close()


def test_stop_ends_the_run_and_leaves_the_rest() -> None:
    stop = threading.Event()
    seen = []
    with InlineCluster() as cluster:
        for outcome in cluster.run(job(), ones(10), stop):
            seen.append(outcome)
            if len(seen) == 3:
                stop.set()
    assert len(seen) == 3
    assert len(cluster.begun) <= 5


def test_functions_that_workers_cannot_import_are_refused() -> None:
    with InlineCluster() as cluster, pytest.raises(UsageError, match="define it in a module"):
        cluster.run(Job("add up", setup, lambda state, numbers: 1, "context"), ones(1))


@pytest.mark.parametrize(("where", "said"), [("dask", "no cluster 'dask'"), ("", "no cluster ''")])
def test_a_word_that_names_no_cluster_is_refused(where: str, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        open_cluster(where)


class Late:
    """A pool whose tries end when the test says so, on a clock of its own."""

    def __init__(self) -> None:
        self.now, self.cancelled, self.started = 0.0, [], []
        self.ends: list[list[dispatch.End]] = []
        self.begun: dict[int, float] = {}  # others have not begun
        self.at_once = True  # whether all begin as they are started

    def room(self) -> int:
        return 2

    def start(self, number: int, shard: Shard[Any], avoid: frozenset[str]) -> None:
        self.started.append((number, shard.key))
        if self.at_once:
            self.begun[number] = self.now

    def ended(self, timeout_s: float) -> list[dispatch.End]:
        self.now += 5.0
        return self.ends.pop(0) if self.ends else []

    def cancel(self, number: int) -> None:
        self.cancelled.append(number)

    def others(self, nodes: frozenset[str]) -> bool:
        return True

    def places(self, numbers: Iterable[int]) -> dict[int, dispatch.Place]:
        return {number: dispatch.Place("a", self.begun.get(number)) for number in numbers}


@pytest.fixture
def late(monkeypatch: pytest.MonkeyPatch) -> Late:
    pool = Late()
    monkeypatch.setattr(dispatch, "time", SimpleNamespace(monotonic=lambda: pool.now))
    return pool


def finished(number: int, seconds: float = 2.0) -> dispatch.End:
    return dispatch.End(number, "a", Report("done", number, seconds=seconds))


def test_a_late_shard_is_given_out_once_more_and_the_first_result_counts(late: Late) -> None:
    late.ends = [[finished(1)], [], [], [], [], [finished(3)], [finished(2)]]  # 2 is silent; after max(15, 4 x 2 s) it is given out as 3
    outcomes: list[Outcome[Any, Any]] = list(dispatch.run(job(least_s=15.0), ones(2), late, None))
    assert late.started == [(1, "0..0"), (2, "1..1"), (3, "1..1")]
    assert [(outcome.shard.key, outcome.result) for outcome in outcomes] == [("0..0", 1), ("1..1", 3)]
    assert late.cancelled == [2]


def test_a_large_shard_is_not_late_where_its_size_says_why(late: Late) -> None:
    late.ends = [[finished(1)], *([[]] * 8), [finished(2, 50.0)]]
    list(dispatch.run(job(least_s=15.0), [shard_of((1,)), shard_of(tuple(range(30)))], late, None))
    assert len(late.started) == 2


def test_a_worker_that_is_set_up_or_waits_for_its_turn_is_not_late(late: Late) -> None:
    late.at_once = False
    late.ends = [[finished(1)], *([[]] * 100), [finished(2)]]
    list(dispatch.run(job(least_s=15.0), ones(2), late, None))
    assert [number for number, _ in late.started] == [1, 2]


def test_a_worker_that_never_begins_is_not_waited_for_alone_and_is_no_death(late: Late) -> None:
    late.at_once = False
    late.ends = [[finished(1)], *([[]] * 1000), [finished(3)]]
    outcomes = list(dispatch.run(job(least_s=15.0), ones(2), late, None))
    assert [number for number, _ in late.started] == [1, 2, 3, 4]  # after ten minutes, and after twenty
    assert [(outcome.result, outcome.died) for outcome in outcomes] == [(1, 0), (3, 0)]


def test_a_shard_that_never_ends_is_ended_and_counts_as_a_death(late: Late) -> None:
    late.ends = [[finished(1)]]
    outcomes = list(dispatch.run(job(least_s=15.0), ones(2), late, None))
    assert [number for number, _ in late.started] == [1, 2, 3, 4, 5, 6, 7]  # three at once, twice
    assert late.cancelled == [2, 3, 4, 5, 6, 7]
    assert (outcomes[-1].died, outcomes[-1].why) == (2, "it did not end, and was ended")


def test_a_late_shard_whose_worker_dies_before_its_copy_begins_is_halved_once(late: Late, monkeypatch: pytest.MonkeyPatch) -> None:
    waiting = [finished(1), dispatch.End(2, "a", why="SIGKILL"), *map(finished, range(3, 9))]

    def ended(timeout_s: float) -> list[dispatch.End]:
        late.now += 5.0
        return [waiting.pop(0)] if late.now == 5.0 or late.now >= 40.0 else []  # 2 is late after 20 s, and there is no room for a copy

    monkeypatch.setattr(late, "ended", ended)
    monkeypatch.setattr(late, "room", lambda: 0 if 0.0 < late.now < 40.0 else 2)
    outcomes = list(dispatch.run(job(least_s=15.0), [shard_of((0,)), shard_of((1, 2))], late, None))
    assert late.started == [(1, "0..0"), (2, "1..2"), (3, "1..1"), (4, "2..2")]
    assert [outcome.shard.key for outcome in outcomes] == ["0..0", "1..1", "2..2"]


def test_a_first_shard_that_hangs_is_given_out_once_more(late: Late) -> None:
    late.ends = [*([[]] * 800), [finished(2)]]
    (outcome,) = dispatch.run(job(least_s=15.0), ones(1), late, None)
    assert outcome.result == 2


def test_a_node_that_goes_is_not_the_shards_fault() -> None:
    pool = Late()
    pool.ends = [[dispatch.End(number, "a", with_node=True)] for number in range(1, 6)] + [[finished(6)]]
    (outcome,) = dispatch.run(job(retries=0), ones(1), pool, None)
    assert (outcome.result, outcome.died) == (6, 0)


def test_nodes_that_go_one_after_the_other_end_the_run() -> None:
    pool = Late()
    pool.ends = [[dispatch.End(number, "a", with_node=True)] for number in range(1, 100)]
    with pytest.raises(ClusterError, match="nodes were lost"):
        list(dispatch.run(job(), ones(1), pool, None))
