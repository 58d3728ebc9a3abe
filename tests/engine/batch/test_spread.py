"""Batches answered by workers of a cluster: the same answers, photos that kill are found, either way ends what the other began."""

from __future__ import annotations

import heapq
import json
import threading
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from inline_cluster import InlineCluster
from standin import OPTIONS, open_search

from crossgeo.engine.batch import BatchItem, BatchProgress, Spread, Stopped, photos_in, run_batch
from crossgeo.engine.batch.pipeline import Task
from crossgeo.engine.batch.shard import Back, Given
from crossgeo.engine.batch.spread import FIRST, SPELL_S
from crossgeo.engine.cluster import Cluster, Job, Outcome, Shard, open_cluster
from crossgeo.engine.decoder import Decoder
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError, MismatchError

Record = dict[str, Any]
NODES = ("north", "south")


@pytest.fixture(scope="module")
def local() -> Iterator[Cluster]:
    """Two processes."""
    with open_cluster("local", 2) as opened:
        yield opened


@pytest.fixture
def inline() -> Iterator[InlineCluster]:
    """Two nodes in this process."""
    with InlineCluster(NODES) as opened:
        yield opened


@pytest.fixture
def many(tmp_path: Path, take: Callable[[Path, int], Path]) -> Path:
    """Twenty photos, of which the fourth is none."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(20):
        if number < 3:
            take(folder / f"{number:02}.png", number)
        else:
            (folder / f"{number:02}.png").hardlink_to(folder / f"{number % 3:02}.png")
    (folder / "03.png").unlink()
    (folder / "03.png").write_bytes(b"no photo")
    return folder


def records(path: Path) -> list[Record]:
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    return [{name: value for name, value in row.items() if name != "timings_ms"} for row in rows]


def stop_at(count: int) -> Callable[[BatchProgress], None]:
    def stop(at: BatchProgress) -> None:
        if at.done == count:
            raise KeyboardInterrupt

    return stop


def test_a_photo_that_kills_its_worker_is_an_error_and_all_others_are_answered_as_by_one_process(
    local: Cluster, search: GeoSearch, decoder: Decoder, index_path: Path, many: Path, tmp_path: Path
) -> None:
    deaths = tmp_path / "deaths"
    spread = Spread(local, partial(open_search, index_path, ("07.png",), deaths), spell_s=0.1)
    out, whole = tmp_path / "out.jsonl", tmp_path / "whole.jsonl"
    report = run_batch(search, many, out, OPTIONS, spread=spread, keep_journal=True)
    run_batch(search, many, whole, OPTIONS, decoder=decoder, workers=1)
    rows, expected = records(out), records(whole)
    killed = rows.pop(7)
    assert killed["photo"] == expected.pop(7)["photo"] == "07.png"
    assert killed["error"]["type"] == "InputError"
    assert "the worker that answered this photo alone ended 2 times" in killed["error"]["message"]
    assert rows == expected
    assert (report.total, report.failed) == (20, 2)
    assert sum(node.photos for node in spread.nodes.values()) == 19
    assert [node.given_up for node in spread.nodes.values()] == [1]
    assert len(deaths.read_text().split()) <= 5
    again = run_batch(search, many, out, OPTIONS, overwrite=True, decoder=decoder, workers=1)
    assert (again.resumed, again.failed) == (18, 2)
    assert "ended 2 times while it answered this photo alone" in records(out)[7]["error"]["message"]


def test_a_photo_that_a_node_does_not_see_as_the_driver_does_stops_the_batch_and_says_where(
    local: Cluster, search: GeoSearch, index_path: Path, folder: Path, tmp_path: Path
) -> None:
    with (folder / "a.png").open("rb") as held:
        own = Path(f"/proc/self/fd/{held.fileno()}")  # of each process its own
        with pytest.raises(InputError, match=rf"{own}.*on this machine; let all nodes see the photos"):
            run_batch(
                search, [BatchItem(own, "a.png")], tmp_path / "out.jsonl", OPTIONS, spread=Spread(local, partial(open_search, index_path))
            )


def test_a_batch_begun_on_a_cluster_is_finished_without_and_the_other_way_round(
    inline: InlineCluster, search: GeoSearch, decoder: Decoder, index_path: Path, many: Path, tmp_path: Path
) -> None:
    cluster: dict[str, Any] = {"spread": Spread(inline, partial(open_search, index_path))}
    alone: dict[str, Any] = {"decoder": decoder, "workers": 1}
    outs = []
    for name, first, second in (("one", cluster, alone), ("other", alone, cluster)):
        out, got = tmp_path / f"{name}.jsonl", list[Record]()
        with pytest.raises(KeyboardInterrupt):
            run_batch(search, many, out, OPTIONS, progress=stop_at(9), **first)
        report = run_batch(search, many, out, OPTIONS, each=lambda _, record, got=got: got.append(record), **second)
        assert report.resumed + report.failed >= 9 > report.failed
        assert [record["photo"] for record in got] == [f"{number:02}.png" for number in range(20)]
        outs.append(records(out))
    run_batch(search, many, tmp_path / "whole.jsonl", OPTIONS, **alone)
    assert outs == [records(tmp_path / "whole.jsonl")] * 2


def test_what_a_worker_leaves_after_its_spell_is_sent_again(
    inline: InlineCluster, search: GeoSearch, index_path: Path, many: Path, tmp_path: Path
) -> None:
    spread = Spread(inline, partial(open_search, index_path), spell_s=-1.0)  # over after the first photo
    report = run_batch(search, many, tmp_path / "out.jsonl", OPTIONS, spread=spread)
    assert (report.total, report.failed) == (20, 1)
    assert len(inline.begun) == 20
    assert {node for node, _ in inline.begun} == set(NODES)


class Watched(InlineCluster):
    """Keeps how large shards were."""

    def __init__(self) -> None:
        super().__init__(NODES)
        self.sizes: list[int] = []

    def run(self, job: Job[Any, Any, Any, Any], shards: Any, stop: threading.Event | None = None) -> Any:
        return super().run(job, self._seen(shards), stop)

    def _seen(self, shards: Iterator[Shard[Any] | None]) -> Iterator[Shard[Any] | None]:
        for shard in shards:
            if shard is not None:
                assert len(shard.payload.sent) == shard.size
                self.sizes.append(shard.size)
            yield shard


def test_shards_get_smaller_towards_the_end(search: GeoSearch, index_path: Path, many: Path, tmp_path: Path) -> None:
    items = [replace(item, name=f"{turn}/{item.name}") for turn in range(2) for item in photos_in(many)]
    with Watched() as cluster:
        run_batch(search, items, tmp_path / "out.jsonl", OPTIONS, spread=Spread(cluster, partial(open_search, index_path), spell_s=60.0))
    assert cluster.sizes[0] == 40 // (4 * len(NODES))
    assert cluster.sizes == sorted(cluster.sizes, reverse=True)
    assert (sum(cluster.sizes), cluster.sizes[-1]) == (40, 1)


def test_photos_that_come_one_by_one_are_not_waited_for(search: GeoSearch, index_path: Path, many: Path, tmp_path: Path) -> None:
    def coming() -> Iterator[BatchItem | None]:
        items = photos_in(many)
        yield from (items[0], None, None, items[1], items[2], None, *items[3:])

    with Watched() as cluster:
        spread = Spread(cluster, partial(open_search, index_path), spell_s=600.0)
        report = run_batch(search, coming(), tmp_path / "out.jsonl", OPTIONS, spread=spread)
    assert report.total == 20
    assert cluster.sizes == [1, 2, 17]
    assert [row["photo"] for row in records(tmp_path / "out.jsonl")] == [f"{number:02}.png" for number in range(20)]


class Imagined(InlineCluster):
    """Workers that only seem to answer, in a time of their own: each photo takes `pace_s`, and after a spell they give back the others."""

    def __init__(self, workers: int, pace_s: Callable[[int], float]) -> None:
        super().__init__([f"node {number}" for number in range(workers)])
        self.sizes: list[int] = []
        self.sent: Counter[int] = Counter()  # how often each photo was
        self.now_s = 0.0
        self._pace_s = pace_s  # of a photo, by its number

    def run(
        self, job: Job[Any, Any, Any, Any], shards: Iterable[Shard[Any] | None], stop: threading.Event | None = None
    ) -> Generator[Outcome[Any, Any], None, None]:
        busy: list[tuple[float, int, Outcome[Any, Any]]] = []
        coming = iter(shards)
        while True:
            while len(busy) < len(self.nodes) and (shard := next(coming, None)) is not None:
                done = self._done(shard)
                heapq.heappush(busy, (self.now_s + done.seconds, len(self.sizes), done))
            if not busy:
                return
            self.now_s, _, done = heapq.heappop(busy)
            yield done

    def _done(self, shard: Shard[Any]) -> Outcome[Any, Any]:
        numbers = [sent.task.number for sent in shard.payload.sent]
        self.sizes.append(len(numbers))
        self.sent.update(numbers)
        given, seconds = list[Given](), 0.0
        while numbers and (not given or seconds <= SPELL_S):
            given.append(Given(number := numbers.pop(0), {"status": "located"}, unseen=False))
            seconds += self._pace_s(number)
        return Outcome(shard, Back(tuple(given), "alike"), seconds=seconds)


def ask(search: GeoSearch, cluster: Cluster, items: list[BatchItem], count: int | None) -> list[int]:
    """Return the numbers of items in the order in which they were answered."""
    spread = Spread(cluster, partial(open_search, Path()))
    asking = spread.place(search, OPTIONS, count, lambda task: None, None)
    return [task.number for task, _ in asking.run(Task(number, item, item.name) for number, item in enumerate(items))]


def named(count: int) -> list[BatchItem]:
    return [BatchItem(Path(f"{number}.jpg"), f"{number}.jpg") for number in range(count)]


@pytest.mark.parametrize("streamed", [False, True])
def test_slow_photos_are_looked_at_once_and_sent_about_as_often_as_they_are_answered(
    search: GeoSearch, monkeypatch: pytest.MonkeyPatch, streamed: bool
) -> None:
    looked: Counter[str] = Counter()

    def file(item: BatchItem) -> tuple[int, int]:
        looked[item.name] += 1
        return -1, -1

    monkeypatch.setattr(BatchItem, "file", property(file))
    items, cluster = named(4000), Imagined(4, lambda number: 1.0 + number % 3)
    numbers = ask(search, cluster, items, None if streamed else len(items))
    assert sorted(numbers) == list(range(4000))
    assert looked == Counter(item.name for item in items)
    assert cluster.sent.total() <= 3 * len(items)
    assert max(cluster.sent.values()) <= 8
    assert cluster.now_s <= 1.02 * 2.0 * 4000 / 4  # nobody waited


def test_shards_are_as_long_as_spells_have_room_for(search: GeoSearch) -> None:
    quick = Imagined(4, lambda number: 0.01)
    ask(search, quick, named(20_000), 20_000)
    assert quick.sizes[:4] == [FIRST] * 4
    assert max(quick.sizes) == 256
    assert quick.sent.total() == 20_000
    slowing = Imagined(4, lambda number: 0.05 if number < 5_000 else 20.0)
    ask(search, slowing, named(6_000), 6_000)
    assert max(slowing.sizes) == 200  # twice the hundred that a spell has room for
    assert set(slowing.sizes[-500:]) == {1}  # which take longer than a spell


def test_stopping_keeps_what_workers_are_at_and_sends_nothing_more(
    inline: InlineCluster, search: GeoSearch, index_path: Path, many: Path, tmp_path: Path
) -> None:
    stop, out = threading.Event(), tmp_path / "out.jsonl"
    spread = Spread(inline, partial(open_search, index_path))
    with pytest.raises(Stopped):
        run_batch(search, many, out, OPTIONS, spread=spread, stop=stop, progress=lambda at: stop.set())
    sent = len(inline.begun)
    assert sent == len(NODES)
    stop.clear()
    report = run_batch(search, many, out, OPTIONS, spread=spread, stop=stop)
    assert report.resumed >= 1
    assert len(records(out)) == 20


def test_a_worker_with_another_index_is_refused_by_name(
    inline: InlineCluster, search: GeoSearch, tmp_path: Path, folder: Path, make_describer: Any, index_path: Path, make_patchwork: Any,
    write_ortho: Any,
) -> None:  # fmt: skip
    from crossgeo.indexer.build import BuildOptions, build_index

    write_ortho(tmp_path / "ortho.tif", make_patchwork(2, 300))
    describer = make_describer()
    build_index([tmp_path / "ortho.tif"], tmp_path / "other.geo", describer.tiles, describer.identity, BuildOptions(gsd_m=0.5, tile_px=96))
    with pytest.raises(MismatchError, match=r"north: the index is generation 1, .* here, and generation 1, .*other\.geo"):
        run_batch(search, folder, tmp_path / "out.jsonl", OPTIONS, spread=Spread(inline, partial(open_search, tmp_path / "other.geo")))
    with pytest.raises(InputError, match=rf"north: {tmp_path}/none\.geo"):
        run_batch(search, folder, tmp_path / "out.jsonl", OPTIONS, spread=Spread(inline, partial(open_search, tmp_path / "none.geo")))


def test_nodes_whose_models_run_in_different_ways_do_not_answer_together(
    inline: InlineCluster, search: GeoSearch, index_path: Path, many: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("crossgeo.engine.batch.shard.runtimes_of", lambda search: f"torch on {inline.node}")
    with pytest.raises(MismatchError, match=r"south answers by torch on south, and north by torch on north; .*--runtime"):
        run_batch(search, many, tmp_path / "out.jsonl", OPTIONS, spread=Spread(inline, partial(open_search, index_path)))
