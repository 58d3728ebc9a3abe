"""Attention over (B, N, C) tokens in one kernel: online softmax (Milakov and Gimelshein 2018; Dao 2023, alg. 1) in base 2."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

_LOG2_E = 1.4426950408889634


@dataclass(frozen=True)
class Tile:
    """How the work is cut: queries of one program, keys of one step, warps of a program, steps loaded ahead."""

    queries: int
    keys: int
    warps: int
    stages: int


@triton.jit
def _add_keys(
    q, best, total, mixed, k, v, table, rows, columns, count, scale, k_row, v_row, table_row,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, TABLE: tl.constexpr, MASKED: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Take one block of keys and values into the running maximum, sum and mixture of (queries,), (queries,), (queries, width)."""
    seen = columns[None, :] < WIDTH
    if MASKED:
        seen = seen & (rows[:, None] < count)
    if MASKED or WIDTH < PADDED:
        keys = tl.load(k + rows[:, None] * k_row + columns[None, :], mask=seen, other=0.0)  # (keys, width)
        values = tl.load(v + rows[:, None] * v_row + columns[None, :], mask=seen, other=0.0)
    else:
        keys = tl.load(k + rows[:, None] * k_row + columns[None, :])
        values = tl.load(v + rows[:, None] * v_row + columns[None, :])
    if TABLE:
        added = tl.load(table + rows[:, None] * table_row + columns[None, :], mask=seen, other=0.0)
        keys = (keys.to(tl.float32) + added.to(tl.float32)).to(keys.dtype)
    scores = tl.dot(q, tl.trans(keys), input_precision=PRECISION) * scale  # (queries, keys), logarithms to base 2
    if MASKED:
        scores = tl.where(rows[None, :] < count, scores, float("-inf"))
    higher = tl.maximum(best, tl.max(scores, 1))
    weights = tl.exp2(scores - higher[:, None])
    shrink = tl.exp2(best - higher)
    mixed = mixed * shrink[:, None]
    mixed = tl.dot(weights.to(values.dtype), values, mixed, input_precision=PRECISION)
    return higher, total * shrink + tl.sum(weights, 1), mixed


