"""Exact search of rows that lie on a GPU: kernels/similarity_topk reads each of them once for a whole batch of queries."""

from __future__ import annotations

import numpy as np
import torch

from crossgeo.indexer.vectors import Ids, Rows, Vectors, best
from crossgeo.kernels.similarity_topk import similarity_topk

_PIECE = 1 << 16
_SHARE = 0.8  # of the memory that is free, which the rows may take
_LARGEST = {torch.int8: 127.0, torch.float8_e4m3fn: 448.0}  # what a number of a row may be, its scale aside


def type_that_fits(rows: int, dim: int, device: str) -> torch.dtype | None:
    """Return how so many rows are held on a GPU beside what is there: in float16, else in int8 with a scale each; None if neither fits."""
    room = _SHARE * torch.cuda.mem_get_info(device)[0]
    bytes_of_a_row = {torch.float16: 2 * dim, torch.int8: dim + 4}
    return next((dtype for dtype, size in bytes_of_a_row.items() if rows * size <= room), None)


class DeviceRows:
    """The rows (n, D) of a segment on a device. In float16 a score of unit vectors errs by about 2e-4, as much as they do themselves.

    In int8, half of that, each row is held over its own scale, and at D = 768 a score errs by about 3e-4; in float8 (e4m3), of the same
    size, by about 1e-3.
    """

    def __init__(self, rows: Rows, device: str, dtype: torch.dtype = torch.float16) -> None:
        count, dim = rows.shape
        self._rows = torch.empty((count, dim), dtype=dtype, device=device)
        self._scales = torch.empty(count, dtype=torch.float32, device=device) if dtype in _LARGEST else None
        for start in range(0, count, _PIECE):
            piece = torch.from_numpy(rows.read(start, min(start + _PIECE, count))).to(device)
            if self._scales is not None:
                scales = piece.float().abs().amax(dim=1).clamp_min(1e-30) / _LARGEST[dtype]
                self._scales[start : start + len(piece)] = scales
                piece = piece / scales[:, None]
                piece = piece.round() if dtype == torch.int8 else piece
            self._rows[start : start + len(piece)] = piece.to(dtype)

    @torch.inference_mode()
    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Return scores and rows (Q, k) of the best of at least k rows, best first, equal scores by row."""
        return self._best(queries, self._rows, self._scales, k)

    @torch.inference_mode()
    def search_among(self, queries: Vectors, k: int, rows: Ids) -> tuple[Vectors, Ids]:
        """Return what `search` would if only `rows` (n,), n at least k, were there."""
        scores: list[Vectors] = []
        found: list[Ids] = []
        for start in range(0, len(rows), 16 * _PIECE):
            piece = rows[start : start + 16 * _PIECE]
            at = torch.from_numpy(piece).to(self._rows.device)
            # float8 is gathered as the bytes that it is: not every device picks rows of it.
            chosen = self._rows.view(torch.uint8)[at].view(self._rows.dtype) if self._rows.dtype.itemsize == 1 else self._rows[at]
            some = self._best(queries, chosen, None if self._scales is None else self._scales[at], min(k, len(piece)))
            scores.append(some[0])
            found.append(piece[some[1]])
        return best(np.concatenate(scores, axis=1), np.concatenate(found, axis=1), k)

    def _best(self, queries: Vectors, rows: torch.Tensor, by: torch.Tensor | None, k: int) -> tuple[Vectors, Ids]:
        asked = torch.from_numpy(queries).to(rows.device, torch.float16)
        scores, ids = similarity_topk(asked, rows, k, by)
        return scores.cpu().numpy(), ids.cpu().numpy()
