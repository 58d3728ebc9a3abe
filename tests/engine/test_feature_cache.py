"""Features that were made once are found again, in memory and on disk; what is damaged, full or forbidden costs time, never an answer."""

from __future__ import annotations

import importlib.util
import json
import random
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

from crossgeo.engine import feature_store
from crossgeo.engine.feature_cache import FeatureCache, pack, unpack

MB = 1 << 20
SCRIPT = Path(__file__).with_name("asking_features.py")


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("asking_features", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


made = _load().made


def ask(folder: Path, first: int, count: int, limit: int = 8 * MB, *more: str) -> Any:
    """Run the script and return what it says; it must end well."""
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(folder), str(first), str(count), str(limit), *more], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, (done.returncode, done.stderr)
    return json.loads(done.stdout)


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob("object-features-*.lmdb"))


def test_memory_forgets_what_was_asked_for_longest_ago() -> None:
    (a, values), (b, _), (c, _) = made(0), made(1), made(2)
    cache = FeatureCache(2 * (values.nbytes + 256))
    cache.put(a, values)
    cache.put(b, values)
    assert cache.get(a) is not None
    cache.put(c, values)
    assert [cache.get(key) is not None for key in (a, b, c)] == [True, False, True]
    stats = cache.stats()
    assert (stats.hits, stats.misses, stats.hit_rate) == (3, 1, 0.75)
    assert stats.memory_bytes == 2 * (values.nbytes + 256)
    assert (stats.disk_bytes, stats.trouble) == (0, None)


def test_a_new_cache_has_been_asked_for_nothing() -> None:
    assert FeatureCache().stats().hit_rate == 0.0


def test_putting_a_key_again_counts_its_bytes_once() -> None:
    key, values = made(0)
    cache = FeatureCache()
    cache.put(key, values)
    cache.put(key, values)
    assert cache.stats().memory_bytes == values.nbytes + 256


def test_a_folder_gives_the_same_features_to_the_next_process(tmp_path: Path) -> None:
    assert ask(tmp_path / "kept", 0, 5)["found"][0] == {"right": 0, "missing": 5, "wrong": 0}
    again = ask(tmp_path / "kept", 0, 5)
    assert again["found"][0] == {"right": 5, "missing": 0, "wrong": 0}
    assert again["stats"]["disk_hits"] == 10 and again["stats"]["trouble"] is None
    assert 5 * 16384 < again["stats"]["disk_bytes"] <= 8 * MB


def test_that_there_is_no_imagery_is_kept_too(tmp_path: Path) -> None:
    nothing = np.zeros((0, 0, 0, 0), np.float16)
    cache = FeatureCache(0, tmp_path)
    cache.put(bytes(range(32)), nothing)
    found = cache.get(bytes(range(32)))
    assert found is not None and found.shape == (0, 0, 0, 0)
    cache.close()


def test_two_caches_of_one_process_share_a_folder(tmp_path: Path) -> None:
    key, values = made(0)
    one, two = FeatureCache(0, tmp_path), FeatureCache(0, tmp_path)
    one.put(key, values)
    one.close()
    np.testing.assert_array_equal(two.get(key), values)
    assert two.stats().trouble is None
    two.close()


def test_processes_that_write_at_once_lose_nothing(tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), str(tmp_path)]
    running = [subprocess.Popen([*command, str(40 * n), "40", str(16 * MB)], stdout=subprocess.PIPE) for n in range(3)]
    said = [json.loads(process.communicate()[0]) for process in running]
    assert all(process.returncode == 0 for process in running)
    assert [one["found"][1]["right"] for one in said] == [40, 40, 40]
    assert ask(tmp_path, 0, 120, 16 * MB)["found"][0] == {"right": 120, "missing": 0, "wrong": 0}


