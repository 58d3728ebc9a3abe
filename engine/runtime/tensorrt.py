"""TensorRT and TensorRT-RTX behind one module: strongly typed engines with profiles for batches of 1 to the largest.

TensorRT-RTX builds without a GPU; TensorRT needs the card that the engine is for. Both run on torch's CUDA tensors. TensorRT alone can
build engines that later versions run, too: TensorRT-RTX knows the flag, but comes without the lean runtime that such an engine carries.
"""

from __future__ import annotations

import importlib
import re
import uuid
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed
from pathlib import Path
from typing import Any

from crossgeo import disk
from crossgeo.engine.runtime.batched import Call
from crossgeo.engine.runtime.export import export_onnx
from crossgeo.engine.runtime.failures import of_building
from crossgeo.engine.runtime.fp8 import quantise
from crossgeo.engine.runtime.half import MOST_PX, STEP_PX, Half, Pixels
from crossgeo.engine.runtime.tensorrt_run import FILE, load, on_card
from crossgeo.engine.runtime.tensorrt_words import logger
from crossgeo.engine.runtime.torch import no_gpu
from crossgeo.errors import EngineError, GeoError

_BATCHES = ((1, 1, 1), (2, 16, 32), (33, 256, 256))  # of a profile each: the least, the one that kernels are chosen for, the most
_SIDES = (2, 16, MOST_PX // STEP_PX)  # of images whose sizes vary, in steps: the least (32 px), the one chosen for, the most
_WORKSPACE_BYTES = 4 << 30
_BF16_FROM, _FP8_FROM = (8, 0), (8, 9)  # compute capabilities
_WHY_NOT = {(7, 5): "is reported to return zeros on it without a word", (9, 0): "does not support Hopper"}


@dataclass(frozen=True)
class Flavour:
    """One of the two packages; a back end of its own."""

    NAME: str
    SERVES: str
    packages: tuple[str, ...]  # the first that is installed
    modules: tuple[str, ...]
    extra: str
    lowest: tuple[int, int]  # compute capability
    builds_without_gpu: bool
    served: tuple[tuple[int, int], ...] = ()  # compute capabilities, where only some from the lowest on are
    fp8_cards: tuple[str, ...] = ()  # that have fp8, as the package names them, where not all from Ada on do
    compatible: bool = False  # its engines run with later versions, too

    def version(self) -> str:
        """Return the package's version; the major one alone where engines are of any that has it."""
        return self.release().split(".")[0] if self.compatible else self.release()

    def release(self) -> str:
        """Return the package's whole version."""
        for package in self.packages:
            try:
                return installed(package)
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
        card = f"{major}.{minor}"
        if (major, minor) < self.lowest and (major, minor) not in _WHY_NOT:
            return f"{self.NAME} needs compute capability {self.lowest[0]}.{self.lowest[1]} or newer, this card has {card}"
        if self.served and (major, minor) not in self.served:
            served = ", ".join(f"{one}.{other}" for one, other in self.served)
            why = _WHY_NOT.get((major, minor), "is not made for it")
            return f"{self.NAME} is refused on cards of compute capability {card}: it {why}, and serves {served}; take torch-compile"
        return None

    def precisions(self, device: str) -> tuple[str, ...]:
        """Return the precisions of a card, the one that `auto` takes first."""
        import torch

        return self.precisions_of(*torch.cuda.get_device_capability(device))

    def precisions_of(self, major: int, minor: int) -> tuple[str, ...]:
        """Return the precisions of a compute capability: bf16 came with Ampere (8.0), fp8 with Ada (8.9)."""
        low = ("fp16", "bf16") if (major, minor) >= _BF16_FROM else ("fp16",)
        has_fp8 = f"SM{major}{minor}" in self.fp8_cards if self.fp8_cards else (major, minor) >= _FP8_FROM
        return (*low, "fp32", "fp8") if has_fp8 else (*low, "fp32")

    def build(self, half: Half, folder: Path, precision: str, largest: int, device: str, pictures: Pixels) -> None:
        """Write an engine into a folder; raise EngineError with TensorRT's own words where it cannot be made, LimitError for memory."""
        if absent := self.absent():
            raise EngineError(absent)
        trt, path = self.module(), folder / "model.onnx"
        export_onnx(half, path, precision)
        if precision == "fp8":
            quantise(path, half, pictures)
        words = logger(trt)
        with on_card(device):
            words.said.forget()
            try:
                plan = self._plan(trt, words, half, path, precision, largest, device)
            except (TypeError, RuntimeError) as error:  # a null pointer is a TypeError
                raise of_building(half.title, f"{self.NAME} {self.release()}", f"{words.said.text()} ({error})") from error
        path.unlink()
        if plan is None:
            raise of_building(half.title, f"{self.NAME} {self.release()}", words.said.text())
        disk.write(folder / FILE, bytes(plan))

    def load(self, folder: Path, half: Half, precision: str, device: str) -> Call:
        """Return a call of the engine in a folder; raises as `failures.of_loading` says."""
        name, trt = f"{self.NAME} {self.release()}", self.module()
        return load(trt, name, folder, half, device, host_code=self.compatible, keeps_kernels=self.builds_without_gpu)

    def _plan(self, trt: Any, words: Any, half: Half, path: Path, precision: str, largest: int, device: str) -> Any:
        """Build the engine of an exported network; None where TensorRT cannot."""
        builder = trt.Builder(words)
        network = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
        parser = trt.OnnxParser(network, words)
        if not parser.parse_from_file(str(path)):
            errors = "; ".join(parser.get_error(k).desc() for k in range(min(3, parser.num_errors)))
            raise EngineError(f"{half.title}: {self.NAME} cannot read the network: {errors}")
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, _WORKSPACE_BYTES)
        for batches in profiles_to(largest):
            config.add_optimization_profile(_profile(builder, half, batches))
        if self.compatible:
            config.set_flag(trt.BuilderFlag.VERSION_COMPATIBLE)
        if not self.builds_without_gpu:
            timings = _Timings(path.parent.parent, f"{self.NAME} {self.release()} {_card(device)}", config)
            plan = builder.build_serialized_network(network, config)
            timings.keep()
            return plan
        cards = self._cards(trt, precision, device)
        if cards:  # else it builds for those that it finds likely
            config.num_compute_capabilities = len(cards)
            for number, card in enumerate(cards):
                config.set_compute_capability(getattr(trt.ComputeCapability, card), number)
        return builder.build_serialized_network(network, config)

    def _cards(self, trt: Any, precision: str, device: str) -> tuple[str, ...]:
        """Return what TensorRT-RTX is to build for: the card that is here; where none is, those that have fp8 if it is asked for."""
        import torch

        if torch.cuda.is_available():
            major, minor = torch.cuda.get_device_capability(device)
            if f"SM{major}{minor}" in trt.ComputeCapability.__members__:
                return (f"SM{major}{minor}",)
        return self.fp8_cards if precision == "fp8" else ()


