"""Runtimes: how a model's branch is run on a machine; torch is the definition, compiled ones must give the same descriptors."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Runtime(Protocol):
    """Anything that describes normalised images."""

    def run(self, batch: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe (B, 3, H, W) normalised float32 images as (B, D) float32 unit vectors."""
        ...
