"""A build whose pieces are made elsewhere: the same index to the last byte, by whomever it was begun and is ended."""

from __future__ import annotations

import dataclasses
import random
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from inline_crew import InlineRunner, Killed, Shard, crew, stop_after
from s3 import KEYS, s3_server, url_of

from crossgeo import disk
from crossgeo.errors import InputError
from crossgeo.indexer import pieces, shards
from crossgeo.indexer.build import BuildOptions, build_index, grid_of
from crossgeo.indexer.manifest import Manifest
from crossgeo.indexer.progress import Progress
from crossgeo.indexer.shard_store import FolderStore, open_store
from crossgeo.indexer.shards import CutShard, DescribeShard
from crossgeo.indexer.spread import Crew
from crossgeo.indexer.verify import verify_index
from crossgeo.indexer.windows import windows_at
from crossgeo.indexer.workshop import Workshop


@pytest.mark.parametrize("storage", [None, "storage"])
def test_a_crew_builds_the_same_index_and_leaves_nothing(build: Any, tmp_path: Path, describe: Any, wanted: Manifest, storage: Any) -> None:
    runner = InlineRunner(describe)
    made = build(crew(runner, tmp_path, storage))
    assert (made.hash, made.segments) == (wanted.hash, wanted.segments)  # names and checksums of every file
    kinds = [name.split("-")[2] for name in runner.done]
    assert kinds.count("blocks") >= 3
    assert kinds.count("tiles") >= 6
    assert len(set(runner.done)) == len(runner.done)
    assert {p.name for p in (tmp_path / "a.geo").iterdir()} == {"CURRENT", "LOCK", "manifest-000001.json", "segments"}
    assert storage is None or not list((tmp_path / storage).iterdir())
    again = InlineRunner(describe)
    assert build(crew(again, tmp_path, storage)) == made
    assert again.done == []


def test_progress_counts_each_block_and_tile_once_and_says_who_works(
    tmp_path: Path, imagery: list[Path], describe: Any, identity: Any, masked: BuildOptions, wanted: Manifest
) -> None:
    seen: list[Progress] = []
    spoiled: list[str] = []

    def happens(when: str, shard: Shard, shop: Workshop) -> None:
        if when == "after" and isinstance(shard, DescribeShard) and not spoiled:
            spoiled.append(shard.name)
            (Path(shop.store.where) / shard.name).write_bytes(b"torn")

    runner = InlineRunner(describe, happens)
    build_index(imagery, tmp_path / "a.geo", Crew(runner), identity, masked, seen.append)
    for stage, total in (("imagery", None), ("describe", wanted.tiles)):
        done = [p.done for p in seen if p.stage == stage]
        assert done == sorted(done)
        assert done[-1] == next(p.total for p in seen if p.stage == stage)
        assert total is None or done[-1] == total
    assert {p.who for p in seen} == {"this process"}


