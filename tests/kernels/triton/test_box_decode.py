"""kernels/triton/box_decode.py: interpreted against the equations in float64, and compiled for four generations of cards."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from crossgeo.kernels.box_decode import MAX_LOG_SIZE, decode_best, decode_best_definition

ARCHITECTURES = (80, 90, 100, 120)
SHAPES = [(2, 3, 4, 7), (3, 1, 1, 1), (1, 9, 33, 31), (1, 5, 61, 59)]  # B, A, h, w; the last is searched in parts


def _anchors(count: int, device: str) -> Tensor:
    return torch.tensor([(10.0 + 7 * k, 50.0 - 3 * k) for k in range(count)], device=device)


def _raw(shape: tuple[int, int, int, int], device: str) -> Tensor:
    batch, anchors, rows, columns = shape
    return torch.randn(batch, anchors, 5, rows, columns, generator=torch.Generator().manual_seed(sum(shape))).to(device)


def _golden(raw: Tensor, anchors: Tensor, stride: int) -> tuple[list[float], float]:
    """The first largest logit of one image, decoded by eq. 12 in float64."""
    logits = raw[:, 4].double().flatten()
    anchor, row, column = (int(k) for k in torch.unravel_index((logits == logits.max()).nonzero()[0, 0], raw[:, 4].shape))
    tx, ty, tw, th, logit = raw[anchor, :, row, column].double().tolist()
    x, y = (column + 1 / (1 + math.exp(-tx))) * stride, (row + 1 / (1 + math.exp(-ty))) * stride
    w, h = (float(anchors[anchor, k]) * math.exp(min(max(t, -MAX_LOG_SIZE), MAX_LOG_SIZE)) / 2 for k, t in enumerate((tw, th)))
    return [x - w, y - h, x + w, y + h], 1 / (1 + math.exp(-logit))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
@pytest.mark.parametrize("shape", SHAPES)
def test_the_best_box_is_that_of_the_equations(shape: tuple[int, int, int, int], dtype: torch.dtype, device: str) -> None:
    raw, anchors = _raw(shape, device).to(dtype), _anchors(shape[1], device)
    boxes, confidence = decode_best(raw, anchors, 32, backend="triton")
    assert boxes.dtype == confidence.dtype == torch.float32
    for image, box, sure in zip(raw, boxes, confidence, strict=True):
        expected, expected_sure = _golden(image, anchors, 32)
        assert box.tolist() == pytest.approx(expected, abs=1e-3)
        assert sure.item() == pytest.approx(expected_sure, abs=1e-6)


def test_predictions_in_channels_last_memory_are_read_where_they_lie(device: str) -> None:
    raw = _raw((2, 3, 6, 5), device)
    apart = raw.flatten(1, 2).contiguous(memory_format=torch.channels_last).view(2, 3, 5, 6, 5)
    assert apart.stride() != raw.stride()
    anchors = _anchors(3, device)
    for given, expected in zip(decode_best(apart, anchors, 8, "triton"), decode_best(raw, anchors, 8, "triton"), strict=True):
        assert torch.equal(given, expected)


@pytest.mark.parametrize("rows", [5, 80])  # one program, and several
@pytest.mark.parametrize("logit", [60.0, 0.0, -3.0, float("inf")])
def test_of_equal_logits_the_first_wins(logit: float, rows: int, device: str) -> None:
    raw = torch.full((1, 3, 5, rows, 70), -5.0, device=device)
    raw[0, :, :4] = torch.randn(3, 4, rows, 70, generator=torch.Generator().manual_seed(1)).to(device)
    raw[0, 1, 4, rows - 2, 3] = raw[0, 2, 4, 0, 0] = logit
    raw[0, 1, 4, rows - 2, 2] = logit if logit else -0.0  # -0 and 0 are equal
    anchors = _anchors(3, device)
    given, expected = decode_best(raw, anchors, 16, "triton"), decode_best_definition(raw, anchors, 16)
    torch.testing.assert_close(given, expected, atol=1e-4, rtol=0)
    assert given[0][0].tolist() == pytest.approx(
        _golden(raw[0], anchors, 16)[0] if math.isfinite(logit) else expected[0][0].tolist(), abs=1e-3
    )


@pytest.mark.parametrize("rows", [5, 80])
def test_logits_that_are_nan_or_minus_infinity_are_ranked_as_torch_ranks_them(rows: int, device: str) -> None:
    anchors = _anchors(2, device)
    raw = _raw((3, 2, rows, 110), device)
    raw[0, 1, 4, 2, 2] = -float("nan")
    raw[0, 0, 4, 3, 2] = float("inf")
    raw[1, :, 4] = -float("inf")
    raw[2, :, 2:4] = float("nan")
    given, expected = decode_best(raw, anchors, 16, "triton"), decode_best_definition(raw, anchors, 16)
    torch.testing.assert_close(given, expected, atol=1e-3, rtol=0, equal_nan=True)
    assert given[1][0].isnan() and given[0][2].isnan().all()


@pytest.mark.parametrize(("rows", "columns"), [(4, 5), (70, 80)])  # one program, and several
def test_images_and_anchors_past_what_32_bits_count_are_read_where_they_lie(
    rows: int, columns: int, far: Callable[..., Tensor], device: str
) -> None:
    shape = (3, 3, 5, rows, columns)
    for strides in ((1_200_000_000, 5 * rows * columns), (15 * rows * columns, 1_200_000_000)):
        raw = far(shape, (*strides, rows * columns, columns, 1), torch.float16)
        raw.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(rows)))
        raw[2, 2, 4, rows - 1, columns - 1] = 9.0  # the very last
        given, expected = decode_best(raw, _anchors(3, device), 16, "triton"), decode_best_definition(raw, _anchors(3, device), 16)
        torch.testing.assert_close(given, expected, atol=2e-2, rtol=1e-3)
        assert given[1][2] > 0.999


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_it_compiles_without_spills(arch: int, dtype: torch.dtype, compile_twin: Callable[..., Any]) -> None:
    twin = "crossgeo.kernels.triton.box_decode:decode_best"
    names = []
    for shape in ((1, 1, 5, 1, 1), (16, 9, 5, 32, 32), (1, 9, 5, 64, 64)):
        raw, anchors = torch.empty(shape, dtype=dtype, device="meta"), torch.empty(shape[1], 2, device="meta")
        for launch in compile_twin(twin, arch, raw, anchors, 32):
            launch.check(arch)
            names.append(launch.name)
    assert names == ["_whole", "_whole", "_part", "_join"]