def test_a_process_killed_while_it_writes_leaves_a_whole_folder(tmp_path: Path) -> None:
    for first in range(0, 30_000, 10_000):
        before = sum(path.stat().st_size for path in files(tmp_path))
        with subprocess.Popen([sys.executable, str(SCRIPT), str(tmp_path), str(first), "10000", str(1024 * MB)]) as writer:
            while sum(path.stat().st_size for path in files(tmp_path)) < before + MB:
                assert writer.poll() is None
            writer.kill()
        said = ask(tmp_path, first, 60, 1024 * MB)
        assert (said["found"][0]["wrong"], said["stats"]["damaged"], said["stats"]["trouble"]) == (0, 0, None)
        assert said["found"][0]["right"] > 40


def test_a_folder_stays_within_its_bound_and_keeps_what_is_asked_for(tmp_path: Path) -> None:
    limit = 2 * MB
    cache = FeatureCache(0, tmp_path, limit)
    loved, values = made(0)
    cache.put(loved, values)
    for number in range(1, 400):
        cache.put(*made(number))
        assert cache.get(loved) is not None, number
        assert cache.stats().disk_bytes <= limit
        assert len(files(tmp_path)) <= 2
    assert cache.get(made(399)[0]) is not None
    assert cache.get(made(1)[0]) is None
    cache.close()


def test_a_process_sees_what_another_began(tmp_path: Path) -> None:
    cache = FeatureCache(0, tmp_path, 2 * MB)
    cache.put(*made(1000))
    ask(tmp_path, 0, 150, 2 * MB)  # more than both generations hold
    assert cache.get(made(149)[0]) is not None
    assert cache.get(made(1000)[0]) is None
    assert cache.stats().trouble is None
    cache.close()


def test_features_too_large_for_the_folder_are_kept_in_memory(tmp_path: Path) -> None:
    cache = FeatureCache(8 * MB, tmp_path, 2 * MB)
    values = np.ones((8, 64, 20, 20), np.float16)
    cache.put(made(0)[0], values)
    assert cache.get(made(0)[0]) is not None
    assert files(tmp_path) == []
    cache.close()


def test_a_forked_process_leaves_the_folder_alone(tmp_path: Path) -> None:
    said = ask(tmp_path, 0, 3, 8 * MB, "fork")
    assert said["forked"][0] is False and "forked" in said["forked"][1]
    assert said["found"][1] == {"right": 3, "missing": 0, "wrong": 0}


@pytest.mark.parametrize("seed", range(3))
def test_damage_never_gives_other_features_nor_ends_the_process(tmp_path: Path, seed: int) -> None:
    """Cut short, flip bits of, or zero pages of the file, at random: at most all is made again."""
    ask(tmp_path, 0, 100)
    (path,) = files(tmp_path)
    whole, rng = path.read_bytes(), random.Random(seed)
    for kind in ("cut", "flipped", "zeroed", "leaves", "values"):
        data = bytearray(whole)
        pages = len(data) // 4096
        if kind == "cut":
            del data[rng.randrange(1, len(data)) :]
        elif kind == "flipped":
            for _ in range(20):
                data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        elif kind == "zeroed":
            for _ in range(3):
                page = rng.randrange(pages)
                data[page * 4096 : (page + 1) * 4096] = bytes(4096)
        elif kind == "leaves":  # branches and leaves, and of each the start, where its slots are
            for page in range(2, pages):
                if data[page * 4096 + 10] & 3 and rng.random() < 0.5:
                    data[page * 4096 + 12 + rng.randrange(64)] ^= 255
        else:
            for page in range(2, pages):
                if data[page * 4096 + 10] & 4:
                    data[page * 4096 + 100] ^= 1
        for old in tmp_path.iterdir():
            old.unlink()
        path.write_bytes(data)
        said = ask(tmp_path, 0, 100)
        assert [found["wrong"] for found in said["found"]] == [0, 0], (kind, said)
        again = ask(tmp_path, 0, 100)
        assert again["found"][0] == {"right": 100, "missing": 0, "wrong": 0}, (kind, again)
        assert said["stats"]["trouble"] is None, (kind, said)
        if kind in ("cut", "values"):
            assert said["stats"]["damaged"] > 0, kind


