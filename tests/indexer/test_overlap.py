"""The stages of a build at once: the next ground is cut and the last tiles are written while tiles are described."""

from __future__ import annotations

import dataclasses
import sys
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import numpy as np
import pytest

from crossgeo.errors import InputError
from crossgeo.indexer import ahead as ahead_of
from crossgeo.indexer import cutting, pieces
from crossgeo.indexer import described as describing
from crossgeo.indexer import early as early_tiles
from crossgeo.indexer.ahead import collected, while_made
from crossgeo.indexer.build import build_index
from crossgeo.indexer.index import GeoIndex
from crossgeo.indexer.journal import Journal
from crossgeo.indexer.progress import Progress

WAIT_S = 60.0


def running() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(("ahead", "while-made"))]


def test_items_are_used_in_order_in_another_thread_and_few_wait() -> None:
    made, used = 0, 0
    names: list[str] = []

    def items() -> Iterator[int]:
        nonlocal made
        for n in range(50):
            assert n - used <= 4  # two wait, one is in use and one at hand
            made += 1
            yield n

    def use(given: Iterator[int]) -> int:
        nonlocal used
        names.append(threading.current_thread().name)
        total = 0
        for used, n in enumerate(given):
            assert n == used
            total += n
        return total

    assert while_made(items(), use) == sum(range(50))
    assert made == 50 and names == ["while-made"] and running() == []


def test_what_use_raises_ends_making_and_what_making_raises_ends_use() -> None:
    def use(given: Iterator[int]) -> None:
        assert next(given) == 0
        raise InputError("a full disk")

    made: list[int] = []
    with pytest.raises(InputError, match="full disk"):
        while_made((made.append(n) or n for n in range(1000)), use)
    assert len(made) < 1000

    got: list[int] = []
    closed: list[bool] = []

    def keep(given: Iterator[int]) -> None:
        try:
            got.extend(given)
        except Exception:  # as those do who take what goes wrong for a fault of a file
            raise AssertionError from None
        finally:
            closed.append(True)

    def broken() -> Iterator[int]:
        yield from range(5)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        while_made(broken(), keep)
    assert got == [0, 1, 2, 3, 4] and closed == [True] and running() == []
    assert while_made(range(9), next) == 0  # which wants no more than one


def interrupted_at(step: int, run: Any) -> bool:
    """Run with a KeyboardInterrupt at the n-th line that this thread comes to in the pipeline's module; say whether it came."""
    came = 0

    def at(frame: FrameType, event: str, _: Any) -> Any:
        nonlocal came
        if frame.f_code.co_filename != ahead_of.__file__:
            return None
        if event == "line":
            came += 1
            if came == step + 1:
                raise KeyboardInterrupt
        return at

    before = sys.gettrace()
    sys.settrace(at)
    try:
        run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def run_while_made() -> None:
    while_made(iter(range(4)), list)


def run_collected() -> None:
    stop = threading.Event()

    def items() -> Generator[int, None, None]:
        yield from range(3)
        stop.wait(WAIT_S)

    with collected(items(), stop) as found:
        next(found)


