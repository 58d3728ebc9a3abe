"""Batches by step: step k of a run draws from its own seed, whoever draws it, so that a resumed run sees what an unbroken one would."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Generic, Protocol, TypeVar, runtime_checkable

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from crossgeo.errors import GeoError

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
_ENDLESS = range(2**62)


@runtime_checkable
class BatchSource(Protocol[T_co]):
    """Whatever draws batches at random: sites of rendered ground, clicks, streets of towns."""

    def batch(self, rng: np.random.Generator) -> T_co:
        """Draw one batch; equal generators give equal batches."""
        ...


@runtime_checkable
class EpochSource(Protocol[T_co]):
    """Whatever goes through its pairs in epochs."""

    def batch_of(self, number: int) -> T_co:
        """Return the batch of a number, from 0."""
        ...


@runtime_checkable
class MinedSource(Protocol):
    """A source that asks the model, every so many steps, what it confuses, and draws that together."""

    def due(self, step: int) -> bool:
        """Whether it wants to ask before a step."""
        ...

    def mine(self, describe: Callable[[Any], tuple[Tensor, Tensor]], step: int, workers: int) -> None:
        """Ask: `describe` returns (B, D) unit vectors of a batch's photos and aerials."""
        ...

    def state(self) -> dict[str, Tensor]:
        """Return what it knows, for a checkpoint."""
        ...

    def load_state(self, state: dict[str, Tensor]) -> None:
        """Go on with what was known."""
        ...


@runtime_checkable
class NamedSource(Protocol):
    """A source that says what it draws from and how: a checkpoint is of one such way to train."""

    def identity(self) -> dict[str, Any]:
        """Return plain values: `data`, a hash of what is drawn from, `batch`, and whatever else shapes the batches."""
        ...


Source = BatchSource[T_co] | EpochSource[T_co]


def batches(source: Source[T], seed: int, first: int, workers: int, rank: int = 0, ranks: int = 1) -> Iterator[T]:
    """Yield the batches of steps `first`, `first + 1`, ... in order, without end; `workers` processes draw ahead (0: this one).

    Of several `ranks` that train together each draws batches of its own.
    """

    return drawn(partial(_draw, source, seed, rank, ranks), _ENDLESS[first:], workers)


def _draw(source: Source[T], seed: int, rank: int, ranks: int, step: int) -> T:
    if isinstance(source, EpochSource):
        return source.batch_of(step * ranks + rank)
    return source.batch(np.random.default_rng([seed, step] if ranks == 1 else [seed, step, rank]))


def drawn(draw: Callable[[int], T], numbers: range, workers: int) -> Iterator[T]:
    """Yield `draw(number)` for each number in order, drawn ahead by `workers` processes; a GeoError comes as it was raised."""
    loader = DataLoader(
        _Drawn(draw),
        batch_size=None,
        sampler=numbers,
        collate_fn=_as_it_is,
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        generator=torch.Generator(),  # the loader's own draws leave the model's alone
    )
    return map(_good, loader)


class _Drawn(Dataset[T | GeoError], Generic[T]):
    def __init__(self, draw: Callable[[int], T]) -> None:
        self.draw = draw

    def __getitem__(self, number: int) -> T | GeoError:
        try:
            return self.draw(number)
        except GeoError as error:  # raised in a worker it would come with the worker's traceback in its message
            return error


def _good(batch: T | GeoError) -> T:
    if isinstance(batch, GeoError):
        raise batch
    return batch


def _as_it_is(batch: Any) -> Any:
    return batch