@triton.jit
def _attend(
    q, k, v, q_table, k_table, out, queries, count, heads, scale,
    q_batch, q_row, k_batch, k_row, v_batch, v_row, q_table_row, k_table_row, out_batch, out_row,
    WIDTH: tl.constexpr, PADDED: tl.constexpr, QUERIES: tl.constexpr, KEYS: tl.constexpr, WHOLE: tl.constexpr, REST: tl.constexpr,
    Q_TABLE: tl.constexpr, K_TABLE: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Mix the values for QUERIES queries of one head: WHOLE blocks of keys without masks, then the rest, at most REST, with one."""
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(queries, QUERIES)
    first = (program % blocks) * QUERIES
    batch = program // blocks // heads
    channel = (program // blocks % heads) * WIDTH
    columns = tl.arange(0, PADDED)
    mine = tl.arange(0, QUERIES)
    asked = (mine[:, None] < queries - first) & (columns[None, :] < WIDTH)
    query = tl.load(q + batch * q_batch + first * q_row + channel + mine[:, None] * q_row + columns[None, :], mask=asked, other=0.0)
    if Q_TABLE:
        added = tl.load(q_table + first * q_table_row + channel + mine[:, None] * q_table_row + columns[None, :], mask=asked, other=0.0)
        query = (query.to(tl.float32) + added.to(tl.float32)).to(query.dtype)
    best = tl.full((QUERIES,), float("-inf"), tl.float32)
    total = tl.zeros((QUERIES,), tl.float32)
    mixed = tl.zeros((QUERIES, PADDED), tl.float32)
    k += batch * k_batch + channel
    v += batch * v_batch + channel
    k_table += channel
    for step in range(WHOLE):
        at = tl.cast(step, tl.int64) * KEYS
        best, total, mixed = _add_keys(
            query, best, total, mixed, k + at * k_row, v + at * v_row, k_table + at * k_table_row, tl.arange(0, KEYS), columns, KEYS,
            scale, k_row, v_row, k_table_row, WIDTH, PADDED, K_TABLE, False, PRECISION,
        )  # fmt: skip
    if REST > 0:
        at = tl.cast(WHOLE, tl.int64) * KEYS
        best, total, mixed = _add_keys(
            query, best, total, mixed, k + at * k_row, v + at * v_row, k_table + at * k_table_row, tl.arange(0, REST), columns,
            count - WHOLE * KEYS, scale, k_row, v_row, k_table_row, WIDTH, PADDED, K_TABLE, True, PRECISION,
        )  # fmt: skip
    mixed = mixed / total[:, None]
    place = out + batch * out_batch + first * out_row + channel + mine[:, None] * out_row + columns[None, :]
    tl.store(place, mixed.to(out.dtype.element_ty), mask=asked)


def default_tile(queries: int, width: int, dtype: torch.dtype, tables: bool) -> Tile:
    """Return a tile that neither spills nor passes a block's shared memory on any card from the A100 on."""
    if dtype == torch.float32:
        return Tile(16, 32, 4, 2)
    if queries <= 16:
        return Tile(16, 64, 2, 2)
    if queries >= 512:
        return Tile(128, 64, 8, 2 if width <= 32 else 3)
    return Tile(64, 64, 8 if tables else 4, 2)


def launch(
    q: Tensor, k: Tensor, v: Tensor, heads: int, q_table: Tensor | None = None, k_table: Tensor | None = None, tile: Tile | None = None
) -> Tensor:
    """Attend as `crossgeo.kernels.cross_attention` says, cut as `tile` says."""
    q, k, v = (part if part.stride(2) == 1 else part.contiguous() for part in (q, k, v))
    q_table, k_table = (None if table is None else table.contiguous() for table in (q_table, k_table))
    batch, queries, channels = q.shape
    count, width = k.shape[1], channels // heads
    cut = tile or default_tile(queries, width, q.dtype, q_table is not None or k_table is not None)
    out = torch.empty((batch, queries, channels), dtype=q.dtype, device=q.device)
    if out.numel() == 0:
        return out
    whole, rest = divmod(count, cut.keys)
    tables = q if q_table is None else q_table, k if k_table is None else k_table  # a pointer that is not followed, where there is none
    with torch.cuda.device_of(q):
        _attend[(batch * heads * triton.cdiv(queries, cut.queries),)](
            q, k, v, *tables, out, queries, count, heads, _LOG2_E * width**-0.5,
            q.stride(0), q.stride(1), k.stride(0), k.stride(1), v.stride(0), v.stride(1), channels, channels, out.stride(0), out.stride(1),
            WIDTH=width, PADDED=max(16, triton.next_power_of_2(width)), QUERIES=cut.queries, KEYS=cut.keys, WHOLE=whole,
            REST=0 if rest == 0 else max(16, triton.next_power_of_2(rest)), Q_TABLE=q_table is not None, K_TABLE=k_table is not None,
            PRECISION="tf32x3" if q.dtype == torch.float32 else "tf32", num_warps=cut.warps, num_stages=cut.stages,
        )  # fmt: skip
    return out


# Opaque to torch.compile, which calls it as one node; `wrap_triton` would show it the kernel, but takes none that is interpreted.
@torch.library.custom_op("crossgeo::cross_attention", mutates_args=())
def _node(q: Tensor, k: Tensor, v: Tensor, heads: int, q_table: Tensor | None, k_table: Tensor | None) -> Tensor:
    return launch(q, k, v, heads, q_table, k_table)


@_node.register_fake
def _(q: Tensor, *_: Any) -> Tensor:
    return q.new_empty(q.shape)


def cross_attention(q: Tensor, k: Tensor, v: Tensor, heads: int, q_table: Tensor | None = None, k_table: Tensor | None = None) -> Tensor:
    """Attend as `crossgeo.kernels.cross_attention` says; the result is contiguous."""
    attend: Any = _node if torch.compiler.is_compiling() else launch  # the node costs some 20 us of its own a call
    mixed: Tensor = attend(q, k, v, heads, q_table, k_table)
    return mixed
