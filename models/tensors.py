"""Tensors by name: what a module has, and whether others fit it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from crossgeo import disk
from crossgeo.errors import WeightsError

Shapes = Mapping[str, torch.Size]
SHOWN = 8
MOST_HEADER_BYTES = 8_000_000  # 30 times that of the largest network here
_DTYPES = {
    torch.float64: "F64", torch.float32: "F32", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64", torch.int32: "I32",
    torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL",
}  # fmt: skip


def shapes_of(module: nn.Module) -> dict[str, torch.Size]:
    """Return the name and shape of each tensor of a module."""
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, with a card or without, mapped from disk; WeightsError where it is missing or damaged."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give weights as .safetensors")
    check_header(path)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); fetch it again") from error


def check_header(path: Path) -> None:
    """Raise WeightsError for a list of tensors so long that reading it alone would take gigabytes."""
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
    if size > MOST_HEADER_BYTES:
        raise WeightsError(f"{path}: not a whole safetensors file, or a trap (its list of tensors is {size / 1e6:.0f} MB long)")


def write_tensors(path: Path, state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> None:
    """Write a .safetensors file, the whole of it or nothing, one tensor in memory at a time.

    The library's own writer holds the file twice in memory, hides the kind of a failed write in words, and lets nobody but the owner read.
    Raises LimitError on a full disk and InputError where no file may be made, with the file before it left alone.
    """
    order = sorted(state, key=lambda name: (-state[name].element_size(), name))  # so that each is aligned
    header: dict[str, object] = {"__metadata__": dict(metadata)}
    end = 0
    for name in order:
        tensor = state[name]
        begin, end = end, end + tensor.numel() * tensor.element_size()
        header[name] = {"dtype": _DTYPES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with disk.replacing(path) as temporary, temporary.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in order:
            file.write(state[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def check_tensors(state: Mapping[str, Tensor], expected: Shapes, what: str) -> None:
    """Raise WeightsError that names missing, extra and misshapen tensors, the first `SHOWN` of each, and counts the others."""
    problems = [f"missing {few([name for name in expected if name not in state])}"] if expected.keys() - state.keys() else []
    problems += [f"extra {few([name for name in state if name not in expected])}"] if state.keys() - expected.keys() else []
    wrong = [
        f"{name} is {tuple(state[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    problems += [few(wrong)] if wrong else []
    if problems:
        raise WeightsError(f"this is no {what} of {len(expected)} tensors: {'; '.join(problems)}")


def few(names: list[str], shown: int = SHOWN) -> str:
    """Return the first of some names, and how many more there are."""
    return ", ".join(names[:shown]) + (f" and {len(names) - shown} more" if len(names) > shown else "")
