"""Sampling in Triton: the ops of crossgeo.kernels.sampling, each picture read as bytes and each canvas written once."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

_PIXELS = 64  # of a program: fewer than its threads, which then load what they need themselves and pass nothing on


@triton.jit
def _blend(image, top, bottom, left, right, a, b, c, d, width, colour, real):
    """Mix four neighbours of (PIXELS,) positions by their weights, for (1, 4) colours of which three are real: (PIXELS, 4) float32."""
    inside = real[:, None] & (colour < 3)
    upper, lower = top.to(tl.int64) * width, bottom.to(tl.int64) * width
    mixed = a[:, None] * tl.load(image + (upper + left)[:, None] * 3 + colour, inside, 0).to(tl.float32)
    mixed += b[:, None] * tl.load(image + (upper + right)[:, None] * 3 + colour, inside, 0).to(tl.float32)
    mixed += c[:, None] * tl.load(image + (lower + left)[:, None] * 3 + colour, inside, 0).to(tl.float32)
    mixed += d[:, None] * tl.load(image + (lower + right)[:, None] * 3 + colour, inside, 0).to(tl.float32)
    return mixed


@triton.jit
def _normalised(values, colour, mean0, mean1, mean2, rate0, rate1, rate2):
    """Normalise (PIXELS, 4) grey levels by (1, 4) means and rates, all in grey levels."""
    mean = tl.where(colour == 0, mean0, tl.where(colour == 1, mean1, mean2))
    rate = tl.where(colour == 0, rate0, tl.where(colour == 1, rate1, rate2))
    return (values - mean) * rate


@triton.jit
def _sample(
    image, coordinates, mask, out, image_stride, height, width, pixels, mean0, mean1, mean2, rate0, rate1, rate2,
    MASKED: tl.constexpr, CLOSES: tl.constexpr, PIXELS: tl.constexpr,
):  # fmt: skip
    """PIXELS pixels of one canvas."""
    program = tl.program_id(0).to(tl.int64)
    across = tl.cdiv(pixels, PIXELS)
    canvas, first = program // across, program % across * PIXELS
    begin = canvas * pixels + first
    pixel = tl.arange(0, PIXELS)
    here = pixel < pixels - first
    x = tl.load(coordinates + begin * 2 + pixel * 2, here, float("inf"))
    y = tl.load(coordinates + begin * 2 + pixel * 2 + 1, here, float("inf"))
    seen = (tl.abs(x) < float("inf")) & (tl.abs(y) < float("inf"))  # false for NaN
    if MASKED:
        seen = seen & (tl.load(mask + begin + pixel, here, 0) != 0)
    x, y = tl.where(seen, x - 0.5, 0.0), tl.where(seen, y - 0.5, 0.0)
    y = tl.minimum(tl.maximum(y, 0.0), height - 1.0)
    if CLOSES:
        x = x - width * tl.floor(x / width)
        x = tl.minimum(tl.maximum(x, 0.0), width * 1.0)  # what rounding leaves beyond, for positions far away
    else:
        x = tl.minimum(tl.maximum(x, 0.0), width - 1.0)
    top, left = tl.floor(y).to(tl.int32), tl.floor(x).to(tl.int32)
    down, aside = y - top, x - left
    bottom = tl.minimum(top + 1, height - 1)
    if CLOSES:
        right = (left + 1) % width
        left = left % width
    else:
        right = tl.minimum(left + 1, width - 1)
    colour = tl.arange(0, 4)[None, :]
    a, b = (1.0 - down) * (1.0 - aside), (1.0 - down) * aside
    c, d = down * (1.0 - aside), down * aside
    values = _blend(image + canvas * image_stride, top, bottom, left, right, a, b, c, d, width, colour, seen)
    values = tl.where(seen[:, None], _normalised(values, colour, mean0, mean1, mean2, rate0, rate1, rate2), 0.0)
    tl.store(out + begin * 3 + pixel[:, None] * 3 + colour, values.to(out.dtype.element_ty), here[:, None] & (colour < 3))


@triton.jit
def _polar(
    tiles, directions, out, side, height, width, mean0, mean1, mean2, rate0, rate1, rate2, WHOLE: tl.constexpr, PIXELS: tl.constexpr
):
    """PIXELS pixels of one unrolled tile."""
    program = tl.program_id(0).to(tl.int64)
    pixels = height * width
    across = tl.cdiv(pixels, PIXELS)
    tile, first = program // across, program % across * PIXELS
    pixel = first.to(tl.int32) + tl.arange(0, PIXELS)
    here = pixel < pixels
    half = side * 0.5
    radius = (height - 1 - pixel // width).to(tl.float32) * (half / height)
    y = half + radius * tl.load(directions + pixel % width, here, 0.0)
    x = half - radius * tl.load(directions + width + pixel % width, here, 0.0)
    above, before = tl.floor(y), tl.floor(x)
    down, aside = y - above, x - before
    top, left = above.to(tl.int32), before.to(tl.int32)
    bottom, right = top + 1, left + 1
    # A neighbour outside weighs nothing, and stands for the nearest one inside.
    over, under = tl.where((top >= 0) & (top < side), 1.0 - down, 0.0), tl.where((bottom >= 0) & (bottom < side), down, 0.0)
    west, east = tl.where((left >= 0) & (left < side), 1.0 - aside, 0.0), tl.where((right >= 0) & (right < side), aside, 0.0)
    top, bottom = tl.minimum(tl.maximum(top, 0), side - 1), tl.minimum(tl.maximum(bottom, 0), side - 1)
    left, right = tl.minimum(tl.maximum(left, 0), side - 1), tl.minimum(tl.maximum(right, 0), side - 1)
    colour = tl.arange(0, 4)[None, :]
    image = tiles + tile * side * side * 3
    values = _blend(image, top, bottom, left, right, over * west, over * east, under * west, under * east, side, colour, here)
    if WHOLE:
        values = (values + 12582912.0) - 12582912.0  # 1.5 * 2^23: what is left are whole numbers, halves rounded to even
    values = _normalised(values, colour, mean0, mean1, mean2, rate0, rate1, rate2)
    target = out + (tile * pixels + pixel)[:, None] * 3 + colour
    tl.store(target, values.to(out.dtype.element_ty), here[:, None] & (colour < 3))


@lru_cache(maxsize=16)
def _directions(width: int, device: torch.device) -> Tensor:
    """Return the float32 cosines and sines (2, width) of the columns of a polar picture; CUDA's own would spill to reduce large angles."""
    angle = torch.arange(width, dtype=torch.float64) * (2 * math.pi / width)
    return torch.stack([angle.cos(), angle.sin()]).float().to(device)


