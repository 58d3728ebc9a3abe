"""The back ends by name, each a module that is imported when it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

from torch import nn

from crossgeo.engine.runtime.batched import Call
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.errors import UsageError


class Backend(Protocol):
    """What every back end says of itself."""

    NAME: str
    SERVES: str  # which devices
    version: Callable[[], str]
    missing: Callable[[str], str | None]  # why it cannot run on a device
    precisions: Callable[[str], tuple[str, ...]]  # of a device, the one that `auto` takes first


class InProcess(Backend, Protocol):
    """A back end that runs a half's module, and keeps nothing on disk."""

    load: Callable[[nn.Module, str, str], Call]  # module, precision, device


class Built(Backend, Protocol):
    """A back end whose engines are files."""

    build: Callable[[Half, Path, str, int, str, Pixels], None]  # half, folder, precision, largest batch, device, pictures
    load: Callable[[Path, Half, str, str], Call]  # folder, half, precision, device


IN_PROCESS = ("torch", "torch-compile")
BUILT = ("openvino", "onnxruntime", "tensorrt", "tensorrt-rtx")
NAMES = (*IN_PROCESS, *BUILT)
COMPATIBLE = ("tensorrt",)  # later versions of which run engines of earlier ones, if these are built for it
_WHERE = {
    "torch": ("torch", None), "torch-compile": ("torch_compile", None), "openvino": ("openvino", None),
    "onnxruntime": ("onnxruntime", None), "tensorrt": ("tensorrt", "TENSORRT"), "tensorrt-rtx": ("tensorrt", "TENSORRT_RTX"),
}  # fmt: skip


def backend(name: str, compatible: bool = False) -> Backend:
    """Return a back end by name; `compatible`: in the form whose engines later versions run, too.

    Raises UsageError for one that there is not.
    """
    if name not in _WHERE:
        raise UsageError(f"--runtime {name}: no such runtime; give auto or one of {', '.join(NAMES)}")
    if compatible and name not in COMPATIBLE:
        raise UsageError(f"--version-compatible: {name} runs engines of its own version alone; {', '.join(COMPATIBLE)} has it")
    module, attribute = _WHERE[name] if not compatible else ("tensorrt", "TENSORRT_COMPATIBLE")
    found = importlib.import_module(f"crossgeo.engine.runtime.{module}")
    return cast(Backend, found if attribute is None else getattr(found, attribute))
