"""Top-k of similarities in one pass over the rows: the best key of every 32 rows, then the K best groups looked at again.

A row among the K best lies in one of the K groups whose best rows are best, so what is kept of a pass is N / 32 keys for a query.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

from crossgeo.kernels.similarity_topk import from_keys

GROUP = 32  # rows that share a key
_PASS = 256  # queries of one pass; beyond that the products take longer than the reading


@dataclass(frozen=True)
class Tile:
    """How the work is cut: rows and queries of one program, channels of one step, warps of a program, steps loaded ahead."""

    rows: int
    queries: int
    channels: int
    warps: int
    stages: int


@triton.jit
def _decode(rows, dtype: tl.constexpr, FLOAT8: tl.constexpr):
    """Return rows as a float type; e4m3 comes as bytes, whose bits are those of a float16 256 times too small, but for their places."""
    if FLOAT8:
        bits = rows.to(tl.uint16)
        half = (((bits & 0x80) << 8) | ((bits & 0x7F) << 7)).to(tl.float16, bitcast=True)
        return (half * 256.0).to(dtype)
    return rows.to(dtype)


@triton.jit
def _key(similarity, place):
    """Return the int64 keys of `crossgeo.kernels.similarity_topk` of float32 similarities and int64 places."""
    bits = (similarity + 0.0).to(tl.int32, bitcast=True)
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.to(tl.int64) << 32) | (0xFFFFFFFF - place)


@triton.jit
def _scan(
    queries, rows, scales, keys, asked, count, groups, query_row, row_row,
    CHANNELS: tl.constexpr, ROWS: tl.constexpr, QUERIES: tl.constexpr, STEP: tl.constexpr, GROUP: tl.constexpr,
    SCALED: tl.constexpr, FLOAT8: tl.constexpr,
):  # fmt: skip
    """Write the best key of each group of ROWS rows for QUERIES queries to (Q, groups) int64."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(asked, QUERIES)
    first_query = (program % blocks) * QUERIES  # programs that share rows run side by side: the rows are read from memory once
    first = program // blocks * ROWS
    mine = tl.arange(0, ROWS)
    theirs = tl.arange(0, QUERIES)
    there = mine < count - first
    known = theirs < asked - first_query
    rows += first * row_row
    queries += first_query * query_row
    similarity = tl.zeros((ROWS, QUERIES), tl.float32)
    for step in range((CHANNELS + STEP - 1) // STEP):
        channels = step * STEP + tl.arange(0, STEP)
        row_mask = there[:, None]
        query_mask = known[:, None]
        if CHANNELS % STEP != 0:
            row_mask = row_mask & (channels[None, :] < CHANNELS)
            query_mask = query_mask & (channels[None, :] < CHANNELS)
        query = tl.load(queries + theirs[:, None] * query_row + channels[None, :], mask=query_mask, other=0.0)
        row = tl.load(rows + mine[:, None] * row_row + channels[None, :], mask=row_mask, other=0)
        similarity = tl.dot(_decode(row, query.dtype, FLOAT8), tl.trans(query), similarity)
    if SCALED:
        similarity = similarity * tl.load(scales + first + mine, mask=there, other=0.0)[:, None]
    similarity = tl.where(there[:, None], similarity, float("-inf"))
    best = tl.max(tl.reshape(similarity, (ROWS // GROUP, GROUP, QUERIES)), 1)  # (groups of this program, queries)
    group = first // GROUP + tl.arange(0, ROWS // GROUP)
    place = keys + (first_query + theirs.to(tl.int64))[None, :] * groups + group[:, None]
    tl.store(place, _key(best, group[:, None]), mask=known[None, :] & (group[:, None] < groups))


@triton.jit
def _look_again(
    queries, rows, scales, chosen, keys, count, chosen_count, query_row, row_row,
    CHANNELS: tl.constexpr, PADDED: tl.constexpr, GROUP: tl.constexpr, AT_ONCE: tl.constexpr, SCALED: tl.constexpr, FLOAT8: tl.constexpr,
):  # fmt: skip
    """Write the keys of all rows of one chosen group for one query to (Q, chosen, GROUP) int64; none is lower than any row's."""
    program = tl.program_id(0).to(tl.int64)
    asker = program // chosen_count
    first = (0xFFFFFFFF - (tl.load(chosen + program) & 0xFFFFFFFF)) * GROUP
    channels = tl.arange(0, PADDED)
    inside = channels < CHANNELS
    query = tl.load(queries + asker * query_row + channels, mask=inside, other=0.0)
    for step in range(GROUP // AT_ONCE):
        mine = first + step * AT_ONCE + tl.arange(0, AT_ONCE)
        there = mine < count
        row = tl.load(rows + mine[:, None] * row_row + channels[None, :], mask=there[:, None] & inside[None, :], other=0)
        products = _decode(row, query.dtype, FLOAT8).to(tl.float32) * query[None, :].to(tl.float32)
        similarity = tl.sum(products, 1)
        if SCALED:
            similarity = similarity * tl.load(scales + mine, mask=there, other=0.0)
        similarity = tl.where(there, similarity, float("-inf"))
        tl.store(keys + program * GROUP + step * AT_ONCE + tl.arange(0, AT_ONCE), _key(similarity, mine))


def default_tile(queries: int) -> Tile:
    """Return a tile that neither spills nor passes a block's shared memory on any card from the A100 on."""
    if queries <= 16:
        return Tile(128, 16, 64, 4, 4)
    if queries <= 32:
        return Tile(128, 32, 64, 4, 3)
    return Tile(128, 64 if queries <= 64 else 128, 64, 8, 3)


def similarity_topk(queries: Tensor, rows: Tensor, k: int, scales: Tensor | None = None, tile: Tile | None = None) -> tuple[Tensor, Tensor]:
    """Return similarities (Q, K) and ids (Q, K) as `crossgeo.kernels.similarity_topk` says, the scan cut as `tile` says."""
    queries, rows = (part if part.stride(1) == 1 else part.contiguous() for part in (queries, rows))
    float8 = rows.dtype == torch.float8_e4m3fn
    if float8:
        rows = rows.view(torch.uint8)
    with torch.cuda.device_of(rows):
        found = [_one_pass(part, rows, k, scales, float8, tile) for part in queries.split(_PASS)]
    keys = torch.cat(found) if found else torch.empty((0, k), dtype=torch.int64, device=queries.device)
    return from_keys(keys)


def _one_pass(queries: Tensor, rows: Tensor, k: int, scales: Tensor | None, float8: bool, tile: Tile | None) -> Tensor:
    """Return the K highest keys (Q, K) of all rows, highest first."""
    (asked, channels), count = queries.shape, len(rows)
    cut = tile or default_tile(asked)
    groups = triton.cdiv(count, GROUP)
    best = torch.empty((asked, groups), dtype=torch.int64, device=rows.device)
    used = {"SCALED": scales is not None, "FLOAT8": float8, "GROUP": GROUP, "CHANNELS": channels}
    by_row = rows if scales is None else scales.contiguous()
    _scan[(triton.cdiv(count, cut.rows) * triton.cdiv(asked, cut.queries),)](
        queries, rows, by_row, best, asked, count, groups, queries.stride(0), rows.stride(0),
        ROWS=cut.rows, QUERIES=cut.queries, STEP=cut.channels, num_warps=cut.warps, num_stages=cut.stages, **used,
    )  # fmt: skip
    chosen = best.topk(min(k, groups), dim=1, sorted=False).values  # (Q, chosen)
    keys = torch.empty((asked, chosen.shape[1] * GROUP), dtype=torch.int64, device=rows.device)
    _look_again[(chosen.numel(),)](
        queries, rows, by_row, chosen, keys, count, chosen.shape[1], queries.stride(0), rows.stride(0),
        PADDED=triton.next_power_of_2(channels), AT_ONCE=8, num_warps=4, num_stages=2, **used,
    )  # fmt: skip
    return keys.topk(k, dim=1).values
