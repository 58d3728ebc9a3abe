"""TensorRT without a card: the part of its module that we use, whose engines are run by ONNX Runtime on the processor's memory.

It is as strict as the real one: addresses and shapes must be set, memory must be lent, a profile must be chosen, and what goes wrong is
logged and answered by None or False. What a test is to make fail, it sets on the `Machine`.
"""

from __future__ import annotations

import ctypes
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

Shape = tuple[int, ...]
_NUMPY = {onnx.TensorProto.FLOAT: np.dtype(np.float32), onnx.TensorProto.UINT8: np.dtype(np.uint8)}


@dataclass
class Machine:
    """What happens on it, and what is to fail."""

    version: str = "10.13"
    driver_old: bool = False
    contexts_fail: str = ""  # words: no context is made
    passes_fail: str = ""  # words: no pass is begun
    silent: bool = False  # True: a pass does nothing, and says nothing
    scratch: Callable[[int], int] = lambda rows: 64 * rows  # bytes
    contexts: int = 0  # that are there now
    most_contexts: int = 0
    passes: list[tuple[int, int, int]] = field(default_factory=list)  # card, profile, rows
    cards: list[tuple[str, int]] = field(default_factory=list)  # what was done on which card
    compiled: list[list[Shape]] = field(default_factory=list)  # by TensorRT-RTX
    flags: list[str] = field(default_factory=list)
    targets: list[str] = field(default_factory=list)  # cards that engines are built for
    host_code: list[bool] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._current = threading.local()

    @property
    def card(self) -> int:
        """The current one of the thread that asks."""
        return getattr(self._current, "card", 0)

    @card.setter
    def card(self, number: int) -> None:
        self._current.card = number

    def did(self, what: str) -> None:
        """Note what is done on the current card."""
        self.cards.append((what, self.card))


class _Severity(IntEnum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class _Logger:
    Severity = _Severity

    def log(self, severity: Any, message: str) -> None:
        raise NotImplementedError


class _Named(IntEnum):
    STRONGLY_TYPED = 0
    VERSION_COMPATIBLE = 1
    WORKSPACE = 2
    USER_MANAGED = 3
    SM80 = 80
    SM89 = 89
    SM120 = 120


class _Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Shape, Shape, Shape]] = {}

    def set_shape(self, name: str, least: Shape, best: Shape, most: Shape) -> None:
        assert all(a <= b <= c for a, b, c in zip(least, best, most, strict=True))
        self.shapes[name] = (least, best, most)


class _Timing:
    def __init__(self, of: str) -> None:
        self.of = of

    def serialize(self) -> bytes:
        return b"timings of " + self.of.encode()


class _Config:
    def __init__(self, machine: Machine) -> None:
        self.machine, self.profiles, self.timing = machine, list[_Profile](), None
        self.num_compute_capabilities = 0

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        assert size > 0

    def add_optimization_profile(self, profile: _Profile) -> None:
        self.profiles.append(profile)

    def set_flag(self, flag: _Named) -> None:
        self.machine.flags.append(flag.name)

    def set_compute_capability(self, card: _Named, number: int) -> None:
        assert number < self.num_compute_capabilities
        self.machine.targets.append(card.name)

    def create_timing_cache(self, kept: bytes) -> _Timing | None:
        if kept and not kept.startswith(b"timings of "):
            return None
        return _Timing(kept.removeprefix(b"timings of ").decode() or f"card {self.machine.card}")

    def set_timing_cache(self, cache: _Timing, *, ignore_mismatch: bool) -> bool:
        assert not ignore_mismatch
        self.timing = cache if cache.of == f"card {self.machine.card}" else None
        return self.timing is not None


class _Cache:
    """Kernels, by the shapes that they were compiled for."""

    def __init__(self, machine: Machine) -> None:
        self.machine, self.kernels = machine, list[list[Shape]]()

    def serialize(self) -> bytes:
        return json.dumps([self.machine.version, self.kernels]).encode()

    def deserialize(self, kept: bytes) -> bool:
        version, kernels = json.loads(kept)
        if version != self.machine.version:
            return False
        self.kernels = [[tuple(shape) for shape in shapes] for shapes in kernels]
        return True


class _RuntimeConfig:
    def __init__(self, machine: Machine) -> None:
        self.machine, self.cache, self.strategy = machine, _Cache(machine), None

    def create_runtime_cache(self) -> _Cache:
        return _Cache(self.machine)

    def set_runtime_cache(self, cache: _Cache) -> bool:
        self.cache = cache
        return True

    def set_execution_context_allocation_strategy(self, strategy: Any) -> None:
        self.strategy = strategy


