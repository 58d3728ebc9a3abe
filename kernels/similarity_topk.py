"""The K most similar of N descriptors, exactly, in one pass over them: float16, bfloat16, int8 or float8 (e4m3) rows.

The similarity of a query q and row r is scale_r (q . r), summed in float32; scale_r is 1 unless given (an int8 or float8 row is the
descriptor divided by its scale). Equal similarities are ranked by the lower id. Sums of the same products in another order differ by
about 1e-7 of their size: rows closer than that may change places.

Ranking by (similarity, id) is ranking by one int64, a `key`: the bits of a float32 in an order that whole numbers have, too, over the
id counted from the end. So top-k of keys needs no second look at ties.
"""

from __future__ import annotations

import torch
from torch import Tensor

from crossgeo.kernels.choose import choose

MOST, WIDEST = 64, 2048  # results and channels of the Triton twin
ROWS = (torch.float16, torch.bfloat16, torch.int8, torch.float8_e4m3fn)
QUERIES = (torch.float16, torch.bfloat16, torch.float32)
_LAST = 2**32 - 1  # ids are below
_CHUNK = 1 << 16  # rows at a time in plain torch


def similarity_topk_definition(queries: Tensor, rows: Tensor, k: int, scales: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Return what `similarity_topk` does, from the whole (Q, N) matrix in float64 and a stable sort."""
    similarity = queries.double() @ rows.double().T  # (Q, N)
    if scales is not None:
        similarity = similarity * scales.double()
    ranked = similarity.sort(dim=1, descending=True, stable=True)
    return ranked.values[:, :k], ranked.indices[:, :k]


def similarity_topk(queries: Tensor, rows: Tensor, k: int, scales: Tensor | None = None, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Return the similarities (Q, K) float32, highest first, and ids (Q, K) int64 of the K rows most similar to each query.

    `queries` (Q, D) are float16, bfloat16 or float32, `rows` (N, D) of one of ROWS, `scales` (N,) float32. Without a scale float16
    queries and rows are multiplied as they are; int8 and float8 rows become the queries' type first, which holds them exactly. On a
    GPU "auto" takes the Triton twin for queries of 16 bits and K up to 64. ValueError for shapes and types that do not go together,
    UsageError for a backend that cannot run.
    """
    _check(queries, rows, k, scales)
    unsupported = None
    if k > MOST:
        unsupported = f"{k} results are more than {MOST}"
    elif rows.shape[1] > WIDEST:
        unsupported = f"rows of {rows.shape[1]} channels are wider than {WIDEST}"
    elif queries.dtype == torch.float32 or (rows.dtype.itemsize == 2 and rows.dtype != queries.dtype):
        unsupported = f"there is no kernel for {queries.dtype} queries and {rows.dtype} rows"
    given = (queries, rows) if scales is None else (queries, rows, scales)
    if choose(backend, *given, unsupported=unsupported) == "triton":
        from crossgeo.kernels.triton import similarity_topk as twin

        return twin.similarity_topk(queries, rows, k, scales)
    return _by_chunks(queries, rows, k, scales)


def to_keys(similarity: Tensor, ids: Tensor) -> Tensor:
    """Return the int64 keys of float32 similarities and int64 ids below 2^32: a higher similarity, then a lower id, is a higher key."""
    bits = (similarity + 0.0).view(torch.int32)  # + 0.0: minus zero is zero
    ordered = bits ^ ((bits >> 31) & 0x7FFFFFFF)
    return (ordered.long() << 32) | (_LAST - ids)


def from_keys(keys: Tensor) -> tuple[Tensor, Tensor]:
    """Return the float32 similarities and int64 ids of keys."""
    ordered = (keys >> 32).int()
    bits = ordered ^ ((ordered >> 31) & 0x7FFFFFFF)
    return bits.view(torch.float32), _LAST - (keys & _LAST)


def _by_chunks(queries: Tensor, rows: Tensor, k: int, scales: Tensor | None) -> tuple[Tensor, Tensor]:
    exact = queries.float()
    best = torch.empty((len(queries), 0), dtype=torch.int64, device=queries.device)
    for start in range(0, len(rows), _CHUNK):
        part = rows[start : start + _CHUNK]
        similarity = exact @ part.float().T  # (Q, chunk)
        if scales is not None:
            similarity = similarity * scales[start : start + _CHUNK]
        ids = torch.arange(start, start + len(part), device=queries.device)
        keys = to_keys(similarity, ids)
        best = torch.cat([best, keys.topk(min(k, len(part)), dim=1).values], dim=1)
        best = best.topk(min(k, best.shape[1]), dim=1).values  # (Q, K), highest first
    return from_keys(best)


def _check(queries: Tensor, rows: Tensor, k: int, scales: Tensor | None) -> None:
    if queries.ndim != 2 or rows.ndim != 2 or queries.shape[1] != rows.shape[1] or (scales is not None and scales.shape != rows.shape[:1]):
        shapes = [tuple(tensor.shape) for tensor in (queries, rows, scales) if tensor is not None]
        raise ValueError(f"queries, rows and scales of shapes {shapes} do not go together")
    if queries.dtype not in QUERIES or rows.dtype not in ROWS or (scales is not None and scales.dtype != torch.float32):
        kinds = [tensor.dtype for tensor in (queries, rows, scales) if tensor is not None]
        raise ValueError(f"queries, rows and scales of types {kinds} do not go together")
    if not 0 < k <= len(rows) <= _LAST:
        raise ValueError(f"the {k} most similar of {len(rows)} rows cannot be told")
