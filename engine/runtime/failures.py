"""What the words of a back end that cannot load or run an engine come to: too little memory, a driver too old, a file to be made anew."""

from __future__ import annotations

import re
from pathlib import Path

from crossgeo.engine.runtime.batched import UnreadableError
from crossgeo.errors import EngineError, GeoError, LimitError

_MEMORY = re.compile(
    r"out[ _]?of[ _]?memory|bad[_ ]alloc|memory allocation|alloc(ation)?_failed|insufficient_gpu_memory"
    r"|\b(allocate|allocating|enough|insufficient)( \S+){0,3} memory|cannot allocate memory",
    re.IGNORECASE,
)
_DRIVER = re.compile(
    r"driver version is insufficient|driver( on your system)? is too old|insufficient ?driver|unsupported toolchain|old_cuda_driver",
    re.IGNORECASE,
)
_UNREADABLE = re.compile(
    r"serialization (assertion|error|version)|error code \d+: serialization|magic ?tag|version tag|please rebuild"  # TensorRT
    r"|incompatible device|not compatible with this version|for a different (gpu|device|version|compute)"
    r"|version_mismatch|unsupported_cc|malformed_engine"  # TensorRT-RTX, of its own look at an engine
    r"|unable to read the model|error parsing|in bin file|bin file cannot"  # OpenVINO
    r"|invalid_protobuf|invalid_graph|model ir version|opset|no op registered",  # ONNX Runtime
    re.IGNORECASE,
)


def lacks_memory(said: str) -> bool:
    """Say whether a back end's words are of too little memory, on the device or on the machine."""
    return _MEMORY.search(said) is not None


def of_loading(folder: Path, name: str, said: str) -> GeoError:
    """Return the error for an engine that a back end did not load.

    LimitError for too little memory and EngineError for a driver that is too old, neither of which a new engine mends; UnreadableError
    where the words say that the file is damaged or of another version or card; EngineError for anything else.
    name: of the back end, with its version.
    """
    told = said.replace(str(folder), "")  # whose own words mean nothing
    if (known := _of_the_machine(f"{folder}: {name}", told, "load the engine")) is not None:
        return known
    if _UNREADABLE.search(told):
        return UnreadableError(f"{folder}: {name} cannot load the engine: {said}")
    return EngineError(f"{folder}: {name} cannot load the engine: {said}; take --runtime torch, or remove it with geo engine clean --all")


def of_building(title: str, name: str, said: str) -> GeoError:
    """Return the error for an engine that a back end did not build: LimitError for too little memory, else EngineError."""
    known = _of_the_machine(f"{title}: {name}", said, "build the engine")
    return known or EngineError(f"{title}: {name} cannot build it: {said}; take --runtime torch")


def _of_the_machine(who: str, said: str, what: str) -> GeoError | None:
    """Return the error for what the machine lacks; None where it is not that."""
    if lacks_memory(said):
        return LimitError(f"{who} has too little memory to {what}: {said}; free some, then run the same command again")
    if _DRIVER.search(said):
        return EngineError(
            f"{who} cannot {what}: the GPU's driver is too old for it: {said}; install a newer driver, or take --runtime torch"
        )
    return None
