"""The torch runtime, the definition: channels last, inference mode, bf16 where the processor is fast at it."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor, nn

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call, OutOfMemory, Pending
from crossgeo.engine.runtime.failures import lacks_memory
from crossgeo.engine.runtime.half import MOST_PIXELS
from crossgeo.engine.runtime.staging import Here, Staging, staging
from crossgeo.errors import LimitError
from crossgeo.models.low_precision import cast_whole

R = TypeVar("R")
NAME = "torch"
SERVES = "any processor; GPUs through CUDA"
_MOST_PIXELS_GPU = 1 << 26  # 256 images of 512 px; more at once are no quicker
_BYTES_PER_PIXEL = 512  # what a pass of our networks holds at a time, generously; where it is not enough batches get smaller


def version() -> str:
    """Return torch's version."""
    return str(torch.__version__)


def missing(device: str) -> str | None:
    """Say why torch cannot run on a device; None where it can."""
    return no_gpu() if device.startswith("cuda") else None


def no_gpu() -> str | None:
    """Say why torch has no GPU here, a driver that is too old told from none; None where it has one."""
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        if torch.cuda.is_available():
            return None
    if torch.version.cuda is None and torch.version.hip is None:
        return f"torch {version()} is built without CUDA; install one that is built with it"
    if any("driver on your system is too old" in str(one.message) for one in said):
        return f"the GPU's driver is too old for torch {version()}, which is built for CUDA {torch.version.cuda}; install a newer driver"
    return f"torch {version()} finds no GPU or no driver here"


def precisions(device: str) -> tuple[str, ...]:
    """Return the precisions of a device, the one that `auto` takes first."""
    if device.startswith("cuda"):
        return ("bf16", "fp32", "fp16") if torch.cuda.is_bf16_supported() else ("fp16", "fp32")
    return ("bf16", "fp32") if cpu_has_fast_bf16() else ("fp32", "bf16")


def most_pixels(device: torch.device) -> int:
    """Return how many pixels of images a batch may have: on a GPU as many as its free memory has room for."""
    if device.type != "cuda":
        return MOST_PIXELS
    free, _ = torch.cuda.mem_get_info(device)
    return int(min(_MOST_PIXELS_GPU, max(1, free // _BYTES_PER_PIXEL)))


def cpu_has_fast_bf16() -> bool:
    """Say whether the CPU multiplies bf16 in hardware (AMX tiles or AVX-512 BF16)."""
    asks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in asks if hasattr(torch.cpu, name))


def load(module: nn.Module, precision: str, device: str) -> Call:
    """Return a call of a half's module, whose weights are cast in place: once, instead of by autocast at every call."""
    return _Call(module, precision, torch.device(device))


class _Call:
    """A `batched.DeviceCall` that can keep a batch in flight."""

    def __init__(self, module: nn.Module, precision: str, device: torch.device) -> None:
        self.device = device
        with room_for_weights(device):
            self._ready = made_ready(module, device, precision)
        self._precision = precision

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return self.begin(inputs).arrays()

    def begin(self, inputs: tuple[Array, ...]) -> Pending:
        return self._called(inputs, begun)

    def on_device(self, inputs: tuple[Array | Tensor, ...]) -> tuple[Tensor, ...]:
        return self._called(inputs, lambda outputs: outputs if isinstance(outputs, tuple) else (outputs,))

    def _called(self, inputs: tuple[Array | Tensor, ...], taken: Callable[[Any], R]) -> R:
        with room_told(), torch.inference_mode(), casting(self.device.type, self._precision):
            return taken(self._ready(*(laid(rows, self.device) for rows in inputs)))


@contextmanager
def room_told() -> Iterator[None]:
    """Turn what torch, cuBLAS and cuDNN say of too little memory into OutOfMemory, and give back what torch keeps for later."""
    try:
        yield
    except RuntimeError as error:
        if not isinstance(error, torch.OutOfMemoryError) and not lacks_memory(str(error)):
            raise
        torch.cuda.empty_cache()
        raise OutOfMemory from error


@contextmanager
def room_for_weights(device: torch.device) -> Iterator[None]:
    """Turn too little memory for a model's weights into LimitError."""
    try:
        with room_told():
            yield
    except OutOfMemory as error:
        raise LimitError(f"{device}: too little memory for a model's weights; free the device, or take --device cpu") from error


def made_ready(module: nn.Module, device: torch.device, precision: str) -> Any:
    """Put a module on a device, channels last; in a low precision the weights that autocast would cast at every call are cast once."""
    module = module.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    return module if precision == "fp32" else lowered(module, device.type, precision)


def lowered(module: nn.Module, device_type: str, precision: str) -> nn.Module:
    """Cast a module's weights in place: on a GPU in bf16 all of them (`cast_whole`), elsewhere those that `casting` would cast."""
    if not autocasts(device_type, precision):
        return cast_whole(module, torch.bfloat16)
    for part in module.modules():
        if isinstance(part, nn.Conv2d | nn.Linear):
            part.to(torch.float16 if precision == "fp16" else torch.bfloat16)
    return module


def autocasts(device_type: str, precision: str) -> bool:
    """Say whether a low precision runs under autocast: on a GPU bf16 does without, and fp16, which overflows, does not."""
    return precision == "fp16" or (precision == "bf16" and device_type != "cuda")


def casting(device_type: str, precision: str) -> torch.autocast:
    """Return the autocast of a precision, which does nothing where it does without."""
    dtype = torch.float16 if precision == "fp16" else torch.bfloat16
    return torch.autocast(device_type, dtype, enabled=autocasts(device_type, precision))


def laid(rows: Array | Tensor, device: torch.device) -> Tensor:
    """Bring an input to a device, images channels last; to a GPU by a stream of its own, in whichever order its bytes lie."""
    tensor = rows if isinstance(rows, Tensor) else _tensor(rows)
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = _staged(tensor, staging(device))
    return tensor.to(memory_format=torch.channels_last) if tensor.ndim == 4 else tensor


def _tensor(rows: Array) -> Tensor:
    return torch.from_numpy(rows if all(stride >= 0 for stride in rows.strides) else np.ascontiguousarray(rows))


def _staged(tensor: Tensor, way: Staging) -> Tensor:
    if tensor.ndim == 4 and tensor.is_contiguous(memory_format=torch.channels_last):
        return way.put(tensor.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
    return way.put(tensor.contiguous())


def begun(outputs: Tensor | tuple[Tensor, ...]) -> Pending:
    """Begin to bring outputs back as float32."""
    every = tuple(output.float() for output in (outputs if isinstance(outputs, tuple) else (outputs,)))
    if every[0].device.type == "cuda":
        return staging(every[0].device).take([output.contiguous() for output in every])
    return Here(every)