TENSORRT = Flavour(
    "tensorrt", "NVIDIA's cards from Turing (7.5) on, Hopper among them", ("tensorrt", "tensorrt-cu13", "tensorrt-cu12"), ("tensorrt",),
    "tensorrt", (7, 5), builds_without_gpu=False,
)  # fmt: skip
TENSORRT_RTX = Flavour(
    "tensorrt-rtx", "NVIDIA's cards of 8.0, 8.6, 8.9, 12.0 and 12.1; not Turing (7.5), not Hopper (9.0)",
    ("tensorrt-rtx", "tensorrt-rtx-cu13-bindings", "tensorrt-rtx-cu12-bindings"), ("tensorrt_rtx", "tensorrt_rtx_bindings"),
    "tensorrt-rtx", (8, 0), builds_without_gpu=True,
    served=((8, 0), (8, 6), (8, 9), (12, 0), (12, 1)),  # of NVIDIA's support matrix, and 8.0, which the package names beside them
    fp8_cards=("SM89", "SM120", "SM121"),
)  # fmt: skip
TENSORRT_COMPATIBLE = replace(TENSORRT, compatible=True)


def profiles_to(largest: int) -> list[tuple[int, int, int]]:
    """Return the profiles' batches up to the largest: the least, the one that kernels are chosen for, and the most of each."""
    return [(least, min(best, largest), min(most, largest)) for least, best, most in _BATCHES if least <= largest]


def _profile(builder: Any, half: Half, batches: tuple[int, int, int]) -> Any:
    """Make a profile: some batches, and sizes that vary from 32 px to the largest."""
    profile = builder.create_optimization_profile()
    for slot in half.inputs:
        shapes = [
            (batch, *(STEP_PX * steps if isinstance(size, str) else size for size in slot.shape))
            for batch, steps in zip(batches, _SIDES, strict=True)
        ]
        profile.set_shape(slot.name, *shapes)
    return profile


def _card(device: str) -> str:
    import torch

    major, minor = torch.cuda.get_device_capability(device)
    return f"{torch.cuda.get_device_name(device)} {major}.{minor}"


class _Timings:
    """What builds measured of kernels, for later builds of the same version on the same card. It saves time: no build fails for it."""

    def __init__(self, folder: Path, name: str, config: Any) -> None:
        self._path = folder / f"{re.sub('[^a-z0-9.]+', '-', name.lower())}.timings"
        kept = b""
        with suppress(OSError):
            kept = self._path.read_bytes()
        self._cache = config.create_timing_cache(kept)
        if self._cache is None or not config.set_timing_cache(self._cache, ignore_mismatch=False):  # damaged, or of another driver
            self._cache = config.create_timing_cache(b"")
            if self._cache is not None:
                config.set_timing_cache(self._cache, ignore_mismatch=False)

    def keep(self) -> None:
        """Write them; of several builds at once the last one's stay."""
        with suppress(GeoError, OSError):
            if self._cache is not None and (made := self._cache.serialize()) is not None:
                disk.write(self._path, bytes(made), durable=False, among=uuid.uuid4().hex[:12])
