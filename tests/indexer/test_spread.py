"""A build whose pieces are made elsewhere: the same index to the last byte, whatever is lost, damaged or done twice on the way."""

from __future__ import annotations

import dataclasses
import errno
import random
import shutil
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from affine import Affine
from s3 import KEYS, s3_server, url_of

from crossgeo import disk
from crossgeo.errors import InputError, LimitError, MismatchError, UsageError
from crossgeo.indexer import described, pieces, shards
from crossgeo.indexer.build import BuildOptions, Progress, build_index, grid_of
from crossgeo.indexer.manifest import Manifest, ModelIdentity
from crossgeo.indexer.region import Region
from crossgeo.indexer.shard_store import open_store
from crossgeo.indexer.shards import Brief, CutShard, DescribeShard, Done
from crossgeo.indexer.spread import Crew
from crossgeo.indexer.verify import verify_index
from crossgeo.indexer.windows import windows_at
from crossgeo.indexer.workshop import Workshop

Shard = CutShard | DescribeShard
WEST_M, NORTH_M = 353400.0, 3058000.0


class InlineRunner:
    """Workers that are this process: it takes a few shards and does the last first, so that they never end in order."""

    who = "this process"

    def __init__(self, describe: Any, happens: Callable[[str, Shard, Workshop], Workshop | None] | None = None) -> None:
        self._describe, self._happens = describe, happens or (lambda *_: None)
        self.done: list[str] = []
        self.node = "node-0"

    def cut(self, brief: Brief, todo: Iterable[Shard | None]) -> Generator[Done, None, None]:
        shop, out = Workshop(brief, self._describe, "made"), []
        try:
            for shard in todo:
                assert shard is not None or out, "nothing to do and nothing to wait for"
                out += [] if shard is None else [shard]
                if shard is None or len(out) == 3:
                    yield self._do(shop, out.pop())
            while out:
                yield self._do(shop, out.pop())
        finally:
            shop.close()

    describe = cut

    def _do(self, shop: Workshop, shard: Shard) -> Done:
        shop = self._happens("before", shard, shop) or shop
        made = shop.cut(shard) if isinstance(shard, CutShard) else shop.describe(shard)
        self._happens("after", shard, shop)
        self.done.append(shard.name)
        return Done(shard, made, self.node)