def test_a_value_of_another_key_or_shape_is_not_believed() -> None:
    (a, values), (b, _) = made(0), made(1)
    packed = pack(a, values)
    found = unpack(a, packed)
    assert found is not None and np.array_equal(found, values)
    other = bytearray(packed)
    other[4:12] = other[8:12] + other[4:8]  # T and C change places
    assert [unpack(b, packed), unpack(a, packed[:-2]), unpack(a, bytes(other)), unpack(a, b"")] == [None] * 4


def test_a_full_disk_leaves_the_cache_in_memory(small_disk: Callable[[int], Path]) -> None:
    """Whatever the disk is too small for: the lock file, a generation, or a value."""
    for kilobytes in (4, 16, 40, 64, 200, 600):
        place = small_disk(kilobytes)
        folder = place / str(kilobytes)
        cache = FeatureCache(8 * MB, folder, 8 * MB)
        for number in range(40):
            cache.put(*made(number))
        assert all(np.array_equal(cache.get(key), values) for key, values in map(made, range(40)))
        assert cache.stats().trouble is not None, kilobytes
        cache.close()
        for path in [*folder.glob("*")]:
            path.unlink()


def test_a_folder_that_cannot_be_made_leaves_the_cache_in_memory(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    cache = FeatureCache(MB, tmp_path / "file" / "kept")
    cache.put(*made(0))
    assert cache.get(made(0)[0]) is not None
    assert "Not a directory" in str(cache.stats().trouble)
    assert (tmp_path / "file").read_text() == "mine"


def test_a_folder_that_goes_away_leaves_the_cache_in_memory(tmp_path: Path) -> None:
    cache = FeatureCache(MB, tmp_path / "kept")
    cache.put(*made(0))
    shutil.rmtree(tmp_path / "kept")
    assert cache.stats().disk_bytes == 0
    cache.put(*made(1))
    assert cache.get(made(0)[0]) is not None and cache.get(made(1)[0]) is not None
    assert "No such file" in str(cache.stats().trouble)
    cache.close()


def test_a_folder_of_other_things_keeps_them(tmp_path: Path) -> None:
    (tmp_path / "object-features.txt").write_text("mine")
    cache = FeatureCache(0, tmp_path, MB)
    for number in range(100):  # several generations
        cache.put(*made(number))
    cache.close()
    assert (tmp_path / "object-features.txt").read_text() == "mine"


def test_a_writer_that_is_stuck_is_not_waited_for_long(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feature_store, "_LOCK_S", 0.01)
    cache = FeatureCache(MB, tmp_path)
    hold = f"import fcntl; f = open({str(tmp_path / 'object-features.lock')!r}, 'w'); fcntl.flock(f, 2); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", hold], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None and holder.stdout.readline()
        cache.put(*made(0))
        assert files(tmp_path) == [] and cache.get(made(0)[0]) is not None
    cache.put(*made(1))
    assert len(files(tmp_path)) == 1 and cache.stats().trouble is None
    cache.close()


def test_nobody_waits_while_a_file_is_probed_but_who_met_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(tmp_path, 0, 1)
    probing, go_on, probe = Event(), Event(), feature_store.FeatureStore._probe

    def slow(store: feature_store.FeatureStore, path: Path) -> bool:
        probing.set()
        return go_on.wait(60) and probe(store, path)

    monkeypatch.setattr(feature_store.FeatureStore, "_probe", slow)
    cache = FeatureCache(MB, tmp_path)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get, made(0)[0])
        try:
            assert probing.wait(30)

            def others() -> None:
                cache.put(*made(1))
                assert cache.get(made(1)[0]) is not None and cache.get(made(0)[0]) is None
                assert cache.stats().memory_hits == 1

            threads.submit(others).result(20)
        finally:
            go_on.set()
        np.testing.assert_array_equal(first.result(30), made(0)[1])
    assert len(files(tmp_path)) == 1 and cache.stats().trouble is None  # no generation was begun beside the one that was probed
    cache.close()


