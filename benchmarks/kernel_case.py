"""One kernel at one size, with the ways of doing the same that it is measured against; shared by all *_cases.py."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor, nn


@dataclass(frozen=True)
class Hosted:
    """A way that waits for the GPU within, so that no graph can hold it; the host's clock times it."""

    call: Callable[[], Any]

    def __call__(self) -> Any:
        """Run it."""
        return self.call()


@dataclass(frozen=True)
class Case:
    """One kernel at one size. The first way is the kernel as it is meant to run, the others are its peers."""

    what: str  # shapes, in words
    ways: dict[str, Callable[[], Any]]
    error: Callable[[Any], float]  # of what a way returns against float64, relative to the largest value
    tolerance: float
    moved_bytes: int  # least that must be read and written
    operations: int  # 2 a multiply-add, least
    left_out: dict[str, str] = field(default_factory=dict)  # peers that are not here, and why


Builder = partial[Case]  # called with a device, and whether everything is to be tiny


def draws(device: str, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 1) -> list[Tensor]:
    """Return normal numbers, the same for every run on a kind of device."""
    draw = torch.Generator(device).manual_seed(seed)
    return [torch.randn(shape, generator=draw, device=device).to(dtype) for shape in shapes]


def half_of(device: str) -> torch.dtype:
    """Return the 16-bit type of a device: Triton's interpreter multiplies bfloat16 wrongly."""
    return torch.bfloat16 if device != "cpu" else torch.float16


def on(backend: str, model: nn.Module) -> nn.Module:
    """Return a copy of a model, all of whose kernels run on a backend."""
    model = copy.deepcopy(model)
    for module in model.modules():
        if isinstance(getattr(module, "backend", None), str):
            module.backend = backend
    return model


def compiled(call: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Compile a function with torch.compile; in a dry run only its graph is taken."""
    return torch.compile(call, backend="eager" if device == "cpu" else "inductor", dynamic=False)


def by_cosine(truth: Callable[[], Tensor]) -> Callable[[Any], float]:
    """Return how far the least cosine of rows to those of a truth lies below 1: that of descriptors, and of whole predictions."""
    once = cache(lambda: truth().double().flatten(1))

    def error(found: Any) -> float:
        rows = (found[0] if isinstance(found, tuple) else found).double().flatten(1).to(once().device)
        return float(1.0 - torch.cosine_similarity(rows, once()).min())

    return error


def against(truth: Callable[[], Tensor]) -> Callable[[Any], float]:
    """Return the error of a tensor against one in float64, which is computed once."""
    once = cache(lambda: truth().double().cpu())
    return lambda found: float((found.double().cpu() - once()).abs().max() / once().abs().max())