@pytest.mark.parametrize("seed", range(3))
def test_killed_at_random_moments_and_gone_on_with_by_either_it_ends_alike(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    rng = random.Random(seed)
    for round_number in range(12):
        left = [rng.randrange(5, 90)]

        def dies(_: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] < 0:
                raise Killed

        work = crew(InlineRunner(describe), tmp_path, None) if rng.random() < 0.6 else describe
        monkeypatch.setattr(disk, "FAULT", dies if round_number < 11 else None)
        try:
            made = build(work)
        except Killed:
            continue
        finally:
            monkeypatch.setattr(disk, "FAULT", None)
        break
    assert (made.hash, made.segments) == (wanted.hash, wanted.segments)
    assert verify_index(tmp_path / "a.geo") == []
    assert {p.name for p in (tmp_path / "a.geo").iterdir()} == {"CURRENT", "LOCK", "manifest-000001.json", "segments"}


@pytest.mark.parametrize("kind", [CutShard, DescribeShard])
def test_what_a_crew_has_done_is_not_done_again_by_a_crew_or_by_one_process(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest, kind: Any
) -> None:
    calls = [0]

    def counting(tiles: Any) -> Any:
        calls[0] += len(tiles)
        return describe(tiles)

    for then in ("crew", "one process"):
        out = f"{then}.geo"
        first = InlineRunner(describe, stop_after(kind, 3))
        with pytest.raises(KeyboardInterrupt):
            build(crew(first, tmp_path, None), out)
        assert first.done
        second, calls[0] = InlineRunner(describe), 0
        made = build(crew(second, tmp_path, None) if then == "crew" else counting, out)
        assert made.hash == wanted.hash
        assert not set(first.done) & set(second.done)
        if then == "one process" and kind is DescribeShard:
            assert calls[0] < wanted.tiles  # and a batch to compare how tiles are described


def test_a_crew_goes_on_with_what_is_missing_before_what_is_there_is_read(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(crew(InlineRunner(describe, stop_after(DescribeShard, 4)), tmp_path))
    at_work, asked, get = threading.Event(), [], FolderStore.get

    def happens(when: str, shard: Shard, _: Workshop) -> None:
        if when == "before" and isinstance(shard, DescribeShard):
            at_work.set()

    def reads(store: FolderStore, name: str) -> bytes | None:
        if threading.current_thread() is threading.main_thread():
            asked.append(at_work.wait(30.0))
        return get(store, name)

    monkeypatch.setattr(FolderStore, "get", reads)
    assert build(crew(InlineRunner(describe, happens), tmp_path)).hash == wanted.hash
    assert asked
    assert all(asked)


def test_what_one_process_has_done_is_not_done_again_by_acrew(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces.Here, "overlaps", False)  # all blocks are cut when half of the tiles are described
    left = [wanted.tiles // 2]

    def stops(tiles: Any) -> Any:
        left[0] -= len(tiles)
        if left[0] < 0:
            raise KeyboardInterrupt
        return describe(tiles)

    whole = InlineRunner(describe)
    build(crew(whole, tmp_path), "whole.geo")
    with pytest.raises(KeyboardInterrupt):
        build(stops)
    runner = InlineRunner(describe)
    assert build(crew(runner, tmp_path)).hash == wanted.hash
    assert len(runner.done) < len(whole.done) / 2


def test_ranges_depend_on_how_much_there_is_and_hold_whole_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    assert shards.tiles_per_shard(100_000_000, 32) == 4096
    assert shards.tiles_per_shard(4_500, 32) == 256  # a town, for a few workers to share
    for tiles in (1, 5_000, 70_000, 10**7):
        for batch in (1, 7, 32, 600):
            assert shards.tiles_per_shard(tiles, batch) % (8 * batch) == 0


def test_tiles_are_given_every_shard_that_holds_a_pixel_of_them(options: BuildOptions) -> None:
    grid = grid_of(dataclasses.replace(options, gsd_m=0.2, tile_m=60.0))
    rng = np.random.default_rng(0)
    for stride_m in (15.0, 7.3):
        of_stride = dataclasses.replace(grid, stride_m=stride_m)
        tiles = rng.integers(-400, 400, (60, 2)).astype(np.int32)
        needed = {
            (bx, by)
            for window in windows_at(tiles * stride_m, grid.tile_m, grid.gsd_m)
            for by in range(window.row // 256, (window.row + window.px - 1) // 256 + 1)
            for bx in range(window.col // 256, (window.col + window.px - 1) // 256 + 1)
        }
        given = {(bx, by) for bx, by in shards._blocks_of(tiles, of_stride).tolist()}
        assert needed <= given
        assert len(given) < 1.2 * len(needed)


def test_storage_that_speaks_s3_serves_as_a_folder_does(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in KEYS.items():
        monkeypatch.setenv(name, value)
    with s3_server() as address:
        url = url_of(address)
        store = open_store(url)
        spoiled: list[str] = []

        def happens(when: str, shard: Shard, _: Workshop) -> None:
            if when == "after" and shard.name not in spoiled and len(spoiled) < 6:
                spoiled.append(shard.name)
                s3 = store._system
                with s3.open_output_stream(store._path(shard.name)) as stream:
                    stream.write(b"torn")

        with pytest.raises(KeyboardInterrupt):
            build(Crew(InlineRunner(describe, stop_after(DescribeShard, 3)), url))
        runner = InlineRunner(describe, happens)
        made = build(Crew(runner, url))
        assert (made.hash, made.segments) == (wanted.hash, wanted.segments)
        assert "blocks" not in {name.split("-")[2] for name in runner.done}  # they were there
        assert not any(store.sizes(name.split("/")[0]) for name in runner.done)
        store.put("b/c", b"12")
        assert (store.get("b/c"), store.get("b/d"), store.sizes("b"), store.sizes("d")) == (b"12", None, {"b/c": 2}, {})
        with pytest.raises(InputError, match=r"^s3://none/a/b.*there is no none") as caught:
            build(Crew(runner, url.replace("//shards", "//who:secret@none")), "b.geo")
        assert "secret" not in str(caught.value)
