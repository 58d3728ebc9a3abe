"""The axes that descriptors vary along (principal components about the origin), which leave inner products as they are.

Trained networks use few of the dimensions they write. Where the leading axes hold all but a sliver of what sampled rows are made of,
searching along those alone costs as much less as there are fewer of them. Where they do not, all are kept.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossgeo.indexer.vectors import Rows, Vectors

LOST = 2e-4  # of the rows' squared length, at most, beyond the axes that are kept
STEP = 32  # axes are kept in such numbers, which vector instructions like
_RUN = 256  # rows read at once: a chunk of descriptors.h5


def sample(rows: Rows, count: int, axes: Vectors | None = None) -> Vectors:
    """Return about `count` rows, along some axes (R, D), in runs spread evenly over all; all where there are no more."""
    total = rows.shape[0]
    starts = np.arange(0, total, _RUN)
    if total > count:
        starts = starts[np.unique(np.linspace(0, len(starts) - 1, max(1, count // _RUN)).astype(np.int64))]
    counts = np.minimum(starts + _RUN, total) - starts
    width = rows.shape[1] if axes is None else len(axes)
    found = np.empty((int(counts.sum()), width), np.float32)  # at once: thousands of small pieces leave holes in the heap, of gigabytes
    at = 0
    for start, size in zip(starts.tolist(), counts.tolist(), strict=True):
        run = rows.read(start, start + size)
        found[at : at + size] = run if axes is None else run @ axes.T
        at += size
    return found


def fit_axes(rows: Vectors) -> NDArray[np.float32]:
    """Return the orthonormal axes (R, D) that hold all but LOST of the squared length of rows (n, D), the strongest first."""
    import torch  # not for processes that search what is made already

    total = np.zeros((rows.shape[1], rows.shape[1]))
    for at in range(0, len(rows), 1 << 15):
        piece = torch.from_numpy(rows[at : at + (1 << 15)])
        total += (piece.T @ piece).double().numpy()
    strength, axes = np.linalg.eigh(total)
    strength, axes = np.maximum(strength[::-1], 0.0), axes[:, ::-1]
    held = np.cumsum(strength) / strength.sum()
    needed = int(np.searchsorted(held, 1.0 - LOST)) + 1
    kept = min(rows.shape[1], -(-needed // STEP) * STEP)
    return np.ascontiguousarray(axes[:, :kept].T, np.float32)