@pytest.fixture(autouse=True)
def small_shards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Cut small imagery into many shards, each of several pieces."""
    monkeypatch.setattr(pieces, "BLOCKS_PER_PIECE", 1)
    monkeypatch.setattr(described, "BATCHES_PER_PIECE", 2)
    monkeypatch.setattr(shards, "BLOCKS", 2)
    monkeypatch.setattr(shards, "TILES", 16)
    monkeypatch.setattr(shards, "_LEAST_SHARDS", 2)


@pytest.fixture(scope="module")
def imagery(tmp_path_factory: pytest.TempPathFactory, write_raster: Any, paint: Any) -> list[Path]:
    """Return four GeoTIFFs of 100 x 90 m, three of which overlap, in two UTM zones."""
    folder = tmp_path_factory.mktemp("imagery")
    places = [(WEST_M, NORTH_M), (WEST_M + 70, NORTH_M), (WEST_M + 40, NORTH_M - 60)]
    paths = [
        write_raster(folder / f"{n}.tif", paint(180, 200, seed=n), affine=Affine(0.5, 0, x, 0, -0.5, y)) for n, (x, y) in enumerate(places)
    ]
    far = Affine(0.5, 0.0, 527000.0, 0.0, -0.5, 9332000.0)
    return [*paths, write_raster(folder / "far.tif", paint(160, 200, seed=9), "EPSG:32737", far)]


@pytest.fixture(scope="module")
def masked(options: BuildOptions) -> BuildOptions:
    """Return options that leave some ground out."""
    return dataclasses.replace(options, masks=(Region.box(85.5101, 27.6365, 85.5105, 27.6369),))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory, imagery: list[Path], describe: Any, identity: Any, masked: BuildOptions) -> Manifest:
    """Return the index as this process builds it."""
    return build_index(imagery, tmp_path_factory.mktemp("wanted") / "a.geo", describe, identity, masked)


@pytest.fixture
def build(tmp_path: Path, imagery: list[Path], identity: ModelIdentity, masked: BuildOptions) -> Any:
    """Return a function that builds with something that describes, or with a crew."""

    def run(work: Any, out: str = "a.geo", **changes: Any) -> Manifest:
        return build_index(imagery, tmp_path / out, work, identity, dataclasses.replace(masked, **changes))

    return run


def _crew(runner: InlineRunner, tmp_path: Path, storage: str | None = "storage", *, mixed: bool = False) -> Crew:
    if storage is not None:
        (tmp_path / storage).mkdir(exist_ok=True)
    return Crew(runner, None if storage is None else str(tmp_path / storage), mixed)


@pytest.mark.parametrize("storage", [None, "storage"])
def test_a_crew_builds_the_same_index_and_leaves_nothing(build: Any, tmp_path: Path, describe: Any, wanted: Manifest, storage: Any) -> None:
    runner = InlineRunner(describe)
    made = build(_crew(runner, tmp_path, storage))
    assert (made.hash, made.segments) == (wanted.hash, wanted.segments)  # names and checksums of every file
    kinds = [name.split("-")[2] for name in runner.done]
    assert kinds.count("blocks") >= 3
    assert kinds.count("tiles") >= 6
    assert len(set(runner.done)) == len(runner.done)
    assert {p.name for p in (tmp_path / "a.geo").iterdir()} == {"CURRENT", "LOCK", "manifest-000001.json", "segments"}
    assert storage is None or not list((tmp_path / storage).iterdir())
    again = InlineRunner(describe)
    assert build(_crew(again, tmp_path, storage)) == made
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


class Killed(BaseException):
    """Stands for the end of the driver or of all workers: nobody catches it."""


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

        work = _crew(InlineRunner(describe), tmp_path, None) if rng.random() < 0.6 else describe
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


def _stop_after(kind: type[Shard], count: int) -> Callable[[str, Shard, Workshop], Workshop | None]:
    left = [count]

    def happens(when: str, shard: Shard, _: Workshop) -> None:
        if when == "before" and isinstance(shard, kind):
            left[0] -= 1
            if left[0] < 0:
                raise KeyboardInterrupt

    return happens


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
        first = InlineRunner(describe, _stop_after(kind, 3))
        with pytest.raises(KeyboardInterrupt):
            build(_crew(first, tmp_path, None), out)
        assert first.done
        second, calls[0] = InlineRunner(describe), 0
        made = build(_crew(second, tmp_path, None) if then == "crew" else counting, out)
        assert made.hash == wanted.hash
        assert not set(first.done) & set(second.done)
        if then == "one process" and kind is DescribeShard:
            assert calls[0] < wanted.tiles  # and a batch to compare how tiles are described


def test_what_one_process_has_done_is_not_done_again_by_a_crew(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    left = [wanted.tiles // 2]

    def stops(tiles: Any) -> Any:
        left[0] -= len(tiles)
        if left[0] < 0:
            raise KeyboardInterrupt
        return describe(tiles)

    whole = InlineRunner(describe)
    build(_crew(whole, tmp_path), "whole.geo")
    with pytest.raises(KeyboardInterrupt):
        build(stops)
    runner = InlineRunner(describe)
    assert build(_crew(runner, tmp_path)).hash == wanted.hash
    assert len(runner.done) < len(whole.done) / 2


def test_descriptors_of_one_process_that_describes_otherwise_are_not_mixed_in(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest
) -> None:
    left = [wanted.tiles // 2]

    def otherwise(tiles: Any) -> Any:
        left[0] -= len(tiles)
        if left[0] < 0:
            raise KeyboardInterrupt
        return _other_digits(describe)(tiles)

    with pytest.raises(KeyboardInterrupt):
        build(otherwise)
    assert build(_crew(InlineRunner(describe), tmp_path)).hash == wanted.hash


def _other_digits(describe: Any) -> Any:
    def run(tiles: Any) -> Any:
        return np.nextafter(describe(tiles), np.float32(1.0))

    return run


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

    made = build(_crew(InlineRunner(describe, happens), tmp_path))
    assert (made.hash, made.segments) == (wanted.hash, wanted.segments)


def test_blocks_that_vanish_while_tiles_are_described_are_cut_again(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    def happens(when: str, shard: Shard, shop: Workshop) -> Workshop | None:
        if when == "after" or isinstance(shard, CutShard):
            return None
        for cut in shard.cut:
            (tmp_path / "storage" / cut.name).unlink(missing_ok=True)
        return Workshop(shop._brief, describe, "made")  # which has read none of them yet

    assert build(_crew(InlineRunner(describe, happens), tmp_path)).hash == wanted.hash


def test_late_writes_of_another_plans_workers_and_half_written_ones_do_no_harm(
    build: Any, tmp_path: Path, describe: Any, wanted: Manifest
) -> None:
    zombies: list[tuple[Workshop, Shard]] = []

    def keeps(when: str, shard: Shard, shop: Workshop) -> None:
        if when == "before":
            zombies.append((Workshop(shop._brief, describe, "made"), shard))

    build(_crew(InlineRunner(describe, keeps), tmp_path), "other.geo", stride_m=20.0)
    others = list(zombies)

    def late(when: str, shard: Shard, shop: Workshop) -> None:
        if others:
            slow, old = others.pop()
            slow.cut(old) if isinstance(old, CutShard) else slow.describe(old)
        (tmp_path / "storage" / f"{shard.name}.0123.tmp").parent.mkdir(exist_ok=True)
        (tmp_path / "storage" / f"{shard.name}.0123.tmp").write_bytes(b"half")

    made = build(_crew(InlineRunner(describe, late), tmp_path))
    assert (made.hash, made.segments) == (wanted.hash, wanted.segments)


def test_nodes_that_describe_otherwise_are_named_unless_allowed(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    runner = InlineRunner(describe)

    def otherwise(when: str, shard: Shard, shop: Workshop) -> Workshop | None:
        if when == "after" or isinstance(shard, CutShard) or len(runner.done) <= 8:
            return None
        runner.node = "node-1"
        return Workshop(shop._brief, _other_digits(describe), "made")

    runner._happens = otherwise
    with pytest.raises(MismatchError, match=r"node-1 \(.*\) describes tiles with other last digits than node-0 .*--mixed-nodes"):
        build(_crew(runner, tmp_path))
    assert build(_crew(InlineRunner(describe), tmp_path)).hash == wanted.hash  # what the other node left is not taken
    runner = InlineRunner(describe)
    runner._happens = otherwise
    mixed = build(_crew(runner, tmp_path, mixed=True), "mixed.geo")
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
        build(_crew(InlineRunner(describe, elsewhere), tmp_path))
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
        build(_crew(InlineRunner(describe), tmp_path))
    monkeypatch.setattr(disk, "CALL", None)
    runner = InlineRunner(describe)
    assert build(_crew(runner, tmp_path)).hash == wanted.hash


def test_two_builds_that_share_a_storage_end_alike(build: Any, tmp_path: Path, describe: Any, wanted: Manifest) -> None:
    other: list[str] = []

    def also(when: str, shard: Shard, _: Workshop) -> None:
        if isinstance(shard, DescribeShard) and not other:
            other.append("begun")
            other.append(build(_crew(InlineRunner(describe), tmp_path), "other.geo").hash)  # which removes the shards in the end

    assert build(_crew(InlineRunner(describe, also), tmp_path)).hash == wanted.hash
    assert other[1] == wanted.hash


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


def test_stores_keep_what_is_whole(tmp_path: Path) -> None:
    store = open_store(str(tmp_path))
    assert store.get("a/b") is None
    assert not store.has("a/b")
    store.put("a/b", b"")
    store.put("a/c", b"payload")
    assert (store.get("a/b"), store.get("a/c"), store.has("a/c")) == (b"", b"payload", True)
    (tmp_path / "a" / "c").write_bytes(b"torn")
    assert store.get("a/c") is None
    assert not store.has("a/c")
    store.remove_all("a")
    store.remove_all("a")
    assert list(tmp_path.iterdir()) == []
    assert open_store(f"file://{tmp_path}").where == str(tmp_path)


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
            build(Crew(InlineRunner(describe, _stop_after(DescribeShard, 3)), url))
        runner = InlineRunner(describe, happens)
        made = build(Crew(runner, url))
        assert (made.hash, made.segments) == (wanted.hash, wanted.segments)
        assert "blocks" not in {name.split("-")[2] for name in runner.done}  # they were there
        assert not any(store.has(name) for name in runner.done)
        store.put("b/c", b"")
        assert (store.get("b/c"), store.get("b/d")) == (b"", None)
        with pytest.raises(InputError, match=r"^s3://none/a/b.*there is no none") as caught:
            build(Crew(runner, url.replace("//shards", "//who:secret@none")), "b.geo")
        assert "secret" not in str(caught.value)


def test_storage_that_fsspec_knows_serves_too() -> None:
    store = open_store("memory://shards/of")
    store.put("a/b", b"payload")
    assert (store.get("a/b"), store.get("a/c"), store.has("a/b")) == (b"payload", None, True)
    store.remove_all("a")
    store.remove_all("a")
    assert not store.has("a/b")
