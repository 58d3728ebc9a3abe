"""The torch runtime: any number of images, the same descriptors."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from crossgeo.engine.runtime.torch import FeatureRuntime, TorchRuntime, batches


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


def test_weights_cast_once_give_what_autocast_gives() -> None:
    plain = Tiny().eval()
    batch = images(4)
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        wanted = plain(torch.from_numpy(batch).to(memory_format=torch.channels_last)).float().numpy()
    np.testing.assert_array_equal(TorchRuntime(Tiny(), precision="bf16").run(batch), wanted)


def test_an_empty_batch_is_refused() -> None:
    with pytest.raises(ValueError, match="empty"):
        TorchRuntime(Tiny()).run(images(0))


def test_batches_cover_each_image_once_in_powers_of_two() -> None:
    for count in range(1, 70):
        parts = list(batches(count, 16))
        assert [k for part in parts for k in range(part.start, part.stop)] == list(range(count))
        assert {part.stop - part.start for part in parts} <= {1, 2, 4, 8, 16}
    assert [part.stop - part.start for part in batches(27, 16)] == [16, 8, 2, 1]


@pytest.mark.parametrize("batch", [0, 12])
def test_a_batch_that_is_no_power_of_two_is_refused(batch: int) -> None:
    with pytest.raises(ValueError, match="power of two"):
        TorchRuntime(Tiny(), batch=batch)


class Levels(nn.Module):
    """A stem of two strides by averages."""

    def pyramid(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """(B, 3, H, W) -> (B, 3, H / 2, W / 2), (B, 3, H / 4, W / 4)."""
        return nn.functional.avg_pool2d(x, 2), nn.functional.avg_pool2d(x, 4)


def test_the_maps_of_many_images_come_in_their_order() -> None:
    x = torch.from_numpy(images(21))
    found = FeatureRuntime(Levels(), "fp32").run(x)
    for level, wanted in zip(found, Levels().pyramid(x), strict=True):
        torch.testing.assert_close(level, wanted)
