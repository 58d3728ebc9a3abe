"""Canvases and unrolled tiles made from bytes, and the best box, against the same out of torch's own operators; for kernel_cases.py."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from kernel_case import Builder, Case, against, compiled, draws, half_of
from torch import Tensor

from crossgeo.kernels.box_decode import decode_best, decode_best_definition
from crossgeo.kernels.polar import polar_transform
from crossgeo.kernels.sampling import polar_normalised, polar_normalised_definition, sample_normalised, sample_normalised_definition

MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
ROUGH = {torch.bfloat16: 1e-2, torch.float16: 2e-3}


def _bytes(device: str, *shape: int) -> Tensor:
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=torch.Generator(device).manual_seed(1), device=device)


def _normalised(values: Tensor, dtype: torch.dtype) -> Tensor:
    mean, std = (values.new_tensor(three).view(1, 3, 1, 1) for three in (MEAN, STD))
    return ((values / 255.0 - mean) / std).to(dtype, memory_format=torch.channels_last)


def by_grid_sample(image: Tensor, positions: Tensor, mask: Tensor, dtype: torch.dtype) -> Tensor:
    """Sample an (H, W, 3) image with torch's own operator, which takes floating point and an image for each canvas."""
    size = positions.new_tensor([image.shape[1], image.shape[0]])
    whole = image.permute(2, 0, 1).float()[None].expand(len(positions), -1, -1, -1)
    values = F.grid_sample(whole, positions * (2.0 / size) - 1.0, "bilinear", "border", align_corners=False)
    return _normalised(values, dtype) * mask[:, None]


def canvas_case(canvases: int, device: str, tiny: bool) -> Case:
    """Canvases of 160 px from one photo at so many poses: the photo lies about them turned, scaled and only in part."""
    height, width, side = (9, 12, 5) if tiny else (1200, 1600, 160)
    canvases = 2 if tiny else canvases
    dtype = half_of(device)
    photo = _bytes(device, height, width, 3)
    steps = torch.linspace(-0.6, 0.6, side, device=device)
    turn = torch.arange(canvases, device=device)[:, None, None] * 0.26
    right, down = steps[None, None, :] * width, steps[None, :, None] * width
    x = width / 2 + turn.cos() * right - turn.sin() * down
    y = height / 2 + turn.sin() * right + turn.cos() * down
    positions = torch.stack([x, y], dim=-1)  # (P, side, side, 2)
    mask = (x >= 0) & (x <= width) & (y >= 0) & (y <= height)
    given = (photo, positions, mask, MEAN, STD, dtype)
    ways: dict[str, Callable[[], Any]] = {
        "triton": lambda: sample_normalised(*given, backend="triton"),
        "definition": lambda: sample_normalised_definition(*given),
        "definition, torch.compile": partial(compiled(sample_normalised_definition, device), *given),
        "grid_sample": lambda: by_grid_sample(photo, positions, mask, dtype),
        "grid_sample, torch.compile": partial(compiled(by_grid_sample, device), photo, positions, mask, dtype),
    }
    truth = against(lambda: sample_normalised_definition(photo, positions.double(), mask, MEAN, STD, torch.float64))
    pixels = mask.numel()
    return Case(
        f"{canvases} canvases of {side} px from a photo of {width} x {height}, {dtype}",
        ways,
        truth,
        ROUGH[dtype],
        photo.numel() + pixels * (8 + 1 + 3 * 2),
        pixels * 3 * 9,
    )


def polar_case(batch: int, side: int, device: str, tiny: bool) -> Case:
    """Tiles unrolled as polar-egotr-b reads them, without the rounding to grey levels, by which two that are right may differ by one."""
    batch, side, height, width = (2, 17, 5, 12) if tiny else (batch, side, 128, 512)
    dtype = half_of(device)
    tiles = _bytes(device, batch, side, side, 3)
    given = (tiles, height, width, MEAN, STD, dtype, False)

    def by_transform(tiles: Tensor) -> Tensor:
        return _normalised(polar_transform(tiles.permute(0, 3, 1, 2).float(), height, width), dtype)

    return Case(
        f"{batch} tiles of {side} px to {height} x {width}, {dtype}",
        {
            "triton": lambda: polar_normalised(*given, backend="triton"),
            "torch (grid_sample)": lambda: by_transform(tiles),
            "torch.compile": partial(compiled(by_transform, device), tiles),
        },
        against(lambda: polar_normalised_definition(tiles, height, width, MEAN, STD, torch.float64, False)),
        ROUGH[dtype],
        tiles.numel() + batch * height * width * 3 * 2,
        batch * height * width * 3 * 9,
    )


def box_case(batch: int, side: int, device: str, tiny: bool) -> Case:
    """The best of nine anchors' boxes on a grid; the least that must be read are the logits."""
    batch, side = (2, 4) if tiny else (batch, side)
    dtype = half_of(device)
    (raw,) = draws(device, (batch, 9, 5, side, side), dtype=dtype)
    anchors = torch.tensor([(20.0 + 30 * k, 260.0 - 25 * k) for k in range(9)], device=device)

    def both(found: tuple[Tensor, Tensor]) -> Tensor:
        return torch.cat([found[0].flatten(), found[1]])

    error = against(lambda: both(decode_best_definition(raw.cpu(), anchors.cpu(), 32)))
    return Case(
        f"{batch} grids of {side} x {side}, 9 anchors, {dtype}",
        {
            "triton": lambda: decode_best(raw, anchors, 32, "triton"),
            "definition": lambda: decode_best_definition(raw, anchors, 32),
            "torch.compile": partial(compiled(decode_best_definition, device), raw, anchors, 32),
        },
        lambda found: error(both(found)),
        1e-5,
        batch * (9 * side * side * 2 + 20),
        batch * 9 * side * side,
    )


PICTURE_CASES: dict[str, Builder] = {
    "sample_normalised, 24 poses": partial(canvas_case, 24),
    "sample_normalised, 192 poses": partial(canvas_case, 192),
    "polar_normalised, 64 tiles": partial(polar_case, 64, 750),
    "polar_normalised, one tile": partial(polar_case, 1, 750),
    "decode_best, 16 windows": partial(box_case, 16, 32),
    "decode_best, one large window": partial(box_case, 1, 128),
}
