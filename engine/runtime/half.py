"""A half of a model as a runtime takes it: a module with named inputs and outputs, the weights that it is of, and how it is checked."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from torch import nn

from crossgeo.engine.runtime import Array

MOST_PX = 1024  # of a side that varies
MOST_PIXELS = 1 << 24  # in a batch, where nobody has looked how much memory there is
STEP_PX = 16  # sizes that vary are multiples of this: the stride of the stems
Pixels = NDArray[np.uint8]
Judge = Literal["descriptors", "maps", "boxes"]


@dataclass(frozen=True)
class Slot:
    """An input: its shape without the batch, where a name stands for a size that varies by `STEP_PX`."""

    name: str
    shape: tuple[int | str, ...]
    dtype: Literal["float32", "uint8"] = "float32"


@dataclass(frozen=True)
class Half:
    """What is compiled. `module` maps the inputs, each with a batch in front, to a tuple of the outputs."""

    name: str
    module: nn.Module
    inputs: tuple[Slot, ...]
    outputs: tuple[str, ...]
    model: tuple[str, str]  # name and SHA-256 of the weights
    view: str  # digest
    examples: Callable[[Pixels], tuple[Array, ...]]  # (N, S, S, 3) uint8 RGB pictures, north up, as N inputs; pure black is no imagery
    judge: Judge
    decode: Callable[[Array], tuple[NDArray[np.float32], NDArray[np.float32]]] | None = None
    """Of halves that give boxes: raw predictions to all boxes (N, K, 4) xyxy px and their logits of confidence (N, K)."""

    @property
    def title(self) -> str:
        """Name the half and its weights."""
        return f"{self.model[0]} ({self.name})"

    def largest(self, batch: int, most_pixels: int = MOST_PIXELS) -> int:
        """Return how many rows at once this half takes where `batch` are asked for: fewer of large images, which fill memory."""
        images = [slot.shape[1:] for slot in self.inputs if len(slot.shape) == 3]
        pixels = max((math.prod(size if isinstance(size, int) else MOST_PX for size in shape) for shape in images), default=1)
        fit = max(1, most_pixels // pixels)
        return min(batch, 1 << (fit.bit_length() - 1))  # powers of two, as batches are cut

    @property
    def digest(self) -> str:
        """SHA-256 of all that decides what the half computes: weights, view, slots and our own code."""
        slots = [(slot.name, slot.shape, slot.dtype) for slot in self.inputs]
        told = [self.name, self.model[1], self.view, slots, self.outputs, code_digest()]
        return hashlib.sha256(json.dumps(told).encode()).hexdigest()


@cache
def code_digest() -> str:
    """Return the SHA-256 of the modules that define the networks: an engine of other code is another engine."""
    digest = hashlib.sha256()
    for package in ("crossgeo.kernels", "crossgeo.models", "crossgeo.engine.runtime"):
        for item in sorted(resources.files(package).iterdir(), key=lambda item: item.name):
            if item.name.endswith(".py"):
                digest.update(item.name.encode() + item.read_bytes())
    return digest.hexdigest()
