"""Spherical k-means of many rows into many lists, by matrix products in pieces; in bfloat16 where the processor multiplies that quickly."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from crossgeo.indexer.vectors import Vectors
from crossgeo.processor import multiplies_bfloat16

_SCORES_BYTES = 8 << 20  # of scores at once, which caches hold
_PIECE_BYTES = 64 << 20  # of rows copied at once
_FOLD = 32


class Lists:
    """Centres (L, D) of unit length, and which of them rows are nearest to."""

    def __init__(self, centres: Vectors) -> None:
        self.centres = centres
        dtype = torch.bfloat16 if multiplies_bfloat16() else torch.float32
        self._turned = torch.from_numpy(centres).to(dtype).T.contiguous()

    @torch.inference_mode()
    def nearest(self, rows: Vectors) -> NDArray[np.int64]:
        """Return the centre (n,) most like each row (n, D)."""
        given = torch.from_numpy(rows).to(self._turned.dtype)
        step = max(1, _SCORES_BYTES // (self._turned.shape[1] * self._turned.element_size()))
        found = torch.empty(len(given), dtype=torch.int64)  # at once: small results between scores leave holes in the heap
        for at in range(0, len(given), step):
            found[at : at + step] = _greatest(given[at : at + step] @ self._turned)
        return found.numpy()


def _greatest(scores: torch.Tensor) -> torch.Tensor:
    """Return the column (n,) of each row's greatest of (n, L) scores: max over most, argmax over few, four times as quick as argmax."""
    count, lists = scores.shape
    if lists % _FOLD:
        return scores.argmax(dim=1)
    folded = scores.view(count, _FOLD, lists // _FOLD)
    column = folded.amax(dim=1).argmax(dim=1)
    inside = folded.gather(2, column[:, None, None].expand(-1, _FOLD, 1))[:, :, 0]
    return inside.argmax(dim=1) * (lists // _FOLD) + column


def train(rows: Vectors, lists: int, rounds: int = 8, seed: int = 0) -> Lists:
    """Return `lists` centres after some rounds; rows (n, D), n at least `lists`. An empty list starts again from a row of a full one."""
    draw = np.random.default_rng(seed)
    centres = rows[np.sort(draw.choice(len(rows), lists, replace=False))].copy()
    for _ in range(rounds):
        mine = Lists(_unit(centres)).nearest(rows)
        order = np.argsort(mine, kind="stable")
        counts = np.bincount(mine, minlength=lists)
        starts = np.cumsum(counts) - counts
        sums = np.zeros_like(centres)
        full = np.flatnonzero(counts)
        _add_runs(rows, order, starts[full], sums, full)
        centres = sums
        empty = np.flatnonzero(counts == 0)
        crowded = np.argsort(-counts, kind="stable")[: len(empty)]
        for hole, source in zip(empty, crowded, strict=True):
            centres[hole] = rows[order[starts[source] + int(draw.integers(counts[source]))]]
    return Lists(_unit(centres))


def _add_runs(rows: Vectors, order: NDArray[np.int64], starts: NDArray[np.int64], sums: Vectors, lists: NDArray[np.int64]) -> None:
    """Sum each list's rows, some lists at a time so that only a piece of the sorted rows is copied."""
    ends = np.append(starts[1:], len(order))
    most = max(1, _PIECE_BYTES // (rows.shape[1] * 4))
    at = 0
    while at < len(lists):
        upto = max(at + 1, int(np.searchsorted(ends, starts[at] + most, side="right")))
        piece = rows[order[starts[at] : ends[upto - 1]]]
        sums[lists[at:upto]] = np.add.reduceat(piece, starts[at:upto] - starts[at], axis=0)
        at = upto


def _unit(centres: Vectors) -> Vectors:
    return np.asarray(centres / np.maximum(np.linalg.norm(centres, axis=1, keepdims=True), 1e-12), np.float32)