def _levels(mean: Sequence[float], std: Sequence[float]) -> list[float]:
    """Three means and three rates, for grey levels."""
    return [255.0 * m for m in mean] + [1.0 / (255.0 * s) for s in std]


def sample_normalised(
    images: Tensor, coordinates: Tensor, mask: Tensor | None, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype, closes: bool
) -> Tensor:
    """Sample (P or 1, H, W, 3) uint8 images at (P, h, w, 2) float32 positions where (P, h, w) `mask` is True: (P, 3, h, w)."""
    count, *size, _ = coordinates.shape
    height, width = images.shape[1:3]
    pixels = math.prod(size)
    out = torch.empty((count, *size, 3), dtype=dtype, device=images.device)
    grid = (count * triton.cdiv(pixels, _PIXELS),)
    seen = coordinates if mask is None else mask.contiguous().view(torch.uint8)  # a pointer that is not read, without a mask
    with torch.cuda.device_of(images):
        _sample[grid](
            images.contiguous(), coordinates.contiguous(), seen, out, height * width * 3 if len(images) > 1 else 0, height, width, pixels,
            *_levels(mean, std), MASKED=mask is not None, CLOSES=closes, PIXELS=_PIXELS,
        )  # fmt: skip
    return out.permute(0, 3, 1, 2)


def polar_normalised(
    tiles: Tensor, height: int, width: int, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype, whole: bool
) -> Tensor:
    """Unroll (B, S, S, 3) uint8 tiles and normalise them: (B, 3, height, width)."""
    out = torch.empty((len(tiles), height, width, 3), dtype=dtype, device=tiles.device)
    grid = (len(tiles) * triton.cdiv(height * width, _PIXELS),)
    with torch.cuda.device_of(tiles):
        _polar[grid](
            tiles.contiguous(), _directions(width, tiles.device), out, tiles.shape[1], height, width, *_levels(mean, std),
            WHOLE=whole, PIXELS=_PIXELS,
        )  # fmt: skip
    return out.permute(0, 3, 1, 2)
