"""What is lost, damaged, late, different or full while others make the pieces of a build."""

from __future__ import annotations

import errno
import os
import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from inline_crew import InlineRunner, Shard, crew, other_digits, stop_after

from crossgeo import disk
from crossgeo.errors import GeoError, InputError, LimitError, MismatchError, UsageError
from crossgeo.indexer import files
from crossgeo.indexer.build import build_index
from crossgeo.indexer.manifest import Manifest
from crossgeo.indexer.shards import CutShard, DescribeShard
from crossgeo.indexer.spread import Crew
from crossgeo.indexer.workshop import Workshop


def test_damaged_and_missing_shards_are_made_again(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    spoiled: set[str] = set()

    def happens(when: str, shard: Shard, _: Workshop) -> None:
        path = tmp_path / "storage" / shard.name
        if when == "after" and shard.name not in spoiled:
            spoiled.add(shard.name)
            data = bytearray(path.read_bytes())
            data[len(data) // 2] ^= 1
            if len(spoiled) % 2:
                path.write_bytes(bytes(data))
            else:
                path.unlink()

    made = build(crew(InlineRunner(describe, happens), tmp_path))
    assert (made.hash, made.segments) == (wanted.hash, wanted.segments)


@pytest.mark.parametrize("keep", [0, 20, 40, 5000])
def test_shards_that_lost_their_ends_between_two_runs_are_made_again(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest, keep: int
) -> None:
    with pytest.raises(KeyboardInterrupt):
        build(crew(InlineRunner(describe, stop_after(CutShard, 2)), tmp_path))
    for path in (tmp_path / "storage").glob("*/*"):
        os.truncate(path, keep)
    made = build(crew(InlineRunner(describe), tmp_path))
    assert (made.hash, made.segments) == (wanted.hash, wanted.segments)  # the file of blocks says how large it may become


def test_blocks_that_vanish_while_tiles_are_described_are_cut_again(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    def happens(when: str, shard: Shard, shop: Workshop) -> Workshop | None:
        if when == "after" or isinstance(shard, CutShard):
            return None
        for cut in shard.cut:
            (tmp_path / "storage" / cut.name).unlink(missing_ok=True)
        return Workshop(shop._brief, describe, "made")  # which has read none of them yet

    assert build(crew(InlineRunner(describe, happens), tmp_path)).hash == wanted.hash


def test_late_writes_of_another_plans_workers_and_half_written_ones_do_no_harm(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest
) -> None:
    zombies: list[tuple[Workshop, Shard]] = []

    def keeps(when: str, shard: Shard, shop: Workshop) -> None:
        if when == "before":
            zombies.append((Workshop(shop._brief, describe, "made"), shard))

    build(crew(InlineRunner(describe, keeps), tmp_path), "other.geo", stride_m=20.0)
    others = list(zombies)

    def late(when: str, shard: Shard, shop: Workshop) -> None:
        if others:
            slow, old = others.pop()
            slow.cut(old) if isinstance(old, CutShard) else slow.describe(old)
        (tmp_path / "storage" / f"{shard.name}.0123.tmp").parent.mkdir(exist_ok=True)
        (tmp_path / "storage" / f"{shard.name}.0123.tmp").write_bytes(b"half")

    made = build(crew(InlineRunner(describe, late), tmp_path))
    assert (made.hash, made.segments) == (wanted.hash, wanted.segments)


def test_nodes_that_describe_otherwise_are_named_unless_allowed(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    runner = InlineRunner(describe)

    def otherwise(when: str, shard: Shard, shop: Workshop) -> Workshop | None:
        if when == "after" or isinstance(shard, CutShard) or len(runner.done) <= 8:
            return None
        runner.node = "node-1"
        return Workshop(shop._brief, other_digits(describe), "made")

    runner._happens = otherwise
    with pytest.raises(MismatchError, match=r"node-1 \(.*\) describes tiles with other last digits than node-0 .*--mixed-nodes"):
        build(crew(runner, tmp_path))
    assert build(crew(InlineRunner(describe), tmp_path)).hash == wanted.hash  # what the other node left is not taken
    runner = InlineRunner(describe)
    runner._happens = otherwise
    mixed = build(crew(runner, tmp_path, mixed=True), "mixed.geo")
    assert mixed.tiles == wanted.tiles
    assert mixed.hash != wanted.hash


def test_a_source_that_differs_or_is_missing_on_a_node_is_named(
    build: Any, tmp_path: Path, describe: Any, imagery: list[Path], identity: Any, options: Any
) -> None:
    path = tmp_path / "mine.tif"
    shutil.copy(imagery[0], path)
    data = path.read_bytes()

    def changes(when: str, *_: Any) -> None:
        path.write_bytes(data[:-1] + bytes([data[-1] ^ 255]))

    def removes(when: str, *_: Any) -> None:
        path.unlink(missing_ok=True)

    for happens, error, said in ((changes, MismatchError, "not the same imagery"), (removes, InputError, "no such file")):
        path.write_bytes(data)
        with pytest.raises(error, match=rf"mine\.tif.*{said}"):
            build_index([path], tmp_path / f"{said}.geo", Crew(InlineRunner(describe, happens)), identity, options)


def test_a_storage_that_nodes_do_not_share_is_said(build: Any, tmp_path: Path, describe: Any) -> None:
    def elsewhere(when: str, shard: Shard, _: Workshop) -> None:
        if when == "after":
            (tmp_path / "storage" / shard.name).unlink()

    with pytest.raises(InputError, match=r"has left .* in .*storage 3 times, but it is not to be found there.*--storage"):
        build(crew(InlineRunner(describe, elsewhere), tmp_path))
    with pytest.raises(InputError, match="no such folder here; all nodes must see"):
        build(Crew(InlineRunner(describe), str(tmp_path / "none")), "b.geo")
    with pytest.raises(UsageError, match="give a folder, or an address"):
        build(Crew(InlineRunner(describe), "nothing://here"), "c.geo")
    assert not (tmp_path / "b.geo").exists()
    assert not (tmp_path / "c.geo").exists()


def test_a_full_storage_is_a_limit_and_the_build_goes_on(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = [7]

    def full(kind: str, path: Path, _: Path | None) -> None:
        if kind == "write" and "storage" in path.parts:
            left[0] -= 1
            if left[0] < 0:
                raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(disk, "CALL", full)
    with pytest.raises(LimitError, match=r"storage.*No space left"):
        build(crew(InlineRunner(describe), tmp_path))
    monkeypatch.setattr(disk, "CALL", None)
    runner = InlineRunner(describe)
    assert build(crew(runner, tmp_path)).hash == wanted.hash


def test_two_builds_that_share_a_storage_end_alike(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    other: list[str] = []

    def also(when: str, shard: Shard, _: Workshop) -> None:
        if isinstance(shard, DescribeShard) and not other:
            other.append("begun")
            other.append(build(crew(InlineRunner(describe), tmp_path), "other.geo").hash)  # which removes the shards in the end

    assert build(crew(InlineRunner(describe, also), tmp_path)).hash == wanted.hash
    assert other[1] == wanted.hash


def test_a_build_takes_and_removes_no_shard_of_another_build_of_the_same_plan(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest
) -> None:
    abandoned = InlineRunner(other_digits(describe), stop_after(DescribeShard, 3))
    with pytest.raises(KeyboardInterrupt):
        build(crew(abandoned, tmp_path), "abandoned.geo")
    other: list[str] = []

    def also(when: str, shard: Shard, _: Workshop) -> None:
        if isinstance(shard, DescribeShard) and not other:
            other.append("begun")
            build(crew(InlineRunner(describe), tmp_path), "other.geo")
            build(crew(InlineRunner(describe), tmp_path), "other.geo")  # given again when it is there already

    live = InlineRunner(describe, also)
    assert build(crew(live, tmp_path)).hash == wanted.hash
    assert len(live.done) == len(set(live.done))
    assert {path.name for path in (tmp_path / "storage").iterdir()} == {abandoned.done[0].split("/")[0]}


def test_shards_that_other_versions_left_are_made_again(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    old, new = InlineRunner(describe, stop_after(DescribeShard, 3)), InlineRunner(describe)
    with pytest.raises(KeyboardInterrupt):
        build(crew(old, tmp_path))
    new.versions = "others"
    assert build(crew(new, tmp_path)).hash == wanted.hash
    assert sum("-tiles-" in name for name in new.done) > sum("-tiles-" in name for name in old.done)
    assert not set(new.done) & set(old.done)
    assert list((tmp_path / "storage").iterdir()) == []


def test_a_build_goes_on_with_other_last_digits_where_all_nodes_have_other_versions(build: Any, tmp_path: Path, describe: Any) -> None:
    old = InlineRunner(describe, stop_after(DescribeShard, 3))
    with pytest.raises(KeyboardInterrupt):
        build(crew(old, tmp_path))
    updated = InlineRunner(other_digits(describe))
    with pytest.raises(MismatchError, match=r"Where libraries were updated since the build began, remove .*work: it then begins again"):
        build(crew(updated, tmp_path))
    updated = InlineRunner(other_digits(describe))
    updated.versions = "others"
    assert build(crew(updated, tmp_path)).hash == build(other_digits(describe), "wanted.geo").hash


def test_descriptors_of_one_process_that_describes_otherwise_are_not_mixed_in(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest
) -> None:
    left = [wanted.tiles // 2]

    def otherwise(tiles: Any) -> Any:
        left[0] -= len(tiles)
        if left[0] < 0:
            raise KeyboardInterrupt
        return other_digits(describe)(tiles)

    with pytest.raises(KeyboardInterrupt):
        build(otherwise)
    assert build(crew(InlineRunner(describe), tmp_path)).hash == wanted.hash


@pytest.mark.parametrize("storage", [None, "storage"])
def test_a_node_that_writes_while_its_folder_is_removed_breaks_no_build(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest, monkeypatch: pytest.MonkeyPatch, storage: str | None
) -> None:
    late: list[tuple[Workshop, CutShard]] = []
    rmdir = os.rmdir

    def keeps(when: str, shard: Shard, shop: Workshop) -> None:
        if isinstance(shard, CutShard):
            late.append((Workshop(shop._brief, describe, "made"), shard))

    def meanwhile(*args: Any, **named: Any) -> None:
        while late and Path(args[0]).name.startswith(late[-1][1].name.split("/")[0]):  # its files are gone by now
            shop, shard = late.pop()
            with suppress(GeoError):
                shop.cut(shard)
        rmdir(*args, **named)

    monkeypatch.setattr(os, "rmdir", meanwhile)
    assert build(crew(InlineRunner(describe, keeps), tmp_path, storage)).hash == wanted.hash
    assert late == []
    assert {p.name for p in (tmp_path / "a.geo").iterdir()} == {"CURRENT", "LOCK", "manifest-000001.json", "segments"}


def test_a_write_that_had_begun_before_is_waited_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "work").mkdir()
    rmdir, left = os.rmdir, [2]

    def meanwhile(*args: Any, **named: Any) -> None:
        left[0] -= 1
        if left[0] >= 0:
            raise OSError(errno.ENOTEMPTY, "Directory not empty")
        rmdir(*args, **named)

    monkeypatch.setattr(os, "rmdir", meanwhile)
    files.take_away(tmp_path / "work")
    files.take_away(tmp_path / "work")
    assert list(tmp_path.iterdir()) == []
