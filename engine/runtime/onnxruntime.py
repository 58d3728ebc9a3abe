"""ONNX Runtime: the network as it is exported, on processors and, with its GPU package, on CUDA."""

from __future__ import annotations

import importlib
import os
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call, OutOfMemory
from crossgeo.engine.runtime.export import export_onnx
from crossgeo.engine.runtime.failures import lacks_memory, of_loading
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.errors import EngineError

NAME = "onnxruntime"
SERVES = "any processor; GPUs with onnxruntime-gpu"
_FILE = "model.onnx"


def version() -> str:
    """Return ONNX Runtime's version."""
    for package in ("onnxruntime", "onnxruntime-gpu"):
        try:
            return installed(package)
        except PackageNotFoundError:
            continue
    raise PackageNotFoundError("onnxruntime")


def missing(device: str) -> str | None:
    """Say why ONNX Runtime cannot run on a device; None where it can."""
    try:
        providers = _module().get_available_providers()
    except ImportError:
        return "ONNX Runtime is not installed: pip install 'crossgeo[onnxruntime]'"
    if device.startswith("cuda") and "CUDAExecutionProvider" not in providers:
        return "this ONNX Runtime is without CUDA: pip install onnxruntime-gpu"
    return None


def precisions(device: str) -> tuple[str, ...]:
    """Return the precisions of a device, the one that `auto` takes first."""
    return ("fp16", "fp32") if device.startswith("cuda") else ("fp32",)


def build(half: Half, folder: Path, precision: str, largest: int, device: str, pictures: Pixels) -> None:
    """Write an engine, which is the exported network, into a folder."""
    export_onnx(half, folder / _FILE, precision)


def load(folder: Path, half: Half, precision: str, device: str) -> Call:
    """Return a call of the engine in a folder; raises as `of_loading` says."""
    import torch

    runtime = _module()
    options = runtime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    number = int(device.partition(":")[2] or 0)
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.startswith("cuda"):
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": number}))
    try:
        session = runtime.InferenceSession(folder / _FILE, options, providers=providers)
    except Exception as error:  # its errors have no common class that it exports
        raise of_loading(folder, f"ONNX Runtime {version()}", str(error).splitlines()[0]) from error
    if device.startswith("cuda") and session.get_providers()[0] != "CUDAExecutionProvider":
        raise EngineError(f"ONNX Runtime did not start on {device}: CUDA or cuDNN of another version; take --runtime torch")

    failed = runtime.capi.onnxruntime_pybind11_state

    def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        try:
            given = {slot.name: rows for slot, rows in zip(half.inputs, inputs, strict=True)}
            return tuple(session.run(list(half.outputs), given))
        except (failed.RuntimeException, failed.Fail, failed.EPFail) as error:
            if lacks_memory(str(error)):
                raise OutOfMemory from error
            raise EngineError(f"{half.title}: ONNX Runtime failed: {str(error).splitlines()[0]}") from error

    return call


def _module() -> Any:
    """Import ONNX Runtime, which else would report to its makers that it was used, and keep files for that in the user's cache."""
    os.putenv("ORT_DISABLE_TELEMETRY", "1")  # it looks when it is loaded, however this package is used
    return importlib.import_module("onnxruntime")
