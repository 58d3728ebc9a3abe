"""An average of the weights over a run's last steps (exponential moving average; Polyak and Juditsky 1992, in the form used since)."""

from __future__ import annotations

import copy
from typing import Generic, TypeVar

import torch
from torch import nn

Module = TypeVar("Module", bound=nn.Module)


class Average(Generic[Module]):
    """A copy of a module whose trained parameters follow the module's; `decay` is how much of it each step keeps.

    Running means and variances of batch norms follow likewise: those of the start would fit no weights but its own.
    """

    def __init__(self, module: Module, decay: float) -> None:
        self.decay = decay
        self._followed = [name for name, p in module.named_parameters() if p.requires_grad]
        self.module: Module = copy.deepcopy(module).requires_grad_(False).eval()

    @torch.no_grad()
    def update(self, module: nn.Module, step: int) -> None:
        """Move towards `module` after its `step`-th step; early steps count for more, so that the start is soon forgotten."""
        decay = min(self.decay, (1.0 + step) / (10.0 + step))
        mine, theirs = dict(self.module.named_parameters()), dict(module.named_parameters())
        torch._foreach_lerp_([mine[n] for n in self._followed], [theirs[n] for n in self._followed], 1.0 - decay)
        for own, other in zip(self.module.buffers(), module.buffers(), strict=True):
            if own.is_floating_point():
                own.lerp_(other, 1.0 - decay)
            else:  # a count of batches
                own.copy_(other)
