"""The torch runtime: channels last, inference mode, batches of few sizes, bf16 where the CPU is fast at it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from crossgeo.models.fold import stem_maps

Precision = Literal["auto", "fp32", "bf16"]


def cpu_has_fast_bf16() -> bool:
    """Say whether the CPU multiplies bf16 in hardware (AMX tiles or AVX-512 BF16)."""
    asks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in asks if hasattr(torch.cpu, name))


def batches(count: int, largest: int) -> Iterator[slice]:
    """Cut `count` images into batches of `largest` and then of halving sizes, so that kernels see few shapes and nothing is padded.

    `largest` is a power of two, so that 27 by 16 is 16, 8, 2 and 1.
    """
    start, size = 0, largest
    while start < count:
        while size > count - start:
            size //= 2
        yield slice(start, start + size)
        start += size


class TorchRuntime:
    """Runs one branch on one device."""

    def __init__(self, module: nn.Module, batch: int = 16, precision: Precision = "auto", device: str = "cpu") -> None:
        if batch < 1 or batch & (batch - 1):
            raise ValueError(f"batch must be a power of two, not {batch}")
        self.device = torch.device(device)
        self.bf16 = _wants_bf16(precision, self.device)
        self.batch = batch
        self._module = _ready(module, self.device, self.bf16)

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe (B, 3, H, W) normalised float32 images, B at least 1, as (B, D) float32 unit vectors."""
        if len(batch) == 0:
            raise ValueError("an empty batch has no descriptors")
        images = torch.from_numpy(batch)
        rows = []
        for part in batches(len(images), self.batch):
            with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                rows.append(self._module(_laid(images[part], self.device)).float().cpu().numpy())
        return np.concatenate(rows)

    def run_with_maps(self, images: Tensor) -> tuple[NDArray[np.float32], list[Tensor]]:
        """Describe images as `run` does, and return the stem's maps of the same pass as `FeatureRuntime.run` does."""
        rows, levels = [], []
        for part in batches(len(images), self.batch):
            with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
                described, maps = self._module.with_maps(_laid(images[part], self.device))
                rows.append(described.float().cpu().numpy())
                levels.append([level.float().cpu() for level in maps])
        return np.concatenate(rows), [torch.cat(parts) for parts in zip(*levels, strict=True)]


class FeatureRuntime:
    """Runs a stem's `pyramid` for registration."""

    def __init__(self, stem: nn.Module, precision: Precision = "auto", device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.bf16 = _wants_bf16(precision, self.device)
        self._stem = _ready(stem, self.device, self.bf16)

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the maps of (B, 3, H, W) normalised float32 images, one for each stride, as (B, C, h, w) float32 on the CPU."""
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return [level.float().cpu() for level in stem_maps(self._stem, _laid(images, self.device))]


def _wants_bf16(precision: Precision, device: torch.device) -> bool:
    return precision == "bf16" or (precision == "auto" and device.type == "cpu" and cpu_has_fast_bf16())


def _ready(module: nn.Module, device: torch.device, bf16: bool) -> Any:
    """Put a module on a device, channels last; with `bf16` the weights that autocast would cast at every call are cast once."""
    module = module.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
    if bf16:
        for part in module.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):
                part.to(torch.bfloat16)
    return module


def _laid(images: Tensor, device: torch.device) -> Tensor:
    return images.to(device, memory_format=torch.channels_last)
