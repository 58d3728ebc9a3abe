"""OpenVINO: the default on a processor; bf16 where the processor multiplies it in hardware, int8 calibrated on real pictures if asked."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import tempfile
import threading
from contextlib import redirect_stdout
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

import numpy as np

from crossgeo import disk
from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call, OutOfMemory
from crossgeo.engine.runtime.export import export_onnx
from crossgeo.engine.runtime.failures import lacks_memory, of_building, of_loading
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.errors import EngineError
from crossgeo.processor import processors

NAME = "openvino"
SERVES = "processors of x86-64 and Arm"
_FILE = "model.xml"
_HINTS = {"fp32": "f32", "bf16": "bf16", "int8": "bf16"}


def version() -> str:
    """Return OpenVINO's version."""
    return installed("openvino")


def missing(device: str) -> str | None:
    """Say why OpenVINO cannot run on a device; None where it can."""
    if device != "cpu":
        return f"OpenVINO runs on the processor here, not on {device}"
    try:
        _core()
    except (ImportError, PackageNotFoundError, RuntimeError) as error:
        return f"OpenVINO does not start: {str(error).splitlines()[0]}; pip install openvino"
    return None


def precisions(device: str) -> tuple[str, ...]:
    """Return the precisions of the processor, the one that `auto` takes first."""
    fast = "BF16" in _core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return ("bf16", "fp32", "int8") if fast else ("fp32", "int8")


def build(half: Half, folder: Path, precision: str, largest: int, device: str, pictures: Pixels) -> None:
    """Write an engine into a folder; raise EngineError where it cannot be made, LimitError for a full disk or too little memory."""
    import openvino

    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        path = Path(scratch) / "model.onnx"
        export_onnx(half, path)
        try:
            model = _core().read_model(path)  # `convert_model` would report to its makers that it was used
            if precision == "int8":
                model = _quantised(model, half, pictures)
        except (RuntimeError, MemoryError) as error:
            raise of_building(half.title, f"OpenVINO {version()}", _told(error)) from error
        try:
            openvino.save_model(model, folder / _FILE, compress_to_fp16=precision != "fp32")
        except RuntimeError as error:  # which does not say what the disk said; a file as large does
            disk.write(Path(scratch) / "room", path.read_bytes(), durable=False)
            raise EngineError(f"{folder / _FILE}: OpenVINO cannot write the engine: {_told(error)}") from error


def load(folder: Path, half: Half, precision: str, device: str) -> Call:
    """Return a call of the engine in a folder, which runs on as many threads as torch would in the thread that calls.

    Each thread has a request of its own. An engine answers as many at once as it has streams, so threads that compute alone, as those of
    `Answering` do, share one with a stream for each of them, which is made when first needed. Raises as `of_loading` says.
    """
    import torch

    made: dict[int, Any] = {}
    making, own = threading.Lock(), _Own()

    def compiled(threads: int) -> Any:
        with making:
            if threads not in made:
                streams = max(1, processors() // threads)
                config = {
                    "INFERENCE_PRECISION_HINT": _HINTS[precision], "INFERENCE_NUM_THREADS": streams * threads, "NUM_STREAMS": streams,
                    "PERFORMANCE_HINT": "LATENCY", "ENABLE_CPU_PINNING": False,
                }  # fmt: skip
                try:
                    made[threads] = _core().compile_model(folder / _FILE, "CPU", config)
                except (RuntimeError, MemoryError) as error:
                    raise of_loading(folder, f"OpenVINO {version()}", _told(error)) from error
            return made[threads]

    def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        threads = torch.get_num_threads()
        if threads not in own.requests:
            own.requests[threads] = compiled(threads).create_infer_request()
        try:
            found = own.requests[threads].infer(list(inputs), share_inputs=True)
        except (RuntimeError, MemoryError) as error:
            if lacks_memory(_told(error)):
                raise OutOfMemory from error
            raise EngineError(f"{half.title}: OpenVINO failed: {_told(error)}; take --runtime torch") from error
        return tuple(found[k] for k in range(len(half.outputs)))

    compiled(torch.get_num_threads())
    return call


class _Own(threading.local):
    """A thread's requests, by how many threads they run on."""

    def __init__(self) -> None:
        self.requests: dict[int, Any] = {}


def _told(error: BaseException) -> str:
    """Return OpenVINO's words in one line; std::bad_alloc comes as a MemoryError."""
    return f"out of memory ({error})" if isinstance(error, MemoryError) else " ".join(str(error).split())


def _quantised(model: Any, half: Half, pictures: Pixels) -> Any:
    """Quantise products and convolutions to int8, by what activations the pictures give (NNCF)."""
    os.environ["NNCF_CI"] = "1"  # else it would report to its makers that it was used, by the command line or from Python
    with redirect_stdout(sys.stderr):  # where it would show how far it is, amid a command's answer
        try:
            nncf = importlib.import_module("nncf")
        except ImportError as error:
            raise EngineError("int8 needs NNCF to calibrate it: pip install 'crossgeo[int8]', or take --precision bf16 or fp32") from error
        logging.getLogger("nncf").setLevel(logging.ERROR)
        given = half.examples(pictures)
        rows = [tuple(slot[k : k + 1] for slot in given) for k in range(len(given[0]))]
        return nncf.quantize(model, nncf.Dataset(rows, list), subset_size=len(rows), model_type=nncf.ModelType.TRANSFORMER)


@cache
def _core() -> Any:
    import openvino
    from openvino import opset13

    core = openvino.Core()
    # OpenVINO makes its tables of types at the first inference, and waits for Python's lock while it does: two threads that ask first at
    # the same time wait for each other for ever. So one asks here, before there are others.
    given = opset13.parameter([1], np.float32)
    core.compile_model(openvino.Model([opset13.relu(given)], [given], "first"), "CPU").create_infer_request().infer(
        [np.zeros(1, np.float32)], share_inputs=True
    )[0]
    return core
