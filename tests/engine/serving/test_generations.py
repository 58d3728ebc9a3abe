"""Generations of a spread index: a newer one takes over once its rows answer, shares what has not changed, and lets go of the rest."""

from __future__ import annotations

import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from gated_cluster import GatedCluster

from crossgeo.engine.answering import Answering
from crossgeo.engine.live import LiveSearch
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.serving.rows import OnShelf
from crossgeo.engine.serving.shelf import ShardOptions, Shelf
from crossgeo.errors import InputError
from crossgeo.indexer.add import AddOptions, add_to_index
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.descriptor_store import DescriptorRows
from crossgeo.indexer.generations import roll_back
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity
from crossgeo.indexer.shelf_use import SUPERSEDED_S, UNUSED_S

ASKED: dict[str, Any] = {"heading_deg": 0.0, "height_m": 50.0, "fov_deg": 62.0}


@pytest.fixture
def cluster() -> Iterator[GatedCluster]:
    with GatedCluster() as opened:
        yield opened


@pytest.fixture
def path(index_path: Path, tmp_path: Path) -> Path:
    shutil.copytree(index_path, tmp_path / "live.geo")
    return tmp_path / "live.geo"


@pytest.fixture
def add(path: Path, tmp_path: Path, make_describer: Any, make_patchwork: Any, write_ortho: Any) -> Callable[..., None]:
    """How to change the north-west of the index."""

    def added(seed: int, keep: int = 0) -> None:
        write_ortho(tmp_path / f"{seed}.tif", make_patchwork(seed, 80))
        describer = make_describer()
        add_to_index([tmp_path / f"{seed}.tif"], path, describer.tiles, describer.identity, AddOptions(over=True, keep=keep))

    return added


def made(path: Path) -> set[str]:
    return {folder.name for folder in (path / "shards").glob("a-*")}


def unused_for(seconds: float, path: Path) -> None:
    """Give what lies on the shelf the time of so long ago."""
    at = time.time() - seconds
    for one in (path / "shards").rglob("*"):
        os.utime(one, (at, at))


def test_a_new_generation_shares_areas_that_have_not_changed_and_closes_the_others(
    path: Path, cluster: GatedCluster, add: Callable[..., None], make_describer: Any
) -> None:
    with Shelf(cluster, ShardOptions(tiles=40)) as shelf:
        opener = OnShelf(shelf)
        with LiveSearch(path, lambda at: GeoSearch(GeoIndex.open(at, opener), make_describer()), every_s=None) as live:
            first, started = made(path), len(cluster.actors)
            assert started == 2 * len(first)
            with live.current() as old:
                add(5)
                assert live.refresh(), live.stats().trouble
                both = made(path)
                assert first < both, "the old one still answers"
                assert 0 < len(cluster.actors) - started < started, "areas that have not changed are shared"
                want = old.index.descriptors(list(range(len(old.index))))
                assert want.any(axis=1).all()
            shelf.tidy()
            assert made(path) == both, "who else uses them, or goes back to them, is given time"
            unused_for(SUPERSEDED_S + 60.0, path)
            shelf.tidy()
            kept = made(path)
            assert len(kept) == len(first)
            assert kept != first
            assert kept < both
            assert {actor.context.name for actor in cluster.actors if not actor.closed} == kept
            with live.current() as new:
                assert new.index.descriptors(list(range(len(new.index)))).any(axis=1).all()
        assert made(path) == kept, "the next start finds what is served now"
        assert all(actor.closed for actor in cluster.actors)


def test_one_service_leaves_another_the_areas_that_it_uses(
    path: Path, cluster: GatedCluster, add: Callable[..., None], make_describer: Any
) -> None:
    with Shelf(cluster, ShardOptions(tiles=40, replicas=1)) as shelf, Shelf(cluster, ShardOptions(tiles=40, replicas=1)) as other:
        live, slow = (
            LiveSearch(path, lambda at, rows=OnShelf(own): GeoSearch(GeoIndex.open(at, rows), make_describer()), every_s=None)
            for own in (shelf, other)
        )
        first = made(path)
        add(5)
        assert live.refresh()
        both = made(path)
        unused_for(UNUSED_S + 60.0, path)
        shelf.tidy()
        assert made(path) == both, "the other one answers from the old ones, which its processes may have to read again"
        assert slow.refresh()
        unused_for(SUPERSEDED_S + 60.0, path)
        shelf.tidy()
        assert made(path) == both, "it has not said yet that it does without them"
        slow.close()
        other.tidy()
        unused_for(SUPERSEDED_S + 60.0, path)
        shelf.tidy()
        assert first - made(path) == both - made(path) != set()
        live.close()


def test_areas_of_a_generation_that_was_gone_back_to_stay(
    path: Path, cluster: GatedCluster, add: Callable[..., None], make_describer: Any
) -> None:
    with Shelf(cluster, ShardOptions(tiles=40, replicas=1)) as shelf:
        opener = OnShelf(shelf)
        with LiveSearch(path, lambda at: GeoSearch(GeoIndex.open(at, opener), make_describer()), every_s=None) as live:
            first = made(path)
            add(5, keep=1)
            assert live.refresh()
            unused_for(SUPERSEDED_S + 60.0, path)
            roll_back(path)
            assert live.refresh(), live.stats().trouble
            shelf.tidy()
            assert first <= made(path)
            unused_for(SUPERSEDED_S + 60.0, path)
            shelf.tidy()
            assert made(path) == first


