"""The torch runtime: channels last, inference mode, batches of few sizes, bf16 where the CPU is fast at it."""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Precision = Literal["auto", "fp32", "bf16"]


def cpu_has_fast_bf16() -> bool:
    """Say whether the CPU multiplies bf16 in hardware (AMX tiles or AVX-512 BF16)."""
    asks = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(bool(getattr(torch.cpu, name)()) for name in asks if hasattr(torch.cpu, name))


class TorchRuntime:
    """Runs one module on one device; batches are padded to a power of two up to `batch`, so that kernels see few shapes."""

    def __init__(self, module: nn.Module, batch: int = 32, precision: Precision = "auto", device: str = "cpu") -> None:
        if batch < 1:
            raise ValueError(f"batch must be at least 1, not {batch}")
        self.device = torch.device(device)
        self.bf16 = precision == "bf16" or (precision == "auto" and self.device.type == "cpu" and cpu_has_fast_bf16())
        self.batch = batch
        self._module = module.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe (B, 3, H, W) normalised float32 images, B at least 1, as (B, D) float32 unit vectors."""
        if len(batch) == 0:
            raise ValueError("an empty batch has no descriptors")
        return np.concatenate([self._run_part(batch[start : start + self.batch]) for start in range(0, len(batch), self.batch)])

    def _run_part(self, part: NDArray[np.float32]) -> NDArray[np.float32]:
        images = torch.from_numpy(part)
        size = min(self.batch, 1 << (len(part) - 1).bit_length())
        if size > len(part):
            images = torch.cat([images, images.new_zeros((size - len(part), *part.shape[1:]))])
        images = images.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            described = self._module(images)
        rows: NDArray[np.float32] = described[: len(part)].float().cpu().numpy()
        return rows


class FeatureRuntime:
    """Runs a stem's `pyramid` for registration."""

    def __init__(self, stem: nn.Module, precision: Precision = "auto", device: str = "cpu") -> None:
        self.device = torch.device(device)
        self.bf16 = precision == "bf16" or (precision == "auto" and self.device.type == "cpu" and cpu_has_fast_bf16())
        self._stem = stem.to(self.device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]

    def run(self, images: Tensor) -> list[Tensor]:
        """Return the maps of (B, 3, H, W) normalised float32 images, one for each stride, as (B, C, h, w) float32 on the CPU."""
        images = images.to(self.device, memory_format=torch.channels_last)
        with torch.inference_mode(), torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16):
            return [level.float().cpu() for level in self._stem.pyramid(images)]
