"""Batches by step: step k of a run draws from its own seed, whoever draws it, so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Generic, Protocol, TypeVar

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_ENDLESS = range(2**62)


class BatchSource(Protocol[T_co]):
    """Whatever makes batches: sites of rendered ground, pairs on disk, streets of towns."""

    def batch(self, rng: np.random.Generator) -> T_co:
        """Draw one batch; equal generators give equal batches."""
        ...


class _Steps(Dataset[T]):
    def __init__(self, source: BatchSource[T], seed: int) -> None:
        self.source, self.seed = source, seed

    def __getitem__(self, step: int) -> T:
        return self.source.batch(np.random.default_rng([self.seed, step]))


def batches(source: BatchSource[T], seed: int, first: int, workers: int) -> Iterator[T]:
    """Yield the batches of steps `first`, `first + 1`, ... in order, without end; `workers` processes draw ahead (0: this one)."""
    loader = DataLoader(
        _Steps(source, seed),
        batch_size=None,
        sampler=_ENDLESS[first:],
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # the loader's own draws leave the model's alone
    )
    return iter(loader)


class _AsItIs(Generic[T]):
    def __call__(self, batch: T) -> T:
        return batch


_as_it_is: _AsItIs[object] = _AsItIs()
