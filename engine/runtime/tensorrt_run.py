"""Engines of TensorRT and TensorRT-RTX at work, on torch's CUDA tensors.

A few passes run at once, each with a context for each profile that it met. Contexts have no memory of their own: each pass borrows from
torch what its shapes need, so that passes and engines share it, small batches take little, and too little is found out before it runs.
"""

from __future__ import annotations

import queue
import threading
import uuid
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from crossgeo import disk
from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call, OutOfMemory
from crossgeo.engine.runtime.failures import lacks_memory, of_loading
from crossgeo.engine.runtime.half import Half, Slot
from crossgeo.engine.runtime.tensorrt_words import logger
from crossgeo.errors import EngineError, GeoError

FILE = "engine.plan"
_AT_ONCE = 2  # passes of one engine: while one computes, the other brings its rows


def on_card(device: str) -> AbstractContextManager[Any]:
    """Make a device the one that CUDA works on, since TensorRT takes the current one; nothing where there is none, as when RTX builds."""
    return torch.cuda.device(device) if torch.cuda.is_available() else nullcontext()


def load(trt: Any, name: str, folder: Path, half: Half, device: str, *, host_code: bool, keeps_kernels: bool) -> Call:
    """Return a call of the engine in a folder (a `batched.DeviceCall`); raises as `of_loading` says.

    name: of the back end, with its version. host_code: the engine carries the runtime of the version that built it, and may run it.
    keeps_kernels: kernels are compiled when shapes first come, and kept beside the engine.
    """
    words = logger(trt)
    plan = (folder / FILE).read_bytes()
    with on_card(device):
        words.said.forget()
        try:
            runtime = trt.Runtime(words)
            runtime.engine_host_code_allowed = host_code
            engine = runtime.deserialize_cuda_engine(plan)
        except (TypeError, RuntimeError) as error:  # a null pointer is a TypeError
            raise of_loading(folder, name, f"{words.said.text()} ({error})") from error
        if engine is None:
            raise of_loading(folder, name, "; ".join([words.said.text(), *_invalid(trt, runtime, plan)]))
        kernels = _Kernels(trt, engine, folder / "kernels" / "runtime.cache") if keeps_kernels else None
        return _Loaded(trt, engine, runtime, name, half, device, kernels)


def _invalid(trt: Any, runtime: Any, plan: bytes) -> list[str]:
    """Return what TensorRT-RTX finds wrong with an engine, by the names that it has for that; TensorRT has none."""
    if not hasattr(runtime, "get_engine_validity"):
        return []
    _, found = runtime.get_engine_validity(plan)
    return [name for name, kind in trt.EngineInvalidityDiagnostics.__members__.items() if int(found) & int(kind)]


@dataclass
class _Place:
    """What a pass needs for itself."""

    stream: Any = None
    contexts: dict[int, Any] = field(default_factory=dict)  # by profile


