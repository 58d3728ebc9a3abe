"""Transformer layers that keep nothing for the backward pass and run again there: less memory for a third more work (Chen et al. 2016)."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from crossgeo.models.transformer import Layer


class RecomputedLayer(Layer):
    """A layer whose activations are computed again, dropout and all."""

    def forward(self, tokens: Tensor, previous: Tensor) -> Tensor:
        """Map tokens as `Layer` does."""
        if not torch.is_grad_enabled():
            return super().forward(tokens, previous)
        return cast(Tensor, checkpoint(super().forward, tokens, previous, use_reentrant=False))


def recompute_layers(module: nn.Module) -> int:
    """Make every transformer layer inside a module one that is computed again; return how many there are."""
    layers = [layer for layer in module.modules() if type(layer) is Layer]
    for layer in layers:
        layer.__class__ = RecomputedLayer  # the same parameters under the same names
    return len(layers)