@pytest.mark.parametrize(("run", "name"), [(run_while_made, "while-made"), (run_collected, "collected")])
def test_an_interruption_at_any_line_leaves_no_thread_waiting(run: Any, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[threading.Thread] = []
    start = threading.Thread.start

    def kept(thread: threading.Thread) -> None:
        start(thread)
        if thread.name == name:
            begun.append(thread)

    def ended() -> bool:
        for thread in begun:
            thread.join(WAIT_S)
        return not any(thread.is_alive() for thread in begun)

    monkeypatch.setattr(threading.Thread, "start", kept)
    step = 0
    while interrupted_at(step, run):
        assert ended(), f"a thread waits for ever after an interruption at line {step}"
        step += 1
    assert step > 10 and begun

    def begun_and_interrupted(thread: threading.Thread) -> None:
        kept(thread)
        raise KeyboardInterrupt

    monkeypatch.setattr(threading.Thread, "start", begun_and_interrupted)  # which waits for the thread to have begun
    with pytest.raises(KeyboardInterrupt):
        run()
    assert ended()


def test_the_next_area_is_cut_while_one_is_described_and_the_index_is_the_same(
    tmp_path: Path, ortho: Path, far_ortho: Path, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = build_index([ortho, far_ortho], tmp_path / "wanted.geo", describe, identity, options)
    described, far_cut, cut = threading.Event(), threading.Event(), cutting.Cutter.cut

    def later(cutter: cutting.Cutter, block: Any) -> bytes:
        if cutter.crs.to_epsg() == 32737:
            assert described.wait(WAIT_S), "the next area waits for nothing but the one that is cut"
            far_cut.set()
        return cut(cutter, block)

    def slowly(tiles: Any) -> Any:
        described.set()
        assert far_cut.wait(WAIT_S), "nothing is cut while tiles are described"
        return describe(tiles)

    monkeypatch.setattr(cutting.Cutter, "cut", later)
    monkeypatch.setattr(pieces.Here, "describe_early", lambda here, site: None)  # of the first area, which would wait for the next
    seen: list[Progress] = []
    made = build_index([ortho, far_ortho], tmp_path / "a.geo", slowly, identity, options, seen.append)
    assert made.hash == wanted.hash
    stages = [at.stage for at in seen]
    assert stages == sorted(stages, reverse=True)  # imagery, then tiles
    tiles = [at for at in seen if at.stage == "describe"]
    assert [at.done for at in tiles] == sorted(at.done for at in tiles) and [at.total for at in tiles] == sorted(at.total for at in tiles)
    assert tiles[0].total == wanted.segments[0].tiles and "blocks read" in tiles[0].who
    assert (tiles[-1].done, tiles[-1].total, tiles[-1].who) == (wanted.tiles, wanted.tiles, "")
    assert running() == []


@pytest.mark.parametrize("error", [InputError("a bad tile"), KeyboardInterrupt()])
def test_ground_that_cannot_be_cut_ends_what_is_described_and_the_build_goes_on(
    tmp_path: Path, ortho: Path, far_ortho: Path, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch,
    error: BaseException,
) -> None:  # fmt: skip
    wanted = build_index([ortho, far_ortho], tmp_path / "wanted.geo", describe, identity, options)
    described, failed, cut = threading.Event(), threading.Event(), cutting.Cutter.cut
    batches = 0

    def failing(cutter: cutting.Cutter, block: Any) -> bytes:
        if cutter.crs.to_epsg() == 32737:
            assert described.wait(WAIT_S)
            failed.set()
            raise error
        return cut(cutter, block)

    def counted(tiles: Any) -> Any:
        nonlocal batches
        batches += 1
        described.set()
        assert failed.wait(WAIT_S)
        for thread in threading.enumerate():
            if thread.name.startswith("ahead") and thread is not threading.current_thread():
                thread.join(0.05)
        return describe(tiles)

    with monkeypatch.context() as patched:
        patched.setattr(cutting.Cutter, "cut", failing)
        patched.setattr(pieces.Here, "describe_early", lambda here, site: None)  # of the first area, which would wait for the next
        with pytest.raises(type(error)):
            build_index([ortho, far_ortho], tmp_path / "a.geo", counted, identity, options)
    assert running() == []
    assert 1 <= batches < wanted.tiles / options.batch / 2, "what is wrong with the last source shows early"
    assert build_index([ortho, far_ortho], tmp_path / "a.geo", describe, identity, options).hash == wanted.hash


def test_the_journal_is_written_while_the_next_tiles_are_described(
    tmp_path: Path, ortho: Path, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describing, "BATCHES_PER_PIECE", 1)
    wanted = build_index([ortho], tmp_path / "wanted.geo", describe, identity, options)
    put, batches, further = Journal.put, 0, threading.Condition()
    writers: set[threading.Thread] = set()

    def late(journal: Journal, name: str, payload: bytes) -> None:
        if name.endswith("descriptors/000001"):
            with further:
                assert further.wait_for(lambda: batches > 2, WAIT_S), "nothing is described while a piece is written"
        if "descriptors" in name:
            writers.add(threading.current_thread())
        put(journal, name, payload)

    def counted(tiles: Any) -> Any:
        nonlocal batches
        with further:
            batches += 1
            further.notify_all()
        return describe(tiles)

    monkeypatch.setattr(Journal, "put", late)
    assert build_index([ortho], tmp_path / "a.geo", counted, identity, options).hash == wanted.hash
    assert {thread.name for thread in writers} == {"while-made"}


@pytest.mark.parametrize("rules", [{}, {"sparse_below": 30.0, "min_contrast": 2.0}, {"stride_m": 7.0, "min_valid": 0.2}])
def test_the_first_tiles_are_described_before_the_last_blocks_are_cut_and_the_index_is_the_same(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch,
    rules: dict[str, Any],
) -> None:  # fmt: skip
    monkeypatch.setattr(describing, "BATCHES_PER_PIECE", 2)
    monkeypatch.setattr(pieces, "BLOCKS_PER_PIECE", 3)
    tall = write_raster(tmp_path / "tall.tif", paint(1500, 700))
    chosen = dataclasses.replace(options, **rules)
    with monkeypatch.context() as patched:
        patched.setattr(pieces.Here, "describe_early", lambda here, site: None)
        wanted = build_index([tall], tmp_path / "wanted.geo", describe, identity, chosen)
    cut, described, early = cutting.Cutter.cut, threading.Event(), []
    rows = [0]

    def last_waits(cutter: cutting.Cutter, block: Any) -> bytes:
        rows[0] = max(rows[0], block[1])
        if block[1] == south:
            assert described.wait(WAIT_S), "nothing is described before all is cut"
        return cut(cutter, block)

    def seen(tiles: Any) -> Any:
        if not described.is_set():
            early.append(len(tiles))
            described.set()
        return describe(tiles)

    with GeoIndex.open(tmp_path / "wanted.geo") as index:
        south = max(by for part in index.zones[0].parts if part.store is not None for _, by in part.store.blocks())
    monkeypatch.setattr(cutting.Cutter, "cut", last_waits)
    made = build_index([tall], tmp_path / "a.geo", seen, identity, chosen)
    assert early and made.hash == wanted.hash and running() == []


def test_tiles_that_turn_out_to_be_others_are_described_anew(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describing, "BATCHES_PER_PIECE", 1)
    monkeypatch.setattr(pieces, "BLOCKS_PER_PIECE", 3)
    tall = write_raster(tmp_path / "tall.tif", paint(1500, 700))
    wanted = build_index([tall], tmp_path / "wanted.geo", describe, identity, options)
    monkeypatch.setattr(early_tiles, "with_content", lambda blocks, tiles, g: tiles[1:])
    assert build_index([tall], tmp_path / "a.geo", describe, identity, options).hash == wanted.hash


def test_a_device_is_given_whole_pieces_of_the_first_tiles_too(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(describing, "BATCHES_PER_PIECE", 2)
    monkeypatch.setattr(pieces, "BLOCKS_PER_PIECE", 3)
    tall = write_raster(tmp_path / "tall.tif", paint(1500, 700))
    wanted = build_index([tall], tmp_path / "wanted.geo", describe, identity, options)
    sizes: list[int] = []

    class Device:
        def __call__(self, tiles: Any) -> Any:
            raise AssertionError("batches may come to other last digits than pieces")

        def stream(self, given: Any) -> Iterator[Any]:
            for batches in given:
                tiles = np.concatenate(batches)
                sizes.append(len(tiles))
                yield describe(tiles)

    assert build_index([tall], tmp_path / "a.geo", Device(), identity, options).hash == wanted.hash
    assert set(sizes[:-1]) == {2 * options.batch} and sum(sizes) == wanted.tiles