class _Loaded:
    """An engine that is loaded, on its card: a `batched.DeviceCall`."""

    def __init__(self, trt: Any, engine: Any, runtime: Any, name: str, half: Half, device: str, kernels: _Kernels | None) -> None:
        self.device = torch.device(device)
        self._trt, self._engine, self._runtime, self._name, self._half, self._card = trt, engine, runtime, name, half, device
        self._said, self._kernels = logger(trt).said, kernels
        shapes = [engine.get_tensor_profile_shape(half.inputs[0].name, number) for number in range(engine.num_optimization_profiles)]
        self._profiles = [(int(least[0]), int(most[0])) for least, _, most in shapes]
        self._places: queue.LifoQueue[_Place] = queue.LifoQueue()
        for _ in range(_AT_ONCE):
            self._places.put(_Place())

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return tuple(output.cpu().numpy() for output in self.on_device(inputs))

    def on_device(self, inputs: tuple[Array | Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the outputs of a batch on the card; raises OutOfMemory where it has too little for it, EngineError for anything else."""
        place = self._places.get()
        try:
            with on_card(self._card):
                self._said.forget()
                return self._run(place, inputs)
        except OutOfMemory:
            place.contexts.clear()  # which keep a little, too
            torch.cuda.empty_cache()
            raise
        except RuntimeError as error:  # torch's
            if isinstance(error, torch.OutOfMemoryError) or lacks_memory(str(error)):
                place.contexts.clear()
                torch.cuda.empty_cache()
                raise OutOfMemory from error
            raise EngineError(f"{self._half.title}: {self._name} failed: {str(error).splitlines()[0]}; take --runtime torch") from error
        finally:
            self._places.put(place)

    def _run(self, place: _Place, inputs: tuple[Array | Tensor, ...]) -> tuple[Tensor, ...]:
        half, at = self._half, self.device
        if place.stream is None:
            place.stream = torch.cuda.Stream(at)  # type: ignore[no-untyped-call]
        stream = place.stream
        context, profile = self._context(place, len(inputs[0]))
        given = [_put(rows, slot, at) for rows, slot in zip(inputs, half.inputs, strict=True)]
        for slot, tensor in zip(half.inputs, given, strict=True):
            shape = tuple(tensor.shape)
            self._must(context.set_input_shape(slot.name, shape), f"is built for other shapes of {slot.name} than {shape}")
            self._must(context.set_tensor_address(slot.name, tensor.data_ptr()), f"does not take {slot.name}")
        size = context.update_device_memory_size_for_shapes() or self._engine.get_device_memory_size_for_profile_v2(profile)
        scratch = torch.empty(max(1, size), dtype=torch.uint8, device=at)
        context.set_device_memory(scratch.data_ptr(), scratch.numel())
        outputs = tuple(torch.full(tuple(context.get_tensor_shape(name)), torch.nan, device=at) for name in half.outputs)
        for name, output in zip(half.outputs, outputs, strict=True):
            self._must(context.set_tensor_address(name, output.data_ptr()), f"does not take {name}")
        stream.wait_stream(torch.cuda.current_stream(at))  # in which the rows are brought and the outputs filled
        self._must(context.execute_async_v3(stream.cuda_stream), "failed")
        stream.synchronize()
        if self._kernels is not None:
            self._kernels.keep(tuple(tuple(tensor.shape) for tensor in given))
        return outputs

    def _context(self, place: _Place, batch: int) -> tuple[Any, int]:
        """Return a place's context for a batch, and its profile."""
        profile = next((number for number, (least, most) in enumerate(self._profiles) if least <= batch <= most), None)
        if profile is None:
            most = self._profiles[-1][1]
            raise EngineError(f"{self._half.title}: the engine of {self._name} is built for batches up to {most}, not {batch}")
        if profile not in place.contexts:
            own = self._trt.ExecutionContextAllocationStrategy.USER_MANAGED
            context = self._engine.create_execution_context(own if self._kernels is None else self._kernels.config)
            self._must(context is not None, "makes no context")
            self._must(context.set_optimization_profile_async(profile, place.stream.cuda_stream), f"has no profile {profile}")
            place.contexts[profile] = context
        return place.contexts[profile], profile

    def _must(self, done: bool, what: str) -> None:
        """Raise OutOfMemory or EngineError where a call of TensorRT was not done."""
        if not done:
            said = self._said.text()
            if lacks_memory(said):
                raise OutOfMemory(said)
            raise EngineError(f"{self._half.title}: {self._name} {what}: {said}; take --runtime torch")


class _Kernels:
    """What TensorRT-RTX compiles for the card when shapes come, in a file beside the engine: later processes need not compile it.

    The file is no part of what makes an engine whole. TensorRT-RTX itself refuses one of another card, driver or version.
    """

    def __init__(self, trt: Any, engine: Any, path: Path) -> None:
        self.config, self._path = engine.create_runtime_config(), path
        self.config.set_execution_context_allocation_strategy(trt.ExecutionContextAllocationStrategy.USER_MANAGED)
        self._cache, self._kept = self.config.create_runtime_cache(), b""
        with suppress(OSError):
            kept = path.read_bytes()
            if self._cache.deserialize(kept):
                self._kept = kept
        self.config.set_runtime_cache(self._cache)
        self._seen: set[tuple[tuple[int, ...], ...]] = set()
        self._passes = 0
        self._keeping = threading.Lock()

    def keep(self, shapes: tuple[tuple[int, ...], ...]) -> None:
        """Write what there is, after shapes that are new and after 1, 2, 4, 8, ... passes, since it compiles on in the background.

        A disk that refuses it costs the next process time, no more.
        """
        with self._keeping:
            self._passes += 1
            if shapes in self._seen and self._passes & (self._passes - 1):
                return
            self._seen.add(shapes)
            made = self._cache.serialize()
            if made is None or bytes(made) == self._kept or not self._path.parent.parent.is_dir():
                return
            self._kept = bytes(made)
            with suppress(GeoError, OSError):
                disk.make_folder(self._path.parent)
                disk.write(self._path, self._kept, durable=False, among=uuid.uuid4().hex[:12])


def _put(rows: Array | Tensor, slot: Slot, device: torch.device) -> Tensor:
    """Bring an input to the card as its slot has it, from pinned memory so that the copy does not hold up the processor."""
    tensor = rows if isinstance(rows, Tensor) else torch.from_numpy(np.ascontiguousarray(rows))
    if device.type == "cuda" and tensor.device.type == "cpu":
        tensor = tensor.pin_memory()
    return tensor.to(device, torch.uint8 if slot.dtype == "uint8" else torch.float32, non_blocking=True).contiguous()
