"""Work ahead: in order, bounded, and over when the block is; builds read on while they describe."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from PIL import Image

from crossgeo.errors import InputError
from crossgeo.indexer import cutting, pieces
from crossgeo.indexer import described as describing
from crossgeo.indexer.ahead import WORKERS, ahead, collected
from crossgeo.indexer.build import build_index
from crossgeo.indexer.xyz import XyzSource

WAIT_S = 60.0


def workers() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("ahead")]


def test_pieces_come_in_order_however_long_each_takes() -> None:
    turns = [threading.Event() for _ in range(4)]

    def make(n: int) -> int:
        if n < 4:
            turns[n].wait(WAIT_S)  # the first ones end last
            if n > 0:
                turns[n - 1].set()
        return n * n

    turns[3].set()
    with ahead(make, range(50), workers=4) as made:
        assert list(made) == [n * n for n in range(50)]
    assert workers() == []


@pytest.mark.parametrize("count", [0, 1, 3])
def test_few_pieces_are_made_too(count: int) -> None:
    with ahead(str, range(count), workers=4) as made:
        assert list(made) == [str(n) for n in range(count)]


def test_no_more_than_some_pieces_wait() -> None:
    begun: list[int] = []
    taken = 0

    def items() -> Iterator[int]:
        for n in range(100):
            assert n - taken <= 2 * 3
            begun.append(n)
            yield n

    with ahead(lambda n: n, items(), workers=3) as made:
        assert begun == []
        for taken, n in enumerate(made, start=1):
            assert n == taken - 1
    assert begun == list(range(100))


def test_what_a_piece_raises_is_raised_at_its_turn() -> None:
    got: list[int] = []

    def make(n: int) -> int:
        if n >= 5:
            raise InputError(f"piece {n}")
        return n

    with pytest.raises(InputError, match="piece 5"), ahead(make, range(100), workers=4) as made:
        got.extend(made)
    assert got == [0, 1, 2, 3, 4]
    assert workers() == []


def test_after_an_interruption_nothing_runs_on() -> None:
    begun: list[int] = []
    with pytest.raises(KeyboardInterrupt), ahead(begun.append, range(1000), workers=2) as made:
        next(made)
        raise KeyboardInterrupt
    assert workers() == []
    assert len(begun) <= 1 + 2 * 2


@pytest.fixture
def wide(tmp_path: Path, write_raster: Any, paint: Any) -> Path:
    """Imagery of several blocks and many batches."""
    path: Path = write_raster(tmp_path / "wide.tif", paint(700, 900))
    return path


def test_tiles_are_read_while_a_batch_is_described(
    tmp_path: Path, wide: Path, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, described, further = 0, 0, threading.Condition()
    reads = describing.read_windows

    def count(*args: Any) -> Any:
        nonlocal read
        out = reads(*args)
        with further:
            read += 1
            further.notify_all()
        return out

    def waiting(tiles: Any) -> Any:
        nonlocal described
        described += 1
        if described == 2:
            with further:
                assert further.wait_for(lambda: read > 2, WAIT_S), "nothing is read before a batch is described"
        return describe(tiles)

    monkeypatch.setattr(describing, "read_windows", count)
    manifest = build_index([wide], tmp_path / "a.geo", waiting, identity, options)
    assert described == -(-manifest.tiles // options.batch) > 10
    assert described <= read <= described + 2 * WORKERS  # what was read ahead when the last block was cut is read once more


def test_the_caller_describes_in_its_own_thread(tmp_path: Path, wide: Path, describe: Any, identity: Any, options: Any) -> None:
    seen = set()

    def own(tiles: Any) -> Any:
        seen.add(threading.current_thread())
        return describe(tiles)

    build_index([wide], tmp_path / "a.geo", own, identity, options)
    assert seen == {threading.current_thread()}


@pytest.mark.parametrize("stage", ["cut", "describe"])
def test_a_build_that_fails_or_is_interrupted_in_either_stage_goes_on(
    tmp_path: Path, wide: Path, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    monkeypatch.setattr(pieces, "BLOCKS_PER_PIECE", 2)
    monkeypatch.setattr(describing, "BATCHES_PER_PIECE", 2)
    wanted = build_index([wide], tmp_path / "wanted.geo", describe, identity, options).hash
    for error in (InputError("a bad tile"), KeyboardInterrupt()):
        calls, out = [0], tmp_path / f"{type(error).__name__}.geo"

        def failing(does: Any, calls: list[int] = calls, error: BaseException = error) -> Any:
            def run(*args: Any) -> Any:
                calls[0] += 1
                if calls[0] == 6:
                    raise error
                return does(*args)

            return run

        with monkeypatch.context() as patched:
            if stage == "cut":
                patched.setattr(cutting, "encode_block", failing(cutting.encode_block))
            with pytest.raises(type(error)):
                build_index([wide], out, describe if stage == "cut" else failing(describe), identity, options)
        assert workers() == []
        kept = list((out / "work").rglob("00000*"))
        assert kept, "what was done before is kept"
        assert build_index([wide], out, describe, identity, options).hash == wanted


def test_sources_read_by_several_threads_and_closed_between_give_the_same_pixels(
    tmp_path: Path, write_raster: Any, paint: Any, describe: Any, identity: Any, options: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    rgb = paint(600, 800)
    for n in range(6):  # columns of imagery, opened and closed as the build moves on
        part = np.ascontiguousarray(rgb[:, n * 120 : (n + 1) * 120 + 40])
        write_raster(tmp_path / f"{n}.tif", part, affine=Affine(0.5, 0.0, 353400.0 + 60.0 * n, 0.0, -0.5, 3058000.0), tiled=True)
    sources = sorted(tmp_path.glob("*.tif"))
    one = dataclasses.replace(options, batch=8)
    monkeypatch.setattr(pieces, "BLOCKS_PER_PIECE", 1)
    many = build_index(sources, tmp_path / "many.geo", describe, identity, one)

    def in_turn(make: Any, items: Any) -> Any:
        return ahead(make, items, workers=1)

    monkeypatch.setattr(pieces, "ahead", in_turn)
    assert build_index(sources, tmp_path / "one.geo", describe, identity, one).hash == many.hash


def test_a_tile_that_several_threads_want_is_decoded_once(tmp_path: Path, paint: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.fromarray(paint(256, 256)).save(tmp_path / "a-386683-220234-19.png")
    decoded: list[Any] = []
    decode = XyzSource._decode

    def count(self: XyzSource, key: Any) -> Any:
        decoded.append(key)
        return decode(self, key)

    monkeypatch.setattr(XyzSource, "_decode", count)
    source = XyzSource(tmp_path)
    x0, y0, x1, y1 = source.bounds
    with ahead(lambda _: source.read(source.crs, (x0, y0, x1, y1), (64, 64)), range(16), workers=8) as made:
        pictures = [rgb for rgb, _ in made]
    assert len(decoded) == 1
    assert all(np.array_equal(pictures[0], other) for other in pictures)


def test_what_comes_is_collected_while_nobody_asks() -> None:
    stop, came = threading.Event(), threading.Event()
    ended: list[str] = []

    def items() -> Generator[int, None, None]:
        try:
            yield 1
            yield 2
            came.set()
            stop.wait(WAIT_S)
        finally:
            ended.append(threading.current_thread().name)

    with collected(items(), stop) as found:
        assert came.wait(WAIT_S)
        assert (next(found), next(found)) == (1, 2)
    assert ended == ["collected"]


def test_what_a_collected_generator_raises_comes_in_its_turn() -> None:
    def items() -> Generator[int, None, None]:
        yield 1
        raise KeyboardInterrupt

    with collected(items(), threading.Event()) as found:
        assert next(found) == 1
        with pytest.raises(KeyboardInterrupt):
            next(found)
    with collected(iter_of(2), threading.Event()) as found:
        assert list(found) == [0, 1]


def iter_of(count: int) -> Generator[int, None, None]:
    yield from range(count)