class _Context:
    def __init__(self, engine: _Engine, cache: _Cache | None) -> None:
        self.engine, self.machine, self.cache = engine, engine.machine, cache
        self.profile: int | None = None
        self.shapes: dict[str, Shape] = {}
        self.addresses: dict[str, int] = {}
        self.lent = 0
        self.machine.contexts += 1
        self.machine.most_contexts = max(self.machine.contexts, self.machine.most_contexts)

    def __del__(self) -> None:
        self.machine.contexts -= 1

    def set_optimization_profile_async(self, profile: int, stream: int) -> bool:
        self.profile = profile
        return 0 <= profile < len(self.engine.profiles)

    def set_input_shape(self, name: str, shape: Shape) -> bool:
        assert self.profile is not None
        least, _, most = self.engine.profiles[self.profile][name]
        fits = len(shape) == len(least) and all(a <= b <= c for a, b, c in zip(least, shape, most, strict=True))
        self.shapes[name] = shape
        return fits or self.engine.says("Static dimension mismatch")

    def set_tensor_address(self, name: str, address: int) -> bool:
        self.addresses[name] = address
        return address != 0

    def update_device_memory_size_for_shapes(self) -> int:
        return self.machine.scratch(next(iter(self.shapes.values()))[0])

    def set_device_memory(self, address: int, size: int) -> None:
        self.lent = size if address else 0

    def get_tensor_shape(self, name: str) -> Shape:
        return self.engine.output_shapes(self.shapes)[name]

    def execute_async_v3(self, stream: int) -> bool:
        machine, rows = self.machine, next(iter(self.shapes.values()))[0]
        assert self.profile is not None and self.lent >= machine.scratch(rows)
        machine.did("pass")
        if machine.passes_fail:
            return self.engine.says(machine.passes_fail)
        machine.passes.append((machine.card, self.profile, rows))
        if self.cache is not None and (shapes := list(self.shapes.values())) not in self.cache.kernels:
            machine.compiled.append(shapes)
            self.cache.kernels.append(shapes)
        given = {name: _at(self.addresses[name], shape, self.engine.inputs[name]) for name, shape in self.shapes.items()}
        for name, output in self.engine.run(given).items():
            if not machine.silent:
                _at(self.addresses[name], output.shape, np.dtype(np.float32))[...] = output
        return True


def _at(address: int, shape: Shape, dtype: np.dtype[Any]) -> NDArray[Any]:
    size = int(np.prod(shape)) * dtype.itemsize
    return np.frombuffer((ctypes.c_byte * size).from_address(address), dtype).reshape(shape)


class _Engine:
    def __init__(self, machine: Machine, words: Any, plan: dict[str, Any]) -> None:
        self.machine, self.words = machine, words
        self.profiles: list[dict[str, tuple[Shape, Shape, Shape]]] = plan["profiles"]
        model = bytes.fromhex(plan["model"])
        self.inputs = {one.name: _NUMPY[one.type.tensor_type.elem_type] for one in onnx.ModelProto.FromString(model).graph.input}
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        self.session: Any = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.num_optimization_profiles = len(self.profiles)

    def says(self, message: str) -> bool:
        self.words.log(_Severity.ERROR, message)
        return False

    def get_tensor_profile_shape(self, name: str, profile: int) -> list[Shape]:
        return [tuple(shape) for shape in self.profiles[profile][name]]

    def get_device_memory_size_for_profile_v2(self, profile: int) -> int:
        return 1 << 20

    def create_runtime_config(self) -> _RuntimeConfig:
        return _RuntimeConfig(self.machine)

    def create_execution_context(self, how: Any) -> _Context | None:
        self.machine.did("context")
        assert (how.strategy if isinstance(how, _RuntimeConfig) else how) is _Named.USER_MANAGED
        if self.machine.contexts_fail:
            self.says(self.machine.contexts_fail)
            return None
        return _Context(self, how.cache if isinstance(how, _RuntimeConfig) else None)

    def run(self, given: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        names = [one.name for one in self.session.get_outputs()]
        return dict(zip(names, self.session.run(names, given), strict=True))

    def output_shapes(self, shapes: dict[str, Shape]) -> dict[str, Shape]:
        return {name: rows.shape for name, rows in self.run({n: np.zeros(s, self.inputs[n]) for n, s in shapes.items()}).items()}


class StandIn:
    """A module like `tensorrt`."""

    ILogger = _Logger
    NetworkDefinitionCreationFlag = MemoryPoolType = BuilderFlag = ExecutionContextAllocationStrategy = ComputeCapability = _Named

    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def Runtime(self, words: Any) -> Any:
        """Make what loads engines."""
        return _Runtime(self.machine, words)

    def Builder(self, words: Any) -> Any:
        """Make what builds engines; raises TypeError as pybind11 does for a null pointer."""
        if self.machine.driver_old:
            words.log(_Severity.ERROR, "CUDA initialization failure with error: 35: CUDA driver version is insufficient")
            raise TypeError("pybind11::init(): factory function returned nullptr")
        return _Builder(self.machine)

    def OnnxParser(self, network: _Network, words: Any) -> _Network:
        """Make what reads networks."""
        return network


class _Network:
    num_errors = 0

    def parse_from_file(self, path: str) -> bool:
        self.model = Path(path).read_bytes()
        return True


class _Builder:
    def __init__(self, machine: Machine) -> None:
        self.machine = machine

    def create_network(self, flags: int) -> _Network:
        assert flags & 1 << _Named.STRONGLY_TYPED
        return _Network()

    def create_builder_config(self) -> _Config:
        return _Config(self.machine)

    def create_optimization_profile(self) -> _Profile:
        return _Profile()

    def build_serialized_network(self, network: _Network, config: _Config) -> bytes:
        self.machine.did("build")
        plan = {"version": self.machine.version, "profiles": [one.shapes for one in config.profiles], "model": network.model.hex()}
        return json.dumps(plan).encode()


class _Runtime:
    engine_host_code_allowed = False

    def __init__(self, machine: Machine, words: Any) -> None:
        self.machine, self.words = machine, words

    def deserialize_cuda_engine(self, plan: bytes) -> _Engine | None:
        self.machine.did("load")
        self.machine.host_code.append(self.engine_host_code_allowed)
        told = json.loads(plan)
        problem = "CUDA driver version is insufficient for CUDA runtime version" if self.machine.driver_old else ""
        if not problem and told["version"] != self.machine.version:
            problem = f"Error Code 1: Serialization (Version tag does not match. Current: {self.machine.version})"
        if problem:
            self.words.log(_Severity.ERROR, problem)
            return None
        return _Engine(self.machine, self.words, told)
