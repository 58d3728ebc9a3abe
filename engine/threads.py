"""How many threads a thread computes with: torch, FAISS and, through torch's number, OpenVINO."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import faiss
import torch


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Have the calling thread compute with so many threads inside the block; other threads that compute already keep theirs.

    Threads that torch meets for the first time take the number that was set last, so it is put back in the end.
    """
    before = torch.get_num_threads(), faiss.omp_get_max_threads()
    torch.set_num_threads(threads)
    faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        faiss.omp_set_num_threads(before[1])
