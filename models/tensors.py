"""Tensors by name: what a module has, and whether others fit it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from crossgeo.errors import WeightsError

Shapes = Mapping[str, torch.Size]


def shapes_of(module: nn.Module) -> dict[str, torch.Size]:
    """Return the name and shape of each tensor of a module."""
    return {name: tensor.shape for name, tensor in module.state_dict().items()}


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Return the tensors of a .safetensors file, with a card or without, mapped from disk; WeightsError where it is missing or damaged."""
    if not path.is_file():
        raise WeightsError(f"{path}: no such file; give weights as .safetensors")
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - safe_open is no dict
    except (SafetensorError, OSError) as error:
        raise WeightsError(f"{path}: not a whole safetensors file ({error}); fetch it again") from error


def check_tensors(state: Mapping[str, Tensor], expected: Shapes, what: str) -> None:
    """Raise WeightsError that names each missing, extra or misshapen tensor."""
    problems = [f"missing {name}" for name in expected if name not in state]
    problems += [f"extra {name}" for name in state if name not in expected]
    problems += [
        f"{name} is {tuple(state[name].shape)}, not {tuple(shape)}"
        for name, shape in expected.items()
        if name in state and state[name].shape != shape
    ]
    if problems:
        raise WeightsError(f"this is no {what} of {len(expected)} tensors: {'; '.join(problems)}")
