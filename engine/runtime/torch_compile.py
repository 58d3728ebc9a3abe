"""torch.compile: kernels made for a half at its first call; under CUDA graphs on a GPU, where launches would cost more than work."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call, OutOfMemory
from crossgeo.engine.runtime.torch import laid, made_ready, no_gpu, precisions, to_arrays, version
from crossgeo.errors import EngineError

NAME = "torch-compile"
SERVES = "processors with a C++ compiler; GPUs of compute capability 7.0 and newer through Triton, under CUDA graphs"

R = TypeVar("R")
__all__ = ["NAME", "SERVES", "load", "missing", "precisions", "version"]


def missing(device: str) -> str | None:
    """Say why torch.compile cannot run on a device; None where it can."""
    if device.startswith("cuda"):
        if why_not := no_gpu():
            return why_not
        major, minor = torch.cuda.get_device_capability(device)
        return None if major >= 7 else f"Triton needs a GPU of compute capability 7.0 or newer, and this one has {major}.{minor}"
    return None if any(shutil.which(name) for name in ("g++", "clang++", "c++")) else "torch.compile needs a C++ compiler; install g++"


def load(module: nn.Module, precision: str, device: str) -> Call:
    """Return a call of a half's module; each size of batch is compiled when it first comes, which takes up to a minute.

    Raises EngineError where the compiler fails.
    """
    return _Call(module, precision, torch.device(device))


class _Call:
    """A `batched.DeviceCall`."""

    def __init__(self, module: nn.Module, precision: str, device: torch.device) -> None:
        self.device = device
        ready = made_ready(module, device, precision).requires_grad_(False)
        mode = "max-autotune" if device.type == "cuda" else None  # which captures CUDA graphs
        self._compiled = torch.compile(ready, mode=mode, dynamic=False)
        self._low = precision != "fp32"
        self._dtype = torch.float16 if precision == "fp16" else torch.bfloat16

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return self._called(inputs, to_arrays)

    def on_device(self, inputs: tuple[Array | Tensor, ...]) -> tuple[Tensor, ...]:
        return self._called(inputs, _copied)

    def _called(self, inputs: tuple[Array | Tensor, ...], taken: Callable[[Any], R]) -> R:
        """Call the module; what is taken of its outputs must be copies, since graphs write into the same memory at each call."""
        with torch.no_grad(), torch.autocast(self.device.type, self._dtype, enabled=self._low):
            if self.device.type == "cuda":
                torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
            try:
                return taken(self._compiled(*(laid(rows, self.device) for rows in inputs)))  # type: ignore[no-untyped-call]
            except torch.OutOfMemoryError as error:
                torch.cuda.empty_cache()
                raise OutOfMemory from error
            except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
                raise EngineError(f"torch.compile failed: {str(error).splitlines()[0]}; take --runtime torch") from error


def _copied(outputs: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return tuple(output.clone() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))
