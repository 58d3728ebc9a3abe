"""One kernel at one size, with the ways of doing the same that it is measured against; shared by kernel_cases.py and topk_cases.py."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Case:
    """One kernel at one size. The first way is the kernel as it is meant to run, the others are its peers."""

    what: str  # shapes, in words
    ways: dict[str, Callable[[], Any]]
    error: Callable[[Any], float]  # of what a way returns against float64, relative to the largest value
    tolerance: float
    moved_bytes: int  # least that must be read and written
    operations: int  # 2 a multiply-add, least


Builder = partial[Case]  # called with a device, and whether everything is to be tiny


def draws(device: str, *shapes: tuple[int, ...], dtype: torch.dtype = torch.float32, seed: int = 1) -> list[Tensor]:
    """Return normal numbers, the same for every run on a kind of device."""
    draw = torch.Generator(device).manual_seed(seed)
    return [torch.randn(shape, generator=draw, device=device).to(dtype) for shape in shapes]


def half_of(device: str) -> torch.dtype:
    """Return the 16-bit type of a device: Triton's interpreter multiplies bfloat16 wrongly."""
    return torch.bfloat16 if device != "cpu" else torch.float16


def compiled(call: Callable[..., Any], device: str) -> Callable[..., Any]:
    """Compile a function with torch.compile; in a dry run only its graph is taken."""
    return torch.compile(call, backend="eager" if device == "cpu" else "inductor", dynamic=False)


def against(truth: Callable[[], Tensor]) -> Callable[[Any], float]:
    """Return the error of a tensor against one in float64, which is computed once."""
    once = cache(lambda: truth().double().cpu())
    return lambda found: float((found.double().cpu() - once()).abs().max() / once().abs().max())
