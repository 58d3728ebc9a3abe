"""What goes wrong with engines and cards: each is said, and what can be mended is."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import threading
import warnings
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from crossgeo.engine.runtime import Runtime
from crossgeo.engine.runtime.backends import InProcess, backend
from crossgeo.engine.runtime.batched import Batched
from crossgeo.engine.runtime.choose import Chosen, RuntimeOptions, build, choose, key_of, runtimes
from crossgeo.engine.runtime.half import Half
from crossgeo.engine.runtime.store import EngineStore, Record
from crossgeo.errors import EngineError, InputError, LimitError, StoreError

Pictures = NDArray[np.uint8]
Halves = Callable[[], dict[str, Half]]
GPU_RUNTIMES = ("torch", "torch-compile", "tensorrt-rtx")


def made(half: Half, options: RuntimeOptions, pictures: Pictures | None) -> Runtime:
    (runtime,) = runtimes([half], options, None if pictures is None else lambda: pictures)
    return runtime


@pytest.mark.parametrize("damage", ["cut", "flipped", "no record"])
def test_a_damaged_engine_is_gone_and_that_is_said(halves: Halves, pictures: Pictures, built: Path, damage: str) -> None:
    said: list[str] = []
    options, folder = RuntimeOptions(runtime="onnxruntime", folder=built, say=said.append), built
    (file,) = folder.glob("*/model.onnx")
    data = bytearray(file.read_bytes())
    if damage == "cut":
        file.write_bytes(data[: len(data) // 2])
    elif damage == "flipped":
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
    else:
        (file.parent / "engine.json").unlink()
    with pytest.raises(EngineError, match="built with pictures"):
        made(halves()["plain"], options, None)
    assert len(said) == 1 and "built again" in said[0]
    assert list(folder.glob("*/*")) == []


def made_unreadable(folder: Path) -> None:
    """Write what only another card or version could read into the one engine of a folder, as whole as its record says."""
    ((path, record),) = EngineStore(folder).records()
    assert isinstance(record, Record)
    file = next(path / name for name in record.files if name in {"model.onnx", "model.xml"})
    file.write_bytes(b"as another version would have written it")
    told = json.loads((path / "engine.json").read_text())
    told["files"][file.name] = hashlib.sha256(file.read_bytes()).hexdigest()
    (path / "engine.json").write_text(json.dumps(told))


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_a_file_that_the_back_end_cannot_read_is_built_again_and_that_is_said(
    halves: Halves, pictures: Pictures, folder: Path, backend: str
) -> None:
    said: list[str] = []
    options = RuntimeOptions(runtime=backend, precision="fp32", folder=folder, say=said.append)
    made(halves()["plain"], options, pictures)
    made_unreadable(folder)
    (images,) = halves()["plain"].examples(pictures)
    found, wanted = (made(halves()["plain"], replace(options, runtime=name), pictures).run(images) for name in (backend, "torch"))
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    assert len(said) == 3 and "cannot load the engine" in said[1] and said[1].endswith("it is built again") and "building" in said[2]


def test_an_engine_that_cannot_be_read_and_is_not_built_makes_room_for_torch(halves: Halves, built: Path) -> None:
    said: list[str] = []
    made_unreadable(built)
    chosen = Chosen("onnxruntime", "fp32", "as if auto took it")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("crossgeo.engine.runtime.choose.choose", lambda options: chosen)
        runtime = made(halves()["plain"], RuntimeOptions(folder=built, say=said.append), None)
    assert runtime.label in {"torch fp32 on cpu", "torch bf16 on cpu"}
    assert len(said) == 1 and "it is removed, and geo engine build makes it anew" in said[0]
    assert list(built.glob("*/engine.json")) == []


@pytest.mark.parametrize("change", ["version", "device"])
def test_an_engine_of_another_version_or_card_is_not_taken_and_that_is_said(
    halves: Halves, pictures: Pictures, built: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    if change == "version":
        monkeypatch.setattr("crossgeo.engine.runtime.onnxruntime.version", lambda: "99.0")
    else:
        monkeypatch.setattr("crossgeo.engine.runtime.choose.device_label", lambda device: "another card, 12.0")
    made(halves()["plain"], RuntimeOptions(runtime="onnxruntime", folder=built, say=said.append), pictures)
    assert len(said) == 1
    assert "building an engine for onnxruntime fp32, once; those that are here are of another version or device: onnxruntime" in said[0]
    assert len(list(built.glob("*/engine.json"))) == 2


@pytest.mark.parametrize("runtime", ["onnxruntime", "auto"])
def test_an_engine_of_low_precision_that_gives_no_numbers_is_refused(
    halves: Halves, pictures: Pictures, folder: Path, runtime: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    half, said = halves()["aerial"], list[str]()
    monkeypatch.setattr("crossgeo.engine.runtime.onnxruntime.precisions", lambda device: ("fp16", "fp32"))
    monkeypatch.setattr("crossgeo.engine.runtime.choose._quickest", lambda device: ("onnxruntime", "as if it were"))
    for parameter in half.module.parameters():
        if parameter.ndim == 1:  # norms and biases, beyond 16 bits
            parameter.data.mul_(3e4)
    options = RuntimeOptions(runtime=runtime, precision="fp16", folder=folder, build=True, say=said.append)
    if runtime == "auto":
        assert made(half, options, pictures).label.startswith("torch")
        assert "descriptors holds values that are no numbers" in said[-1] and said[-1].endswith("going on with torch")
    else:
        with pytest.raises(EngineError, match="engine of onnxruntime fp16 is refused: descriptors holds values that are no numbers"):
            made(half, options, pictures)
    ((_, record),) = EngineStore(folder).records()
    assert isinstance(record, Record) and record.refused


@pytest.mark.parametrize("name", GPU_RUNTIMES)
def test_where_there_is_no_gpu_that_is_said(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    monkeypatch.setattr("torch.version.cuda", None)
    with pytest.raises(EngineError, match="is built without CUDA"):
        choose(RuntimeOptions(runtime=name, device="cuda"))
    monkeypatch.setattr("torch.version.cuda", "13.0")
    with pytest.raises(EngineError, match="finds no GPU or no driver here"):
        choose(RuntimeOptions(runtime=name, device="cuda"))


@pytest.mark.parametrize("name", GPU_RUNTIMES)
def test_a_driver_that_is_too_old_is_told_from_none(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def as_torch_says_it() -> bool:
        warnings.warn("CUDA initialization: The NVIDIA driver on your system is too old (found version 11040).", stacklevel=1)
        return False

    monkeypatch.setattr("torch.cuda.is_available", as_torch_says_it)
    monkeypatch.setattr("torch.version.cuda", "13.0")
    with pytest.raises(EngineError, match=r"driver is too old for torch .*, which is built for CUDA 13\.0; install a newer driver"):
        choose(RuntimeOptions(runtime=name, device="cuda"))


def too_little() -> Pictures:
    raise InputError("small.tif: shows too little ground to check an engine with")


@pytest.mark.parametrize("trouble", ["little ground", "a file", "no such place", "forbidden", "full"])
def test_auto_goes_on_with_torch_where_no_engine_can_be_kept_or_checked_and_a_name_does_not(
    halves: Halves, pictures: Pictures, folder: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refusing(path: Path, *args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC if trouble == "full" else errno.EACCES, "as the system says it", str(path))

    match trouble:
        case "a file":
            folder.write_text("")
        case "no such place":
            folder = Path("/proc/nope/engines")
        case "full" | "forbidden":
            monkeypatch.setattr(Path, "mkdir", refusing)
    shown = too_little if trouble == "little ground" else lambda: pictures
    both, said = [halves()["plain"], replace(halves()["plain"], name="other")], list[str]()
    options = RuntimeOptions(precision="fp32", folder=folder, build=True, say=said.append)
    assert [one.label for one in runtimes(both, options, shown)] == ["torch fp32 on cpu"] * 2
    assert len(said) == 1 and said[0].endswith("; going on with torch")
    assert ("too little ground" if trouble == "little ground" else str(folder)) in said[0]
    with pytest.raises((InputError, LimitError, StoreError)):
        runtimes(both, replace(options, runtime="onnxruntime"), shown)


def test_of_two_builders_one_builds_and_the_other_waits(halves: Halves, pictures: Pictures, folder: Path) -> None:
    half, chosen = halves()["plain"], Chosen("onnxruntime", "fp32", "")
    folder.mkdir()
    handle = os.open(folder / f"{key_of(half, chosen, RuntimeOptions()).digest}.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(handle, fcntl.LOCK_EX)  # as if another process were building; the lock is the open file's, so threads stand for processes
    said: list[list[str]] = [[], []]
    waits = threading.Barrier(3)

    def build_one(lines: list[str]) -> Record:
        def say(line: str) -> None:
            lines.append(line)
            if "waiting" in line:
                waits.wait(60)

        return build(half, chosen, RuntimeOptions(folder=folder, say=say), lambda: pictures)

    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(build_one, lines) for lines in said]
        waits.wait(60)  # both have found it locked
        os.close(handle)
        assert both[0].result(120) == both[1].result(120)
    assert sorted(sum("building" in line for line in lines) for lines in said) == [0, 1]
    assert len(list(folder.glob("*/engine.json"))) == 1


def test_a_disk_that_is_full_leaves_no_half_engine(
    halves: Halves, pictures: Pictures, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes, *, durable: bool = True) -> None:
        raise LimitError(f"{path}: No space left on device; free some room")

    monkeypatch.setattr("crossgeo.engine.runtime.store.disk.write", full)
    with pytest.raises(LimitError, match="No space left"):
        made(halves()["plain"], RuntimeOptions(runtime="onnxruntime", folder=folder), pictures)
    monkeypatch.undo()
    assert [path.name for path in folder.iterdir() if path.suffix != ".lock"] == []


class Roomy(nn.Module):
    """A network whose device has room for two images."""

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        """(B, 3, H, W) -> (B, 3)."""
        if len(images) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        return (images.mean(dim=(2, 3)),)


def test_a_batch_beyond_the_device_s_memory_is_halved_once_and_that_is_said(halves: Halves, pictures: Pictures) -> None:
    half, said = replace(halves()["aerial"], module=Roomy()), list[str]()
    options = RuntimeOptions(runtime="torch", precision="fp32", batch=4, say=said.append)
    (images,) = half.examples(pictures)
    np.testing.assert_allclose(made(half, options, None).run(images), images.mean(axis=(2, 3)), atol=1e-5)
    assert said == ["torch fp32 on cpu: out of memory; going on with batches of 2"]
    with pytest.raises(LimitError, match="out of memory for batches of 8 and of 4; free the device's memory, or take another --device"):
        made(half, replace(options, batch=8), None).run(np.concatenate([images, images]))


@pytest.mark.parametrize(
    "said",
    [
        "CUDA out of memory. Tried to allocate 2.00 GiB",
        "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`",
        "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
        "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
        "[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory: you tried to allocate 1099511627776 bytes",
    ],
)
@pytest.mark.parametrize("backend_name", ["torch", "torch-compile"])
def test_what_torch_and_its_libraries_say_of_memory_makes_batches_smaller(
    halves: Halves, pictures: Pictures, said: str, backend_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Short(nn.Module):
        def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
            if len(images) > 2:
                raise RuntimeError(said)
            return (images.mean(dim=(2, 3)),)

    monkeypatch.setattr(torch, "compile", lambda module, **how: module)
    (images,) = halves()["aerial"].examples(pictures)
    runtime = Batched(cast(InProcess, backend(backend_name)).load(Short(), "fp32", "cpu"), backend_name, 4)
    np.testing.assert_allclose(runtime.run(images), images.mean(axis=(2, 3)), atol=1e-5)
    assert runtime.largest == 2


@pytest.mark.parametrize("backend_name", ["torch", "torch-compile"])
def test_weights_for_which_there_is_no_room_are_said(backend_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    class Large(nn.Linear):
        def to(self, *where: Any, **how: Any) -> Any:
            raise torch.OutOfMemoryError("CUDA out of memory")

    with pytest.raises(LimitError, match="cpu: too little memory for a model's weights; free the device"):
        cast(InProcess, backend(backend_name)).load(Large(2, 2), "fp32", "cpu")


def test_other_errors_of_torch_stay_what_they_are() -> None:
    class Broken(nn.Module):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    with pytest.raises(RuntimeError, match="cannot be multiplied"):
        cast(InProcess, backend("torch")).load(Broken(), "fp32", "cpu")((np.ones((1, 3), np.float32),))
