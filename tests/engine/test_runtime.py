"""The torch runtime: any number of images, the same descriptors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crossgeo.engine.runtime.torch import TorchRuntime


class Tiny(nn.Module):
    """Describes by a convolution and a mean; remembers the batches it saw."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv = nn.Conv2d(3, 16, 3)
        self.seen: list[int] = []

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """(B, 3, H, W) -> (B, 16)."""
        self.seen.append(len(images))
        return nn.functional.normalize(self.conv(images).mean(dim=(2, 3)), dim=-1)


def images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return np.random.default_rng(0).normal(size=(count, 3, 16, 16)).astype(np.float32)


@pytest.mark.parametrize("count", [1, 3, 8, 9, 21])
def test_descriptors_do_not_depend_on_the_batch(count: int) -> None:
    runtime = TorchRuntime(Tiny(), batch=8, precision="fp32")
    alone = np.concatenate([runtime.run(images(count)[k : k + 1]) for k in range(count)])
    np.testing.assert_allclose(runtime.run(images(count)), alone, atol=1e-6)


def test_the_model_sees_few_batch_sizes() -> None:
    model = Tiny()
    runtime = TorchRuntime(model, batch=8, precision="fp32")
    for count in range(1, 30):
        runtime.run(images(count))
    assert set(model.seen) == {1, 2, 4, 8}


def test_bf16_stays_near_fp32_and_comes_back_as_float32() -> None:
    precise = TorchRuntime(Tiny(), precision="fp32").run(images(4))
    quick = TorchRuntime(Tiny(), precision="bf16").run(images(4))
    assert quick.dtype == np.float32
    assert np.abs(np.linalg.norm(quick, axis=1) - 1.0).max() < 0.01
    assert (precise * quick).sum(axis=1).min() > 0.99


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        TorchRuntime(Tiny()).run(images(0))
