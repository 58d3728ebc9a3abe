"""Exact inner-product search by matrix products in bfloat16, certified and finished in float32, for processors that multiply it quickly.

Products are made along the axes that the rows use (projection.py). One errs by at most |q - q'| |x'| + |q| |x - x'| + |r| |y| + u |s|
(Cauchy and Schwarz; q', x' are rounded, r, y are what of q and x lies beyond the axes, and the score s is rounded once more by u = 2^-8).
So whatever scores less than the k-th best minus twice that cannot be among the k best, and only the rest is compared in float32: the
answer is that of a float32 search. Scores are looked at in groups of rows first, whose greatest is taken
together with the product while it is still in the cache; few groups hold anything.
"""

from __future__ import annotations

import numpy as np
import torch

from crossgeo.indexer.vectors import ArrayRows, Ids, Vectors, best, products
from crossgeo.indexer.vectors.projection import fit_axes, sample

_CHUNK = 4096  # rows of one product: with 512 queries its scores take 4 MiB, which caches hold
_GROUP = 32
_QUERIES = 512
_ROUNDING = 2.0**-8
_SUMS = 1e-5  # what sums in float32 err by, and axes from right angles
_SAMPLE = 1 << 16


class MatrixScan:
    """The rows (n, D) once more in bfloat16; float32 ones stay with the caller, who finishes with them."""

    def __init__(self, rows: Vectors) -> None:
        self._rows = torch.from_numpy(rows)
        axes = fit_axes(sample(ArrayRows(rows), _SAMPLE))
        self._axes = torch.from_numpy(axes) if len(axes) <= rows.shape[1] // 2 else None
        self._rough = torch.empty((len(rows), rows.shape[1] if self._axes is None else len(axes)), dtype=torch.bfloat16)
        self._longest = self._strayed = self._beyond = 0.0
        for at in range(0, len(rows), _CHUNK):
            rough, strayed, beyond = self._rounded(self._rows[at : at + _CHUNK])
            self._rough[at : at + _CHUNK] = rough
            self._longest = max(self._longest, float(rough.float().norm(dim=1).max()))
            self._strayed = max(self._strayed, float(strayed.max()))
            self._beyond = max(self._beyond, float(beyond.max()))

    def _rounded(self, rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Return rows (n, D) along the axes in bfloat16, the lengths (n,) of what rounding took, and of what lies beyond the axes."""
        if self._axes is None:
            rough = rows.bfloat16()
            return rough, (rows - rough.float()).norm(dim=1), torch.zeros(len(rows))
        along = rows @ self._axes.T
        rough = along.bfloat16()
        return rough, (along - rough.float()).norm(dim=1), (rows - along @ self._axes).norm(dim=1)

    def search(self, queries: Vectors, k: int) -> tuple[Vectors, Ids]:
        """Return scores and rows (Q, k) of the k best of at least k rows, best first, equal scores by row."""
        found = [self._some(torch.from_numpy(queries[at : at + _QUERIES]), k) for at in range(0, len(queries), _QUERIES)]
        return np.concatenate([f[0] for f in found]), np.concatenate([f[1] for f in found])

    @torch.inference_mode()
    def _some(self, queries: torch.Tensor, k: int) -> tuple[Vectors, Ids]:
        rough, strayed, beyond = self._rounded(queries)
        errors = strayed * self._longest + queries.norm(dim=1) * self._strayed + beyond * self._beyond + _SUMS  # (Q,)
        floor = torch.full((len(queries),), -torch.inf)  # of what may still be among the best
        top = torch.full((k, len(queries)), -torch.inf)  # greatest of k groups so far: k rows score as much
        kept: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
        for at in range(0, len(self._rough), _CHUNK):
            scores = self._rough[at : at + _CHUNK] @ rough.T  # (rows, Q)
            groups = _greatest(scores)  # (groups, Q)
            top = torch.cat([top, groups.topk(min(k, len(groups)), dim=0).values.float()]).topk(k, dim=0).values
            floor = torch.maximum(floor, _below(top[-1], errors))
            group, query = torch.nonzero(groups >= _rounded_down(floor), as_tuple=True)
            rows = (group[:, None] * _GROUP + torch.arange(_GROUP)).clamp_(max=len(scores) - 1)  # the last group may be short
            inside = scores[rows, query[:, None]].float()
            near = inside >= floor[query][:, None]
            near &= group[:, None] * _GROUP + torch.arange(_GROUP) < len(scores)
            kept.append((query[:, None].expand_as(rows)[near], rows[near] + at, inside[near]))
        query, row, score = (torch.cat(parts) for parts in zip(*kept, strict=True))
        near = score >= floor[query]  # floors have risen since
        return self._finished(queries, query[near], row[near], k)

    def _finished(self, queries: torch.Tensor, query: torch.Tensor, row: torch.Tensor, k: int) -> tuple[Vectors, Ids]:
        """Compare pairs of a query and a row as all exact searches do."""
        exact = torch.empty(len(row))
        for at in range(0, len(row), _CHUNK):
            some = slice(at, at + _CHUNK)
            exact[some] = torch.from_numpy(products(queries[query[some]].numpy(), self._rows[row[some]].numpy()))
        counts = torch.bincount(query, minlength=len(queries))
        order = torch.argsort(query, stable=True)
        place = torch.arange(len(order)) - torch.repeat_interleave(counts.cumsum(0) - counts, counts)
        wide = int(counts.max())
        scores, rows = torch.full((len(queries), wide), -torch.inf), torch.full((len(queries), wide), -1, dtype=torch.int64)
        scores[query[order], place], rows[query[order], place] = exact[order], row[order]
        return best(scores.numpy(), rows.numpy(), k)


def _greatest(scores: torch.Tensor) -> torch.Tensor:
    whole = len(scores) // _GROUP * _GROUP
    groups = scores[:whole].view(-1, _GROUP, scores.shape[1]).amax(dim=1)
    return groups if whole == len(scores) else torch.cat([groups, scores[whole:].amax(dim=0, keepdim=True)])


def _below(score: torch.Tensor, errors: torch.Tensor) -> torch.Tensor:
    """Return what a row must score, in bfloat16, to be able to reach another's exact score."""
    exact = score - errors - _ROUNDING * score.abs()  # the other's, at least
    return exact - errors - _ROUNDING * (exact.abs() + errors)


def _rounded_down(floor: torch.Tensor) -> torch.Tensor:
    """Return a bfloat16 that is not above a float32."""
    return (floor - _ROUNDING * floor.abs()).bfloat16()
