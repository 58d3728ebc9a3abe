"""How many threads a thread computes with: torch, FAISS where it is loaded and, through torch's number, OpenVINO."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def computing_with(threads: int) -> Iterator[None]:
    """Have the calling thread compute with so many threads inside the block; other threads that compute already keep theirs.

    Threads that torch meets for the first time take the number that was set last, so it is put back in the end.
    """
    faiss = sys.modules.get("faiss")  # who has not loaded it computes nothing with it
    before = torch.get_num_threads(), faiss.omp_get_max_threads() if faiss else 0
    torch.set_num_threads(threads)
    if faiss:
        faiss.omp_set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        if faiss:
            faiss.omp_set_num_threads(before[1])
