"""Runtimes: how a model's branch is run on a machine; torch is the definition, compiled ones must give the same descriptors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from torch import Tensor


class Runtime(Protocol):
    """Anything that describes normalised images."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe (B, 3, H, W) normalised float32 images as (B, D) float32 unit vectors."""
        ...


class DenseRuntime(Runtime, Protocol):
    """A runtime that also gives the maps from which a branch made its descriptors."""

    def run_with_maps(self, images: Tensor) -> tuple[NDArray[np.float32], list[Tensor]]:
        """Describe (B, 3, H, W) normalised float32 images as `run` does, with the stem's maps (B, C, h, w) at each of its strides."""
        ...
