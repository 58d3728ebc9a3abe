"""Generations that take over while questions are asked: each answer is of one generation, and none is lost or left open."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from crossgeo.engine.answering import Answering
from crossgeo.engine.live import LiveSearch
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError, MismatchError, UsageError
from crossgeo.indexer.build import BuildOptions, build_index
from crossgeo.indexer.generations import roll_back
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.manifest import ModelIdentity

WAIT_S = 60.0
Opened = Callable[[Path], GeoSearch]
Build = Callable[[Path, int], None]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory, make_describer: Any, make_patchwork: Any, write_ortho: Any) -> Build:
    """How to build an index of ground that only its seed tells, over what is there."""
    folder, describer = tmp_path_factory.mktemp("seeds"), make_describer()

    def build(out: Path, seed: int) -> None:
        path = folder / f"{seed}.tif"
        write_ortho(path, make_patchwork(seed, 200))
        build_index([path], out, describer.tiles, describer.identity, BuildOptions(gsd_m=0.5, tile_px=96, overwrite=True))

    return build


@pytest.fixture
def index(tmp_path: Path, built: Build) -> Path:
    built(tmp_path / "live.geo", 1)
    return tmp_path / "live.geo"


@pytest.fixture
def opening(make_describer: Any) -> Opened:
    return lambda path: GeoSearch(GeoIndex.open(path), make_describer())


def seen(search: GeoSearch) -> tuple[int, bytes]:
    """A generation's number and what its imagery shows, read after it, so that a mixture would show."""
    segment = search.index.segments[0]
    x, y = search.index.centres.mean(axis=0).tolist()
    return search.index.generation, search.index.read_window(segment, x, y, 30.0, 32)[0].tobytes()


def test_every_answer_is_of_one_generation_while_others_are_published(index: Path, built: Build, opening: Opened) -> None:
    truth: dict[int, bytes] = {}
    with LiveSearch(index, opening, every_s=0.01) as live, Answering(live, workers=4, max_waiting=1000) as answering:
        answers: list[Any] = []
        for seed in range(2, 6):
            with opening(index) as now:
                truth.update([seen(now)])
            answers += [answering.run(seen) for _ in range(20)]
            built(index, seed)
        with opening(index) as now:
            truth.update([seen(now)])
            newest = now.index.generation
        while live.stats().generation != newest:
            assert live.stats().trouble is None or answers[-1].done()
        answers.append(answering.run(seen))
        found = [answer.result(WAIT_S) for answer in answers]
        stats = live.stats()
    assert all(truth[generation] == pixels for generation, pixels in found)
    assert len(set(truth.values())) == 5
    assert found[0][0] == 1
    assert found[-1][0] == newest
    assert (stats.draining, stats.trouble) == (0, None)
    assert stats.opened >= 2


def test_a_generation_stays_open_until_its_last_user_leaves(index: Path, built: Build, opening: Opened) -> None:
    with LiveSearch(index, opening, every_s=None) as live:
        assert not live.refresh()
        with live.current() as old, live.current():
            built(index, 2)
            assert live.refresh()
            with live.current() as new:
                assert new.index.generation == old.index.generation + 1
                assert live.stats().users == 3
            assert seen(old)[0] == old.index.generation
            assert (live.stats().draining, live.stats().opened) == (1, 2)
        assert (live.stats().draining, live.stats().users) == (0, 0)
        with pytest.raises(UsageError, match="closed"):
            seen(old)
        roll_back(index)
        assert live.refresh()
        assert live.stats().generation == old.index.generation
        with live.current() as last:
            pass
    with pytest.raises(UsageError, match="closed"):
        seen(last)
    with pytest.raises(UsageError, match="closed"), live.current():
        pass


def test_a_newer_generation_that_does_not_open_leaves_the_old_one_answering(index: Path, built: Build, opening: Opened) -> None:
    with LiveSearch(index, opening, every_s=None) as live:
        built(index, 2)
        whole = (index / "CURRENT").read_bytes()
        for path in (index / "segments").glob("*/descriptors.h5"):
            path.rename(path.with_suffix(".away"))
        assert not live.refresh()
        assert "descriptors.h5" in (live.stats().trouble or "")
        with live.current() as search:
            assert seen(search)[0] == 1
        for path in (index / "segments").glob("*/descriptors.away"):
            path.rename(path.with_suffix(".h5"))
        (index / "CURRENT").write_bytes(b"torn")
        assert not live.refresh()
        assert "CURRENT" in (live.stats().trouble or "")
        (index / "CURRENT").write_bytes(whole)
        assert live.refresh()
        assert (live.stats().generation, live.stats().trouble) == (2, None)


