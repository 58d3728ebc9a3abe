"""Runtimes: how the halves of the models run on a machine; torch is the definition, and what is compiled must answer as it does."""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Array = NDArray[Any]


class Runtime(Protocol):
    """One half of a model, ready to run."""

    @property
    def label(self) -> str:
        """Back end, precision and device, as `geo doctor` names them."""
        ...

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the first output of a half with one input: (B, 3, H, W) normalised float32 images give (B, D) unit vectors."""
        ...

    def run_all(self, *inputs: Array) -> tuple[Array, ...]:
        """Return every output, float32, of inputs that all have B rows, as the half's slots have them."""
        ...

    @property
    def device(self) -> torch.device:
        """Where tensors that go in are not moved from, and where those that come out of `run_tensors` lie."""
        ...

    def run_tensors(self, *inputs: Array | Tensor) -> tuple[Tensor, ...]:
        """Return what `run_all` does as tensors on `device`, in the type they were computed in; floating inputs may be of any type."""
        ...
