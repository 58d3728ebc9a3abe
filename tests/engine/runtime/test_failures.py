"""What back ends say when they cannot load, build or run an engine: a good engine is kept, and the user is told what to do."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Never

import openvino
import pytest

from crossgeo.engine.runtime.batched import UnreadableError
from crossgeo.engine.runtime.choose import RuntimeOptions, runtimes
from crossgeo.engine.runtime.failures import lacks_memory, of_building, of_loading
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.errors import EngineError, GeoError, LimitError

Halves = Callable[[], dict[str, Half]]
FOLDER = Path("/engines/out of memory, magic tag")  # whose name means nothing
SAID: list[tuple[str, type[GeoError], str]] = [
    ("Error Code 1: Serialization (Serialization assertion stdVersionRead == kVERSION failed.)", UnreadableError, "cannot load"),
    ("The engine plan file is generated on an incompatible device, expecting compute 8.6 got 7.5", UnreadableError, ""),
    ("The engine plan file is not compatible with this version of TensorRT, expecting library version 10.1 got 10.2", UnreadableError, ""),
    ("IRuntime::deserializeCudaEngine: Error Code 1: Serialization (... Magic tag does not match)", UnreadableError, ""),
    ("[ONNXRuntimeError] : 7 : INVALID_PROTOBUF : Load model from m.onnx failed:Protobuf parsing failed.", UnreadableError, ""),
    ("CUDA driver version is insufficient for CUDA runtime version", EngineError, "install a newer driver, or take --runtime torch"),
    ("Error Code 1: Cuda Runtime (out of memory)", LimitError, "free some, then run the same command again"),
    ("Requested amount of GPU memory (4294967296 bytes) could not be allocated. Out of memory", LimitError, "too little memory"),
    ("Failed to allocate memory for requested buffer of size 1048576", LimitError, ""),
    ("std::bad_alloc", LimitError, ""),
    ("Error Code 6: API Usage Error (CUDA initialization failure with error: 999)", EngineError, "take --runtime torch"),
    ("Error in execution: illegal memory access was encountered", EngineError, "take --runtime torch"),
]  # fmt: skip


@pytest.mark.parametrize(("said", "kind", "words"), SAID)
def test_only_words_of_a_damaged_file_or_of_another_version_or_card_cost_an_engine(said: str, kind: type[GeoError], words: str) -> None:
    error = of_loading(FOLDER, "TensorRT 10.13", said)
    assert type(error) is kind
    assert str(error).startswith(f"{FOLDER}: TensorRT 10.13 ") and said in str(error) and words in str(error)


def test_what_fails_while_an_engine_is_built_is_told_apart_too() -> None:
    assert type(of_building("egotr (aerial)", "TensorRT 10.13", "Error Code 2: OutOfMemory")) is LimitError
    assert "install a newer driver" in str(of_building("egotr (aerial)", "TensorRT 10.13", "CUDA driver version is insufficient"))
    other = of_building("egotr (aerial)", "TensorRT 10.13", "could not find any implementation for node")
    assert type(other) is EngineError and "egotr (aerial): TensorRT 10.13 cannot build it: could not find any" in str(other)
    assert not lacks_memory("illegal memory access")


@pytest.mark.parametrize(
    ("backend", "words", "kind"),
    [
        ("openvino", "Failed to allocate 12 bytes of memory", LimitError), ("openvino", "plugin is not registered", EngineError),
        ("onnxruntime", "std::bad_alloc", LimitError), ("onnxruntime", "CUDA driver version is insufficient", EngineError),
    ],
)  # fmt: skip
def test_an_engine_that_is_not_loaded_for_want_of_something_else_is_kept(
    halves: Halves, pictures: Pixels, folder: Path, backend: str, words: str, kind: type[GeoError], monkeypatch: pytest.MonkeyPatch
) -> None:
    options = RuntimeOptions(runtime=backend, precision="fp32", folder=folder)
    half = halves()["plain"]
    runtimes([half], options, lambda: pictures)

    def fails(*_: Any, **__: Any) -> Never:
        raise RuntimeError(words)

    monkeypatch.setattr({"openvino": "openvino.Core.compile_model", "onnxruntime": "onnxruntime.InferenceSession"}[backend], fails)
    before = sorted(folder.glob("*/*"))
    with pytest.raises(kind) as raised:
        runtimes([half], options, lambda: pictures)
    assert not isinstance(raised.value, UnreadableError) and words in str(raised.value)
    assert len(before) > 1 and sorted(folder.glob("*/*")) == before


@contextmanager
def small_files(most: int) -> Iterator[None]:
    """Have the disk refuse files beyond some bytes, as one that is full does."""
    before, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_disk_without_room_for_what_openvino_writes_is_not_called_a_network_that_cannot_be_read(
    halves: Halves, pictures: Pixels, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ExitStack() as full:
        save = openvino.save_model

        def saved(*args: Any, **kwargs: Any) -> None:
            full.enter_context(small_files(4096))
            save(*args, **kwargs)

        monkeypatch.setattr("openvino.save_model", saved)
        with pytest.raises(LimitError, match="File too large; free some room"):
            runtimes([halves()["plain"]], RuntimeOptions(runtime="openvino", folder=folder), lambda: pictures)
    assert [path for path in folder.iterdir() if path.suffix != ".lock"] == []


def test_a_network_that_finds_no_room_is_no_network_that_cannot_be_exported(halves: Halves, pictures: Pixels, folder: Path) -> None:
    with small_files(4096), pytest.raises(LimitError, match="File too large"):
        runtimes([halves()["plain"]], RuntimeOptions(runtime="onnxruntime", folder=folder), lambda: pictures)


def test_onnx_runtime_reports_to_nobody_and_leaves_no_files_however_it_is_called(built: Path, tmp_path: Path) -> None:
    (model,) = built.glob("*/model.onnx")
    script = (
        "from crossgeo.engine.runtime.onnxruntime import _module, missing\n"
        "assert missing('cpu') is None\n"
        f"_module().InferenceSession({str(model)!r}, providers=['CPUExecutionProvider'])\n"
    )
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([sys.executable, "-c", script], check=True, env={**os.environ, "HOME": str(home), "XDG_CACHE_HOME": str(home)})
    assert [path.name for path in home.rglob("*") if "onnxruntime" in str(path).lower()] == []


def test_nncf_is_told_to_report_nothing_before_it_is_loaded(
    halves: Halves, pictures: Pixels, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str | None] = []

    def absent(name: str) -> Never:
        seen.append(os.environ.get("NNCF_CI"))
        raise ImportError(name)

    monkeypatch.setenv("NNCF_CI", "")
    monkeypatch.setattr("crossgeo.engine.runtime.openvino.importlib", SimpleNamespace(import_module=absent))
    with pytest.raises(EngineError, match=r"int8 needs NNCF to calibrate it: pip install 'crossgeo\[int8\]'"):
        runtimes([halves()["plain"]], RuntimeOptions(runtime="openvino", precision="int8", folder=folder), lambda: pictures)
    assert seen == ["1"]


def test_what_nncf_prints_keeps_off_the_answer_of_a_command(
    halves: Halves, pictures: Pixels, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def quantize(model: object, data: object, **options: object) -> object:
        print("Statistics collection 100%")
        return model

    kinds, dataset = SimpleNamespace(TRANSFORMER="transformer"), lambda rows, transform: rows
    made = SimpleNamespace(quantize=quantize, Dataset=dataset, ModelType=kinds)
    monkeypatch.setattr("crossgeo.engine.runtime.openvino.importlib", SimpleNamespace(import_module=lambda name: made))
    runtimes([halves()["plain"]], RuntimeOptions(runtime="openvino", precision="int8", folder=folder), lambda: pictures)
    told = capsys.readouterr()
    assert told.out == "" and "Statistics collection" in told.err
