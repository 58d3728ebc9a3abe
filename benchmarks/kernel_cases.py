"""What gpu_kernels.py measures: each kernel at the sizes that it is used at, with the ways of doing the same that it is held against.

A builder in CASES takes a device and whether everything is to be tiny (for a dry run on the CPU), and returns a Case. To measure
another kernel, write a builder and add it to the table.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
from block_cases import BLOCK_CASES
from kernel_case import Builder, Case, against, compiled, draws, half_of
from model_cases import MODEL_CASES
from picture_cases import PICTURE_CASES
from topk_cases import TOPK_CASES
from torch import Tensor

from crossgeo.kernels.attention import attention
from crossgeo.kernels.box_decode import decode_boxes
from crossgeo.kernels.click_map import click_map
from crossgeo.kernels.cross_attention import cross_attention, cross_attention_definition
from crossgeo.kernels.polar import polar_definition, polar_transform

ANCHORS = torch.tensor([(23.0, 23.0), (57.0, 52.0), (128.0, 128.0)])


def attention_case(batch: int, queries: int, count: int, channels: int, heads: int, tables: bool, device: str, tiny: bool) -> Case:
    """Attention over tokens as projections leave them: parts of (B, N, 3C) products, with tables or without."""
    from crossgeo.kernels.triton.cross_attention import Tile, launch

    if tiny:
        batch, queries, count, channels, heads = 1, min(queries, 17), min(count, 20), 32, 2
    dtype = half_of(device)
    asking, before = draws(device, (batch, queries, 3 * channels), (batch, count, 3 * channels), dtype=dtype)
    q, k = asking.chunk(3, dim=-1)[1], before.chunk(3, dim=-1)[2]
    v = before.chunk(3, dim=-1)[0]
    added = draws(device, (queries, channels), (count, channels), dtype=dtype, seed=2) if tables else [None, None]
    by_torch = partial(cross_attention, backend="torch")
    given = (q, k, v, heads, *added)
    doubled = [part if part is None else part.double() for part in added]
    tiles = [Tile(64, 64, 4, 3), Tile(128, 64, 4, 2), Tile(128, 64, 8, 3), Tile(64, 128, 4, 2), Tile(32, 64, 4, 2)] if queries > 16 else []
    return Case(
        f"{batch} x {queries} queries, {count} keys, {heads} heads of {channels // heads}, {dtype}{', tables' if tables else ''}",
        {
            "triton": lambda: cross_attention(*given, backend="triton"),
            "torch (scaled_dot_product_attention)": lambda: by_torch(*given),
            "torch.compile": partial(compiled(by_torch, device), *given),
            "definition": lambda: cross_attention_definition(*given),
            **{
                f"triton {t.queries} x {t.keys}, {t.warps} warps, {t.stages} stages": partial(launch, *given, tile=t)
                for t in (tiles[:1] if tiny else tiles)
            },
        },
        against(lambda: cross_attention_definition(q.double(), k.double(), v.double(), heads, *doubled)),
        2e-2 if dtype == torch.bfloat16 else 3e-3,
        sum(part.numel() * part.element_size() for part in (q, k, v, q, *added) if part is not None),
        4 * batch * queries * count * channels,
    )


def plain_case(kernel: Callable[..., Tensor], inputs: Callable[[bool], tuple[Tensor, ...]], apart: float, device: str, tiny: bool) -> Case:
    """A kernel that is torch's own on every device, in float32, against the same in float64 on the CPU."""
    here = inputs(tiny)
    there = tuple(tensor.to(device) for tensor in here)
    moved = sum(tensor.numel() * 4 for tensor in (*here, kernel(*there)))
    ways = {"torch": partial(kernel, *there), "torch.compile": partial(compiled(kernel, device), *there)}
    return Case(
        ", ".join(str(tuple(tensor.shape)) for tensor in here),
        ways,
        against(lambda: kernel(*(tensor.double() for tensor in here))),
        apart,
        moved,
        0,
    )


def _heads(tiny: bool) -> tuple[Tensor, ...]:
    return tuple(draws("cpu", *[(1, 2, 17, 8) if tiny else (8, 12, 257, 64)] * 3))


def _aerial(tiny: bool) -> tuple[Tensor, ...]:
    draw = torch.Generator().manual_seed(1)
    return (torch.rand(1 if tiny else 8, 3, *(2 * (40 if tiny else 750,)), generator=draw) * 255.0,)


def _clicks(tiny: bool) -> tuple[Tensor, ...]:
    return (torch.rand(8, 2, generator=torch.Generator().manual_seed(1)) * 256.0,)


def _raw(tiny: bool) -> tuple[Tensor, ...]:
    return (*draws("cpu", (8, 3, 5, *(2 * (4 if tiny else 64,)))), ANCHORS)


_ROUNDED = 2e-4  # coordinates of hundreds of pixels in float32: a twentieth of a grey level on noise

CASES: dict[str, Builder] = {
    "attention, EgoTR-B, tiles": partial(attention_case, 256, 257, 257, 768, 12, False),
    "attention, EgoTR-B, one photo": partial(attention_case, 1, 257, 257, 768, 12, False),
    "attention, EgoTR-B, class token": partial(attention_case, 256, 1, 257, 768, 12, False),
    "attention, egotr-s, tiles": partial(attention_case, 256, 101, 101, 192, 6, False),
    "attention, CAB, photo asks window": partial(attention_case, 16, 64, 1024, 256, 8, True),
    "attention, CAB, window asks photo": partial(attention_case, 16, 1024, 64, 256, 8, True),
    **TOPK_CASES,
    **MODEL_CASES,
    **BLOCK_CASES,
    **PICTURE_CASES,
    "attention, float32": partial(plain_case, attention, _heads, 1e-5),
    "polar_transform": partial(plain_case, polar_transform, _aerial, _ROUNDED),
    "polar_definition": partial(plain_case, polar_definition, lambda tiny: (_aerial(tiny)[0][:1],), 1e-5),
    "click_map": partial(plain_case, lambda points: click_map(points, 256, 512), _clicks, 1e-5),
    "decode_boxes": partial(plain_case, lambda maps, anchors: decode_boxes(maps, anchors, 16)[0], _raw, 1e-5),
}
