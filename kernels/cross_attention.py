"""Multi-head attention between tokens as projections leave them, (B, N, C): no head is split off or joined by a copy.

With tables it is the attention of a cross-view block (AttenGeo, eq. 3): positions are fixed and added before a linear layer, and
(x + p) W + b = (x W + b) + p W, so p W, one row for each token, is added to queries and keys as they are read.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crossgeo.kernels.attention import attention, attention_definition, attention_weights
from crossgeo.kernels.choose import choose

WIDEST_HEAD = 64  # of the twin
TRITON_DTYPES = (torch.float16, torch.bfloat16, torch.float32)
HALVES = (torch.float16, torch.bfloat16)


def cross_attention_definition(
    q: Tensor, k: Tensor, v: Tensor, heads: int, q_table: Tensor | None = None, k_table: Tensor | None = None
) -> Tensor:
    """Return what `cross_attention` does, with the whole M x N matrix of each head."""
    q, k = _tabled(q, q_table), _tabled(k, k_table)
    return _merge(attention_definition(_split(q, heads), _split(k, heads), _split(v, heads)))


def cross_attention_weights(q: Tensor, k: Tensor, heads: int) -> Tensor:
    """Return how much each of (B, M, C) queries takes of each of (B, N, C) keys in H heads: (B, H, M, N), each row a distribution."""
    return attention_weights(_split(q, heads), _split(k, heads))


def cross_attention(
    q: Tensor, k: Tensor, v: Tensor, heads: int, q_table: Tensor | None = None, k_table: Tensor | None = None, backend: str = "auto"
) -> Tensor:
    """Attend from (B, M, C) queries to (B, N, C) keys and values in H heads of C / H channels, scale 1 / sqrt(C / H): (B, M, C).

    Each may be a part of a wider product, read by its strides. `q_table` (M, C) is added to the queries, `k_table` (N, C) to the keys.
    On a GPU "auto" takes the Triton twin for float16 and bfloat16 where no gradient is wanted (`choose`). ValueError for shapes that
    do not go together, UsageError for a backend that cannot run.
    """
    _check(q, k, v, heads, q_table, k_table)
    if choose_attention(backend, heads, q, k, v, q_table, k_table) == "triton":
        from crossgeo.kernels.triton import cross_attention as twin

        return twin.cross_attention(q, k, v, heads, q_table, k_table)
    q, k = _tabled(q, q_table), _tabled(k, k_table)
    return _merge(attention(_split(q, heads), _split(k, heads), _split(v, heads)))


def choose_attention(backend: str, heads: int, *tensors: Tensor | None, dtype: torch.dtype | None = None) -> str:
    """Return the backend of attention over (.., C) tensors, None for a table that is not there; `dtype` if they will be cast to it."""
    given = [tensor for tensor in tensors if tensor is not None]
    dtype = dtype or given[0].dtype
    width = given[0].shape[-1] // heads
    unsupported = None
    if width > WIDEST_HEAD:
        unsupported = f"heads of {width} channels are wider than {WIDEST_HEAD}"
    elif dtype not in TRITON_DTYPES:
        unsupported = f"there is no kernel for {dtype}"
    return choose(backend, *given, unsupported=unsupported, worth=dtype in HALVES)


def _check(q: Tensor, k: Tensor, v: Tensor, heads: int, q_table: Tensor | None, k_table: Tensor | None) -> None:
    tables = (q_table is None or q_table.shape == q.shape[1:]) and (k_table is None or k_table.shape == k.shape[1:])
    if q.ndim != 3 or k.shape != v.shape or not k.shape[1] or q.shape[::2] != k.shape[::2] or q.shape[2] % heads or not tables:
        shapes = [tuple(tensor.shape) for tensor in (q, k, v, q_table, k_table) if tensor is not None]
        raise ValueError(f"queries, keys, values and tables of shapes {shapes} do not go together in {heads} heads")


def _tabled(tokens: Tensor, table: Tensor | None) -> Tensor:
    return tokens if table is None else (tokens + table).to(tokens.dtype)


def _split(tokens: Tensor, heads: int) -> Tensor:
    batch, count, channels = tokens.shape
    return tokens.view(batch, count, heads, channels // heads).transpose(1, 2)  # (B, H, N, C / H)


def _merge(mixed: Tensor) -> Tensor:
    return mixed.transpose(1, 2).flatten(2)  # (B, M, C)
