"""TensorRT and TensorRT-RTX behind one module: strongly typed engines with profiles for batches of 1 to the largest.

TensorRT-RTX builds without a GPU; TensorRT needs the card that the engine is for. Both run on torch's CUDA tensors. TensorRT alone can
build engines that later versions run, too: TensorRT-RTX knows the flag, but comes without the lean runtime that such an engine carries.
"""

from __future__ import annotations

import importlib
import threading
from dataclasses import dataclass, replace
from functools import cache
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from crossgeo import disk
from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call, OutOfMemory, UnreadableError
from crossgeo.engine.runtime.export import export_onnx
from crossgeo.engine.runtime.fp8 import quantise
from crossgeo.engine.runtime.half import MOST_PX, STEP_PX, Half, Pixels
from crossgeo.engine.runtime.torch import no_gpu
from crossgeo.errors import EngineError

_FILE, _TIMINGS = "engine.plan", "timing.cache"
_TYPICAL = 16  # batch that kernels are chosen for, where the profile goes farther
_SIDES = {"min": 2, "opt": 16, "max": MOST_PX // STEP_PX}  # of images whose sizes vary, in steps: from 32 px
_WORKSPACE_BYTES = 4 << 30
_FP8_FROM = (8, 9)  # compute capability: Ada, Hopper, Blackwell


@dataclass(frozen=True)
class Flavour:
    """One of the two packages; a back end of its own."""

    NAME: str
    SERVES: str
    packages: tuple[str, ...]  # the first that is installed
    modules: tuple[str, ...]
    extra: str
    refused: tuple[tuple[int, int], ...]  # compute capabilities
    lowest: tuple[int, int]
    builds_without_gpu: bool
    fp8_cards: tuple[str, ...] = ()  # what fp8 is built for where no card is at hand, as the package names them
    compatible: bool = False  # its engines run with later versions, too

    def version(self) -> str:
        """Return the package's version; the major one alone where engines are of any that has it."""
        for package in self.packages:
            try:
                return installed(package).split(".")[0] if self.compatible else installed(package)
            except PackageNotFoundError:
                continue
        raise PackageNotFoundError(self.packages[0])

    def module(self) -> Any:
        """Import the package; raises ImportError."""
        for name in self.modules:
            try:
                return importlib.import_module(name)
            except ModuleNotFoundError as error:
                if error.name != name.split(".", maxsplit=1)[0]:
                    raise
        raise ImportError(self.modules[0])

    def absent(self) -> str | None:
        """Say why the package cannot be loaded at all, even to build; None where it can."""
        try:
            self.module()
        except (ImportError, OSError) as error:
            return f"{self.NAME} cannot be loaded ({error}): pip install 'crossgeo[{self.extra}]'"
        return None

    def missing(self, device: str) -> str | None:
        """Say why this cannot run on a device; None where it can."""
        import torch

        if not device.startswith("cuda"):
            return f"{self.NAME} runs on NVIDIA's GPUs, not on {device}"
        if absent := self.absent():
            return absent
        if why_not := no_gpu():
            return f"{self.NAME} needs a GPU with its driver to run: {why_not}"
        return self.unfit(*torch.cuda.get_device_capability(device))

    def unfit(self, major: int, minor: int) -> str | None:
        """Say why a card of a compute capability is refused; None where it is served."""
        if (major, minor) in self.refused:
            why = "does not support Hopper" if major == 9 else "is reported to return zeros on it without a word"
            return f"{self.NAME} is refused on cards of compute capability {major}.{minor}: it {why}; take torch-compile"
        if (major, minor) < self.lowest:
            return f"{self.NAME} needs compute capability {self.lowest[0]}.{self.lowest[1]} or newer, this card has {major}.{minor}"
        return None

    def precisions(self, device: str) -> tuple[str, ...]:
        """Return the precisions of a card, the one that `auto` takes first."""
        import torch

        return self.precisions_of(*torch.cuda.get_device_capability(device))

    def precisions_of(self, major: int, minor: int) -> tuple[str, ...]:
        """Return the precisions of a compute capability; fp8 is of Ada (8.9), Hopper (9.0) and what came later."""
        return ("fp16", "bf16", "fp32", "fp8") if (major, minor) >= _FP8_FROM else ("fp16", "bf16", "fp32")

    def build(self, half: Half, folder: Path, precision: str, largest: int, device: str, pictures: Pixels) -> None:
        """Write an engine into a folder; raise EngineError with TensorRT's own words where it cannot be made."""
        if absent := self.absent():
            raise EngineError(absent)
        trt, path = self.module(), folder / "model.onnx"
        export_onnx(half, path, precision)
        if precision == "fp8":
            quantise(path, half, pictures)
        words = _words(trt)
        words.said.clear()
        builder = trt.Builder(words)
        typed = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(typed)
        parser = trt.OnnxParser(network, words)
        if not parser.parse_from_file(str(path)):
            errors = "; ".join(parser.get_error(k).desc() for k in range(min(3, parser.num_errors)))
            raise EngineError(f"{half.title}: {self.NAME} cannot read the network: {errors}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
        config.add_optimization_profile(_profile(builder, half, largest))
        if self.compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if precision == "fp8" and self.fp8_cards:  # else it builds for all cards that it knows, and some have no such numbers
            config.num_compute_capabilities = len(self.fp8_cards)
            for number, card in enumerate(self.fp8_cards):
                config.set_compute_capability(getattr(trt.ComputeCapability, card), number)
        timings = self._timings(trt, config, folder)
        plan = builder.build_serialized_network(network, config)
        path.unlink()
        if plan is None:
            raise EngineError(f"{half.title}: {self.NAME} cannot build it: {'; '.join(words.said[-3:]) or 'it does not say why'}")
        disk.write(folder / _FILE, bytes(plan))
        if timings is not None:
            disk.write(folder.parent / f"{self.NAME}-{_TIMINGS}", bytes(timings.serialize()), durable=False)

    def load(self, folder: Path, half: Half, precision: str, device: str) -> Call:
        """Return a call of the engine in a folder; raise UnreadableError for an engine of another card or version."""
        import torch

        trt = self.module()
        words = _words(trt)
        words.said.clear()
        runtime = trt.Runtime(words)
        runtime.engine_host_code_allowed = self.compatible  # it carries the lean runtime of the version that built it
        engine = runtime.deserialize_cuda_engine((folder / _FILE).read_bytes())
        if engine is None:
            raise UnreadableError(f"{folder}: {self.NAME} cannot load the engine: {'; '.join(words.said[-2:]) or 'it does not say why'}")
        at, own = torch.device(device), threading.local()

        def call(inputs: tuple[Array, ...]) -> tuple[Array, ...]:
            if not hasattr(own, "context"):
                own.context, own.stream = engine.create_execution_context(), torch.cuda.Stream(at)  # type: ignore[no-untyped-call]
            context, kept = own.context, []
            with torch.cuda.stream(own.stream):
                try:
                    for slot, rows in zip(half.inputs, inputs, strict=True):
                        given = torch.from_numpy(rows).pin_memory().to(at, non_blocking=True).contiguous()
                        kept.append(given)
                        context.set_input_shape(slot.name, tuple(given.shape))
                        context.set_tensor_address(slot.name, given.data_ptr())
                    outputs = [torch.full(tuple(context.get_tensor_shape(name)), torch.nan, device=at) for name in half.outputs]
                except torch.OutOfMemoryError as error:
                    torch.cuda.empty_cache()
                    raise OutOfMemory from error
                for name, output in zip(half.outputs, outputs, strict=True):
                    context.set_tensor_address(name, output.data_ptr())
                if not context.execute_async_v3(own.stream.cuda_stream):
                    raise EngineError(f"{half.title}: {self.NAME} failed: {'; '.join(words.said[-2:])}")
            own.stream.synchronize()
            return tuple(output.cpu().numpy() for output in outputs)

        return call

    def _timings(self, trt: Any, config: Any, folder: Path) -> Any:
        """Give the builder what earlier builds measured; None for the package that measures when it runs."""
        if self.builds_without_gpu:
            return None
        path = folder.parent / f"{self.NAME}-{_TIMINGS}"
        timings = config.create_timing_cache(path.read_bytes() if path.exists() else b"")
        config.set_timing_cache(timings, ignore_mismatch=True)
        return timings


TENSORRT = Flavour(
    "tensorrt", "NVIDIA's cards from Turing (7.5) on, Hopper among them", ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"), ("tensorrt",),
    "tensorrt", (), (7, 5), builds_without_gpu=False,
)  # fmt: skip
TENSORRT_RTX = Flavour(
    "tensorrt-rtx", "NVIDIA's cards of 8.0 to 8.9 and 12.0; not Turing (7.5), not Hopper (9.0)",
    ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"), ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    "tensorrt-rtx", ((7, 5), (9, 0)), (8, 0), builds_without_gpu=True, fp8_cards=("SM89", "SM120"),
)  # fmt: skip
TENSORRT_COMPATIBLE = replace(TENSORRT, compatible=True)


def _profile(builder: Any, half: Half, largest: int) -> Any:
    """Make the one profile: batches of 1 to `largest`, sizes that vary from 32 px to the largest."""
    profile = builder.create_optimization_profile()
    for slot in half.inputs:
        shapes = [
            (batch, *(STEP_PX * _SIDES[end] if isinstance(size, str) else size for size in slot.shape))
            for batch, end in ((1, "min"), (min(_TYPICAL, largest), "opt"), (largest, "max"))
        ]
        profile.set_shape(slot.name, *shapes)
    return profile


@cache
def _words(trt: Any) -> Any:
    """Make a logger that keeps what TensorRT says is wrong, for the error that a user gets."""

    class Words(trt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.said: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
                self.said.append(message.strip())

    return Words()
