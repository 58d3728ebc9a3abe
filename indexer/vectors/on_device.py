"""Exact search of float16 rows that lie on a GPU: kernels/similarity_topk reads each of them once for a whole batch of queries."""

from __future__ import annotations

import numpy as np
import torch

from crossgeo.indexer.vectors import Ids, Rows, Vectors, best
from crossgeo.kernels.similarity_topk import similarity_topk

_PIECE = 1 << 16
_SHARE = 0.8  # of the memory that is free, which the rows may take


def fits(rows: int, dim: int, device: str) -> bool:
    """Say whether so many rows fit on a GPU beside what is there."""
    return rows * dim * 2 <= _SHARE * torch.cuda.mem_get_info(device)[0]


class DeviceRows:
    """The rows (n, D) of a segment in float16 on a device. A score errs by about 2e-4, as much as a descriptor in float16 does."""

    def __init__(self, rows: Rows, device: str) -> None:
        count, dim = rows.shape
        self._rows = torch.empty((count, dim), dtype=torch.float16, device=device)
        for start in range(0, count, _PIECE):
            piece = torch.from_numpy(rows.read(start, min(start + _PIECE, count)))
            self._rows[start : start + len(piece)] = piece.to(device, torch.float16)

    @torch.inference_mode()
    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Return scores and rows (Q, k) of the best of at least k rows, best first, equal scores by row."""
        return self._best(queries, self._rows, k)

    @torch.inference_mode()
    def search_among(self, queries: Vectors, k: int, rows: Ids) -> tuple[Vectors, Ids]:
        """Return what `search` would if only `rows` (n,), n at least k, were there."""
        scores: list[Vectors] = []
        found: list[Ids] = []
        for start in range(0, len(rows), 16 * _PIECE):
            piece = rows[start : start + 16 * _PIECE]
            chosen = self._rows[torch.from_numpy(piece).to(self._rows.device)]
            some = self._best(queries, chosen, min(k, len(piece)))
            scores.append(some[0])
            found.append(piece[some[1]])
        return best(np.concatenate(scores, axis=1), np.concatenate(found, axis=1), k)

    def _best(self, queries: Vectors, rows: torch.Tensor, k: int) -> tuple[Vectors, Ids]:
        asked = torch.from_numpy(queries).to(rows.device, torch.float16)
        scores, ids = similarity_topk(asked, rows, k)
        return scores.cpu().numpy(), ids.cpu().numpy()