def test_what_one_thread_makes_another_waits_for(tmp_path: Path) -> None:
    keys, values = [made(n)[0] for n in range(3)], made(0)[1]
    making, go_on, asked = Event(), Event(), []

    def make(missing: Sequence[int]) -> list[Any]:
        asked.append(list(missing))
        making.set()
        assert go_on.wait(60)
        return [values] * len(missing)

    cache = FeatureCache(0, tmp_path)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get_or_make, keys[:2], make)
        try:
            assert making.wait(30)
            second = threads.submit(cache.get_or_make, keys[1:], make)
            wait_for(lambda: len(asked) == 2)
        finally:
            go_on.set()
        assert [len(first.result(30)), len(second.result(30))] == [2, 2]
    assert asked == [[0, 1], [1]]
    assert (cache.stats().misses, cache.stats().hits) == (3, 1)
    cache.close()


def test_what_one_thread_fails_to_make_another_makes() -> None:
    key, values = made(0)
    making, go_on, asked = Event(), Event(), []

    def failing(missing: Sequence[int]) -> list[Any]:
        making.set()
        assert go_on.wait(60)
        raise ValueError("no memory")

    def make(missing: Sequence[int]) -> list[Any]:
        asked.append(list(missing))
        return [values]

    cache = FeatureCache()
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(cache.get_or_make, [key], failing)
        assert making.wait(30)
        second = threads.submit(cache.get_or_make, [key], make)
        go_on.set()
        with pytest.raises(ValueError, match="no memory"):
            first.result(30)
        np.testing.assert_array_equal(second.result(30)[0], values)
    assert asked == [[0]]


def test_tensors_stay_on_the_device_up_to_its_bound_and_are_not_moved_again(tmp_path: Path) -> None:
    device, values = torch.device("cpu"), made(0)[1]
    keys = [made(n)[0] for n in range(3)]
    asked: list[int] = []

    def make(missing: Sequence[int]) -> list[Any]:
        asked.extend(missing)
        return [made(at)[1] for at in missing]

    cache = FeatureCache(0, tmp_path, device_bytes=2 * (values.nbytes + 256))
    first = cache.tensors(keys[:2], make, device)
    again = cache.tensors(keys[:2], make, device)
    assert asked == [0, 1] and all(one is other for one, other in zip(first, again, strict=True))
    assert first[0].dtype == torch.float16 and first[0].is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_array_equal(first[1].numpy(), made(1)[1])
    cache.tensors([keys[0], keys[2]], make, device)  # the third pushes out the second, which is on disk still
    np.testing.assert_array_equal(cache.tensors([keys[1]], make, device)[0].numpy(), made(1)[1])
    stats = cache.stats()
    assert asked == [0, 1, 1]  # the third was the second place of what was asked for
    assert (stats.device_hits, stats.memory_hits, stats.disk_hits, stats.misses) == (3, 0, 1, 3)
    assert stats.hits == 4 and stats.device_bytes == 2 * (values.nbytes + 256)
    cache.close()
    assert cache.stats().device_bytes == 0


def test_without_a_bound_a_processor_keeps_no_tensors_and_features_of_another_type_are_none() -> None:
    device = torch.device("cpu")
    plain, bounded = FeatureCache(), FeatureCache(device_bytes=MB)
    for _ in range(2):
        assert len(plain.tensors([b"a"], lambda missing: [made(0)[1]], device)) == 1
        large = bounded.tensors([b"a"], lambda missing: [np.full((1, 2, 2, 2), 1e6, np.float32)], device)
        assert large[0].dtype == torch.float32 and large[0].max() == 1e6
    assert (plain.stats().memory_hits, plain.stats().device_hits, plain.stats().device_bytes) == (1, 0, 0)
    assert (bounded.stats().misses, bounded.stats().device_bytes) == (2, 0)


def wait_for(true: Callable[[], bool]) -> None:
    until = time.monotonic() + 30
    while not true():
        assert time.monotonic() < until
        time.sleep(0.005)
