"""Top-k of similarities against products and torch.topk, and against FAISS on the GPU where it is installed; for kernel_cases.py."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from functools import cache, partial
from typing import Any

import torch
from kernel_case import Builder, Case, Hosted
from torch import Tensor

from crossgeo.kernels.similarity_topk import similarity_topk

ROWS, FEWER, CHANNELS, K = 10_000_000, 4_000_000, 768, 10  # fewer where a card has no room for the rows and FAISS's copy of them
CHUNK = 1 << 18
FAISS = "faiss GpuIndexFlatIP, float16"

Found = tuple[Tensor, Tensor]


def make_rows(count: int, channels: int, kind: torch.dtype, device: str) -> tuple[Tensor, Tensor | None]:
    """Return random unit vectors (N, D) of a type, and for 8 bits the scale (N,) of each; part by part, as float32 would not fit."""
    draw = torch.Generator(device).manual_seed(1)
    rows = torch.empty(count, channels, dtype=kind, device=device)
    scales = torch.empty(count, device=device) if kind.itemsize == 1 else None
    most = 127.0 if kind == torch.int8 else 448.0
    for start in range(0, count, CHUNK):
        part = torch.randn(min(CHUNK, count - start), channels, generator=draw, device=device)
        part /= part.norm(dim=1, keepdim=True)
        if scales is not None:
            scale = part.abs().amax(dim=1) / most
            scales[start : start + CHUNK] = scale
            part /= scale[:, None]
            part = part.round() if kind == torch.int8 else part
        rows[start : start + CHUNK] = part.to(kind)
    return rows, scales


def by_products(queries: Tensor, rows: Tensor, scales: Tensor | None) -> Found:
    """Multiply a chunk at a time in 16 bits with sums in float32, and keep the best of each chunk."""
    values, ids = [], []
    for start in range(0, len(rows), CHUNK):
        part = rows[start : start + CHUNK].to(queries.dtype)
        if queries.device.type == "cuda":
            similarity = torch.mm(queries, part.T, out_dtype=torch.float32)
        else:
            similarity = queries.float() @ part.float().T
        if scales is not None:
            similarity *= scales[start : start + CHUNK]
        best = similarity.topk(min(K, len(part)), dim=1)
        values.append(best.values)
        ids.append(best.indices + start)
    best = torch.cat(values, dim=1).topk(K, dim=1)
    return best.values, torch.cat(ids, dim=1).gather(1, best.indices)


def rows_for(device: str) -> int:
    """Return how many rows of 16 bits a device has room for, three times over: ours, FAISS's, and those again while it grows."""
    if device == "cpu":
        return FEWER
    return ROWS if torch.cuda.mem_get_info(device)[0] > 3.3 * 2 * ROWS * CHANNELS else FEWER


def by_faiss(queries: Tensor, rows: Tensor) -> Hosted | str:
    """Return a search of FAISS's flat index on the GPU, in float16, of queries that lie there; why not, where FAISS has no GPU."""
    if importlib.util.find_spec("faiss") is None:
        return "faiss is not installed"
    import faiss

    if queries.device.type != "cuda" or not hasattr(faiss, "GpuIndexFlatIP"):
        return "this faiss has no GPU (faiss-gpu or faiss-cuda has)"
    import faiss.contrib.torch_utils  # has indexes take and return tensors

    settings = faiss.GpuIndexFlatConfig()
    settings.useFloat16 = True
    index = faiss.GpuIndexFlatIP(faiss.StandardGpuResources(), rows.shape[1], settings)
    for part in rows.split(4 * CHUNK):
        index.add(part.float())
    asked = queries.float()
    return Hosted(lambda: index.search(asked, K))


def _picked(rows: Tensor, ids: Tensor) -> Tensor:
    """Return rows (Q, K, D) by id, those of 8 bits as bytes, which every device picks."""
    bits = rows.view(torch.uint8) if rows.dtype.itemsize == 1 else rows
    return bits[ids.flatten()].view(rows.dtype).view(*ids.shape, -1)


def error_of(queries: Tensor, rows: Tensor, scales: Tensor | None) -> Callable[[Any], float]:
    """Return how far the similarities of what was found, as told and as they are in float64, lie from the K highest in float64."""

    def exact(part: Tensor, start: int) -> Tensor:
        similarity = queries.double() @ part.double().T
        return similarity if scales is None else similarity * scales[start : start + len(part)].double()

    @cache
    def truth() -> Tensor:
        parts = (exact(rows[start : start + CHUNK], start) for start in range(0, len(rows), CHUNK))
        best = [part.topk(min(K, part.shape[1]), dim=1).values for part in parts]
        return torch.cat(best, dim=1).topk(K, dim=1).values

    def error(found: Found) -> float:
        told, ids = found
        real = torch.einsum("qd,qkd->qk", queries.double(), _picked(rows, ids).double())
        if scales is not None:
            real = real * scales[ids].double()
        apart = torch.maximum((told.double() - truth()).abs(), (real.sort(dim=1, descending=True).values - truth()).abs())
        return float(apart.max() / truth().abs().max())

    return error


def topk_case(asked: int, kind: torch.dtype, device: str, tiny: bool) -> Case:
    """Find the K most similar of millions of descriptors."""
    from crossgeo.kernels.triton import similarity_topk as twin

    count, channels = (70, 20) if tiny else (rows_for(device), CHANNELS)
    rows, scales = make_rows(count, channels, kind, device)
    asked = min(asked, 2) if tiny else asked
    queries = torch.nn.functional.normalize(
        torch.randn(asked, channels, generator=torch.Generator(device).manual_seed(2), device=device), dim=1
    ).half()
    tiles = [twin.Tile(64, 16, 128, 4, 4), twin.Tile(256, 16, 64, 8, 3), twin.Tile(128, 16, 128, 4, 4)]
    if asked > 16:
        tiles = [twin.Tile(128, 128, 64, 8, 4), twin.Tile(128, 256, 64, 8, 3), twin.Tile(256, 128, 64, 8, 3)]
    ways: dict[str, Callable[[], Any]] = {
        "triton": lambda: similarity_topk(queries, rows, K, scales, backend="triton"),
        "products and topk": lambda: by_products(queries, rows, scales),
        "torch": lambda: similarity_topk(queries, rows, K, scales, backend="torch"),
        **{
            f"triton {t.rows} x {t.queries} x {t.channels}, {t.warps} warps, {t.stages} stages": partial(
                twin.similarity_topk, queries, rows, K, scales, tile=t
            )
            for t in (tiles[:1] if tiny else tiles)
        },
    }
    left_out = {}
    if kind == torch.float16:
        peer = by_faiss(queries, rows)
        if isinstance(peer, str):
            left_out[FAISS] = peer
        else:
            ways[FAISS] = peer
    return Case(
        f"{asked} queries, {count} rows of {channels}, {kind}, K = {K}",
        ways,
        error_of(queries, rows, scales),
        1e-5,
        rows.numel() * kind.itemsize + queries.numel() * 2 + (0 if scales is None else 4 * count),
        2 * asked * count * channels,
        left_out,
    )


TOPK_CASES: dict[str, Builder] = {
    f"similarity_topk, {str(kind)[6:]}, {asked} queries": partial(topk_case, asked, kind)
    for kind in (torch.float16, torch.int8, torch.float8_e4m3fn)
    for asked in (1, 16, 256)
}