def test_what_nobody_has_used_for_long_goes_and_what_a_failed_opening_made_stays_for_the_next(
    path: Path, cluster: GatedCluster, add: Callable[..., None], make_describer: Any
) -> None:
    def warm(search: GeoSearch) -> None:
        if search.index.generation == 2 and failing:
            raise InputError("the photo to warm with is gone")

    failing = True
    with Shelf(cluster, ShardOptions(tiles=40, replicas=1)) as shelf:
        opener = OnShelf(shelf)
        with LiveSearch(path, lambda at: GeoSearch(GeoIndex.open(at, opener), make_describer()), warm, every_s=None) as live:
            for name in ("a-older", "a-older.part", "of a user"):
                (path / "shards" / name).mkdir()
            (path / "shards" / "u-ended").write_text("a-older\n")
            unused_for(UNUSED_S + 60.0, path)
            (path / "shards" / "a-younger").mkdir()
            first = made(path) - {"a-older", "a-older.part"}
            add(5)
            assert not live.refresh()
            stamps = {folder: (folder / "made").stat().st_ino for folder in (path / "shards").glob("a-*/") if (folder / "made").exists()}
            assert len(stamps) > len(first) - 1
            shelf.tidy()
            assert made(path) == first | {folder.name for folder in stamps}
            failing = False
            assert live.refresh()
            assert {folder: (folder / "made").stat().st_ino for folder in stamps} == stamps, "made once"
        assert (path / "shards" / "of a user").exists()
    assert not list((path / "shards").glob("u-*"))


def test_a_generation_whose_rows_do_not_open_leaves_the_old_one_answering(
    path: Path, cluster: GatedCluster, add: Callable[..., None], make_describer: Any
) -> None:
    with Shelf(cluster, ShardOptions(tiles=40, start_s=60.0)) as shelf:
        opener = OnShelf(shelf)
        with LiveSearch(path, lambda at: GeoSearch(GeoIndex.open(at, opener), make_describer()), every_s=None) as live:
            first = made(path)
            before = set(path.rglob("segments/*/descriptors.h5"))
            add(6)
            (stored,) = set(path.rglob("segments/*/descriptors.h5")) - before
            with DescriptorRows(stored) as rows:
                row = rows.read(3, 4).tobytes()
            data = bytearray(stored.read_bytes())
            data[data.index(row)] ^= 1
            stored.write_bytes(data)
            assert not live.refresh()
            assert "descriptors.h5" in (live.stats().trouble or "")
            with live.current() as search:
                assert search.index.generation == 1
                assert search.index.descriptors(list(range(len(search.index)))).any(axis=1).all()
            assert {actor.context.name for actor in cluster.actors if not actor.closed} == first


def test_nothing_is_made_of_a_generation_of_another_model(
    path: Path, cluster: GatedCluster, tmp_path: Path, make_describer: Any, make_patchwork: Any, write_ortho: Any
) -> None:
    with Shelf(cluster, ShardOptions(tiles=40)) as shelf:
        opener = OnShelf(shelf)
        with LiveSearch(path, lambda at: GeoSearch(GeoIndex.open(at, opener), make_describer()), every_s=None) as live:
            first, started = made(path), len(cluster.actors)
            write_ortho(tmp_path / "other.tif", make_patchwork(9, 80))
            other = ModelIdentity("others", "1" * 64, "view")
            build_index([tmp_path / "other.tif"], path, make_describer().tiles, other, BuildOptions(gsd_m=0.5, tile_px=96, overwrite=True))
            assert not live.refresh()
            assert "others" in (live.stats().trouble or "")
            assert (made(path), len(cluster.actors)) == (first, started), "each try would make it anew"


def test_answers_are_complete_or_flagged_through_deaths_and_generations(
    path: Path, cluster: GatedCluster, add: Callable[..., None], make_describer: Any, ground: Any
) -> None:
    photo = ground.photo(363_200.0, 3_057_400.0, 0.0, 60.0)
    truth: dict[int, list[Any]] = {}
    stop = threading.Event()

    def plain() -> None:
        with GeoSearch(GeoIndex.open(path), make_describer()) as search:
            truth[search.index.generation] = [place.to_json() for place in search.query(photo, **ASKED).places]

    def disturb() -> None:
        number = 0
        while not stop.wait(0.05):
            actors = [actor for actor in list(cluster.actors) if not actor.closed]
            dying = actors[number % len(actors)]
            dying.kill()
            time.sleep(0.1)
            if not dying.closed:
                dying.come_back()
            number += 3

    plain()
    with Shelf(cluster, ShardOptions(tiles=100, deadline_s=0.4)) as shelf:
        opener = OnShelf(shelf)
        with (
            LiveSearch(path, lambda at: GeoSearch(GeoIndex.open(at, opener), make_describer()), every_s=0.02) as live,
            Answering(live, workers=2, max_waiting=100) as answering,
        ):
            disturbing = threading.Thread(target=disturb)
            disturbing.start()
            answers = [answering.submit(photo, options=BatchOptions(**ASKED)) for _ in range(12)]
            add(7)
            plain()
            end = time.monotonic() + 60
            while live.stats().generation < 2 and time.monotonic() < end:
                time.sleep(0.02)
            answers += [answering.submit(photo, options=BatchOptions(**ASKED)) for _ in range(12)]
            found = [answer.result(60) for answer in answers]
            stop.set()
            disturbing.join()
            assert live.stats().generation == 2, live.stats().trouble
    assert {answer.generation for answer in found} == {1, 2}
    for answer in found:
        if answer.partial:
            assert answer.status in ("low_confidence", "outside_coverage")
        else:
            assert [place.to_json() for place in answer.places] == truth[answer.generation]