def test_an_index_of_another_model_does_not_take_over(
    index: Path, opening: Opened, tmp_path: Path, make_describer: Any, make_patchwork: Any, write_ortho: Any
) -> None:
    describer = make_describer()
    with LiveSearch(index, opening, every_s=None) as live:
        write_ortho(tmp_path / "other.tif", make_patchwork(3, 200))
        other = ModelIdentity("others", "1" * 64, "view")
        build_index([tmp_path / "other.tif"], index, describer.tiles, other, BuildOptions(gsd_m=0.5, tile_px=96, overwrite=True))
        assert not live.refresh()
        assert "others" in (live.stats().trouble or "")
        with live.current() as search, pytest.raises(MismatchError):
            search.renewed()


def test_what_is_warmed_takes_over_only_then_and_a_warming_that_fails_is_no_swap(index: Path, built: Build, opening: Opened) -> None:
    warmed: list[GeoSearch] = []

    def warm(search: GeoSearch) -> None:
        if warmed:
            assert live.stats().generation == warmed[-1].index.generation
        warmed.append(search)
        if len(warmed) == 2:
            raise InputError("the photo to warm with is gone")

    with LiveSearch(index, opening, warm, every_s=None) as live:
        built(index, 2)
        assert not live.refresh()
        assert "gone" in (live.stats().trouble or "")
        with pytest.raises(UsageError, match="closed"):
            seen(warmed[1])
        warmed.pop()
        warmed.append(warmed[0])
        assert live.refresh()
    assert len(warmed) == 3


def test_a_bug_in_an_opening_is_said_and_later_ones_are_tried(
    index: Path, built: Build, opening: Opened, caplog: pytest.LogCaptureFixture
) -> None:
    failed, go_on = threading.Event(), threading.Event()

    def warm(search: GeoSearch) -> None:
        if search.index.generation > 1 and not go_on.is_set():
            failed.set()
            raise MemoryError("no room for the rows")

    with LiveSearch(index, opening, warm, every_s=0.01) as live:
        built(index, 2)
        assert failed.wait(WAIT_S)
        until = time.monotonic() + WAIT_S
        while live.stats().trouble != "MemoryError: no room for the rows":
            assert time.monotonic() < until
        assert live.stats().generation == 1
        go_on.set()
        while live.stats().generation == 1:
            assert time.monotonic() < until
        assert live.stats().trouble is None
    assert "a newer generation could not be opened" in caplog.text


def test_what_is_kept_of_cells_goes_on_to_the_next_generation(index: Path, opening: Opened) -> None:
    search = opening(index)
    cells = search.matchers["drone"].fine.cells
    cells.describe(search.index.segments[0], [(10_000, 10_000)])
    kept = search.metrics()["cells"]["misses"]
    other = search.renewed()
    search.close()
    other.matchers["drone"].fine.cells.describe(other.index.segments[0], [(10_000, 10_000)])
    assert other.metrics()["cells"]["misses"] == kept
    assert other.metrics()["cells"]["hits"] == 1
    other.close()
    assert other.metrics()["cells"]["memory_bytes"] == 0


def test_closing_waits_for_who_is_still_asking(index: Path, opening: Opened) -> None:
    live = LiveSearch(index, opening, every_s=None)
    closed = threading.Event()
    with live.current() as search:
        closing = threading.Thread(target=lambda: (live.close(), closed.set()))
        closing.start()
        while live.stats().generation != -1:
            pass
        assert not closed.is_set()
        assert seen(search)[0] == 1
    closing.join(WAIT_S)
    assert closed.is_set()


def test_a_folder_that_is_no_index_is_refused_at_once(tmp_path: Path, opening: Opened) -> None:
    with pytest.raises(InputError, match="is not there"):
        LiveSearch(tmp_path / "none.geo", opening)
