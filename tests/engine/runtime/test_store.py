"""engine/runtime/store.py: engines that others build, remove or damage at the same time."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from crossgeo.engine.runtime.backends import backend
from crossgeo.engine.runtime.choose import Chosen, RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.store import EngineStore, Key, Record
from crossgeo.errors import StoreError

Halves = Callable[[], dict[str, Half]]
KEY = Key("half", "onnxruntime", "1.0", "fp32", 256, "a processor")


def writing(text: str) -> Callable[[Path], tuple[dict[str, float], tuple[str, ...]]]:
    def build(folder: Path) -> tuple[dict[str, float], tuple[str, ...]]:
        (folder / "model.onnx").write_text(text)
        return {"pictures": 2.0}, ()

    return build


@pytest.fixture
def store(folder: Path) -> EngineStore:
    """Return a store with one engine, of a file that nothing reads."""
    made = EngineStore(folder)
    made.make(KEY, "half", writing("whole"), None)
    return made


@contextmanager
def held(store: EngineStore, digest: str = KEY.digest) -> Iterator[None]:
    """Hold an engine's lock as another process does: the lock is the open file's."""
    handle = os.open(store.folder / f"{digest}.lock", os.O_RDWR | os.O_CREAT)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(handle)


def test_an_engine_that_another_process_builds_in_the_place_of_a_damaged_one_stays(
    store: EngineStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, whole = store.path(KEY), tmp_path / "whole"
    shutil.copytree(path, whole)
    (path / "model.onnx").write_text("damaged")
    seen, read, damaged = threading.Event(), Record.read, list[str]()

    def seeing(folder: Path) -> Record:
        try:
            return read(folder)
        finally:
            seen.set()

    monkeypatch.setattr(Record, "read", seeing)
    with ThreadPoolExecutor(1) as pool:
        with held(store):
            found = pool.submit(store.find, KEY, damaged.append)
            assert seen.wait(30)
            shutil.rmtree(path)
            whole.rename(path)
        assert isinstance(found.result(30), Record) and damaged == []
    assert (path / "model.onnx").read_text() == "whole"


def test_a_damaged_engine_is_removed_and_its_finder_is_told(store: EngineStore) -> None:
    damaged: list[str] = []
    (store.path(KEY) / "model.onnx").write_text("damaged")
    assert store.find(KEY, damaged.append) is None
    assert len(damaged) == 1 and damaged[0].endswith("model.onnx: does not match its checksum")
    assert not store.path(KEY).exists()


def test_discarding_an_engine_leaves_the_one_that_was_built_in_its_place(store: EngineStore) -> None:
    old = store.find(KEY)
    assert old is not None
    shutil.rmtree(store.path(KEY))
    new = store.make(KEY, "half", writing("another"), None)
    store.discard(old)
    assert store.find(KEY) == new
    store.discard(new)
    assert store.find(KEY) is None and not store.path(KEY).exists()


def test_the_record_of_another_engine_is_none_of_this_one(store: EngineStore) -> None:
    other = replace(KEY, precision="int8")
    shutil.copytree(store.path(KEY), store.path(other))
    damaged: list[str] = []
    assert store.find(other, damaged.append) is None
    assert "the record of another engine" in damaged[0] and store.find(KEY) is not None


def test_what_a_killed_build_left_does_not_hinder_the_next_whatever_process_is_the_same(folder: Path) -> None:
    left = folder / f".{KEY.digest}.{os.getpid()}"
    left.mkdir(parents=True)
    EngineStore(folder).make(KEY, "half", writing("whole"), None)
    assert not left.exists()


def test_cleaning_leaves_what_another_process_builds_and_clears_what_nobody_does(store: EngineStore) -> None:
    building, left = store.folder / f".{KEY.digest}.0123", store.folder / f".0123456789abcdef.{os.getpid()}"
    building.mkdir()
    left.mkdir()
    with held(store):
        assert store.remove(lambda record: True, everything=True) == (0, 0)
        assert building.exists() and not left.exists() and store.path(KEY).exists()
        assert [path.name for path in store.folder.glob("*.lock")] == [f"{KEY.digest}.lock"]
    count, freed = store.remove(lambda record: True)
    assert count == 1 and freed > 100 and not building.exists()


def test_removing_everything_takes_locks_and_timings_too(store: EngineStore) -> None:
    (store.folder / "tensorrt-10.1-a-card-9.0.timings").write_bytes(b"measured")
    store.remove(lambda record: False)
    assert (store.folder / "tensorrt-10.1-a-card-9.0.timings").exists()
    store.remove(lambda record: True, everything=True)
    assert list(store.folder.iterdir()) == []


def test_a_lock_that_was_removed_while_it_was_waited_for_is_taken_anew(store: EngineStore, tmp_path: Path) -> None:
    path, whole, waits = store.path(KEY), tmp_path / "whole", threading.Event()
    path.rename(whole)
    with ThreadPoolExecutor(1) as pool:
        with ExitStack() as new:
            with held(store):
                waiting = pool.submit(store.make, KEY, "half", writing("another"), lambda line: waits.set())
                assert waits.wait(30)
                (store.folder / f"{KEY.digest}.lock").unlink()
                new.enter_context(held(store))  # of a new file
            whole.rename(path)
        assert waiting.result(30).built == Record.told(path).built
    assert (path / "model.onnx").read_text() == "whole"


def wrong(**changes: Any) -> Callable[[dict[str, Any]], object]:
    return lambda told: told.update(changes)


@pytest.mark.parametrize(
    "change",
    [
        wrong(files=["model.onnx"]), wrong(files={"../model.onnx": "0"}), wrong(files={"model.onnx": None}), wrong(figures={"a": "text"}),
        wrong(figures={"a": 10**400}), wrong(figures=[]), wrong(size_bytes=None), wrong(size_bytes=10**400), wrong(refused="text"),
        wrong(refused=[1]), wrong(title=None), wrong(built=3), wrong(key="text"), wrong(key={}), wrong(format=2),
        lambda told: told["key"].update(largest="many"), lambda told: told["key"].update(largest=True), lambda told: told.pop("code"),
    ],
)  # fmt: skip
def test_a_record_of_other_types_is_damaged_and_can_be_cleaned(store: EngineStore, change: Callable[[dict[str, Any]], object]) -> None:
    path = store.path(KEY) / "engine.json"
    told = json.loads(path.read_text())
    change(told)
    path.write_text(json.dumps(told))
    ((_, record),) = store.records()
    assert isinstance(record, StoreError) and str(path) in str(record)
    assert store.others(replace(KEY, version="2.0")) == []
    assert store.remove(lambda record: isinstance(record, StoreError))[0] == 1
    assert not store.path(KEY).exists()


@pytest.mark.parametrize("text", ["", "[]", "null", "{", "\udcff"])
def test_a_record_that_is_none_is_damaged(store: EngineStore, text: str) -> None:
    (store.path(KEY) / "engine.json").write_bytes(text.encode(errors="surrogateescape"))
    ((_, record),) = store.records()
    assert isinstance(record, StoreError)


@pytest.mark.parametrize("leads", ["to an engine", "nowhere"])
def test_a_link_is_removed_and_not_what_it_leads_to(store: EngineStore, tmp_path: Path, leads: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    store.path(KEY).rename(elsewhere)
    store.path(KEY).symlink_to(elsewhere if leads == "to an engine" else tmp_path / "nowhere")
    assert store.remove(lambda record: True) == (1, 0)
    assert not store.path(KEY).is_symlink() and (elsewhere / "engine.json").exists()


def test_a_damaged_engine_is_not_promised_anew_where_nothing_is_built(halves: Halves, built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    next(built.glob("*/model.onnx")).write_bytes(b"damaged")
    monkeypatch.setattr("crossgeo.engine.runtime.choose.choose", lambda options: Chosen("onnxruntime", "fp32", "as if auto took it"))
    (runtime,) = runtimes([halves()["plain"]], RuntimeOptions(precision="fp32", folder=built, say=said.append))
    assert runtime.label == "torch fp32 on cpu"
    assert len(said) == 1 and said[0].endswith("it is removed, and geo engine build makes it anew")


def test_auto_says_that_the_precision_that_was_asked_for_is_not_had_without_an_engine(halves: Halves, folder: Path) -> None:
    said: list[str] = []
    options = RuntimeOptions(precision="int8", folder=folder, say=said.append)
    both = [halves()["plain"], replace(halves()["plain"], name="other")]
    (label, other) = (runtime.label for runtime in runtimes(both, options))
    own = backend("torch").precisions("cpu")[0]
    assert label == other == f"torch {own} on cpu"
    assert said == [f"no engine of openvino int8 is built; going on with torch in {own}; geo engine build --precision int8 makes it"]
    runtimes(both, replace(options, precision="auto"))
    assert len(said) == 1


def test_removing_engines_frees_their_room_and_leaves_the_others(store: EngineStore) -> None:
    store.make(replace(KEY, half="other"), "other", writing("x" * 5000), None)
    count, freed = store.remove(lambda record: getattr(record, "title", "") == "other")
    assert count == 1 and 5000 < freed < 7000
    assert [isinstance(record, Record) and record.title for _, record in store.records()] == ["half"]
