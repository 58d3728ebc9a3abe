"""What a module makes of its weights once, for as long as they stay what they are: tables, other layouts, other types."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any, TypeVar, cast

import torch
from torch import Tensor

T = TypeVar("T")
_MOST = 16  # things of one module that are kept


class Prepared:
    """Things made of tensors, kept until one of the tensors is replaced or written to.

    Writing is told by torch's version counters: loading weights and an optimiser's steps move them, writing through `Tensor.data` does
    not. Where a gradient is wanted, and inside of a graph that is being compiled or exported, everything is made anew.
    """

    def __init__(self) -> None:
        self._held: dict[Hashable, tuple[list[tuple[Tensor, int]], Any]] = {}

    def __deepcopy__(self, memo: Any) -> Prepared:
        return Prepared()  # a copied module has weights of its own

    def __reduce__(self) -> tuple[type[Prepared], tuple[()]]:
        return Prepared, ()

    def __len__(self) -> int:
        """Return how many things are kept."""
        return len(self._held)

    def of(self, key: Hashable, sources: Sequence[Tensor], make: Callable[[], T]) -> T:
        """Return what `make` makes of `sources`, a tensor or a tuple of tensors, `key` saying what else it depends on."""
        if torch.compiler.is_compiling() or not all(map(_settled, sources)):
            return make()
        held = self._held.get(key)
        if held is not None and all(_same(*old, new) for old, new in zip(held[0], sources, strict=True)):
            return cast(T, held[1])
        stamps = [(source.detach(), source._version) for source in sources]  # kept alive, so that no other tensor gets their address
        with torch.inference_mode(False), torch.no_grad():
            made = make()
        if all(type(tensor) is Tensor and tensor.device.type != "meta" for tensor in (made if isinstance(made, tuple) else (made,))):
            if len(self._held) >= _MOST:
                self._held.clear()
            self._held[key] = stamps, made
        return made


def _settled(source: Tensor) -> bool:
    """Whether nobody asks for the gradient of a tensor, and it counts what is written to it."""
    return not (source.requires_grad and torch.is_grad_enabled()) and not source.is_inference() and source.device.type != "meta"


def _same(old: Tensor, version: int, new: Tensor) -> bool:
    return (old.data_ptr(), old.dtype, old.device, old.shape, old.stride(), version) == (
        new.data_ptr(), new.dtype, new.device, new.shape, new.stride(), new._version,
    )  # fmt: skip
