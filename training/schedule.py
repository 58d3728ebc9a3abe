"""Learning rates over a run, as factors of their highest: a linear rise, then a cosine to zero or a fall every so many epochs."""

from __future__ import annotations

import math
from dataclasses import dataclass


@dataclass(frozen=True)
class Schedule:
    """The shape of the learning rate over a run's budget."""

    warmup_share: float = 0.04  # of the budget in which the rate rises
    drops: int = 0  # how often the rate falls, evenly over the run; 0 is a cosine to zero
    drop_factor: float = 0.1

    def factor(self, done: float, step_share: float = 0.0) -> float:
        """Return the factor for a step that starts when a share `done` of the budget is spent and itself takes `step_share` of it."""
        rise = min(1.0, (done + step_share) / self.warmup_share) if self.warmup_share > 0.0 else 1.0
        if self.drops:
            return rise * self.drop_factor ** math.floor(done * (self.drops + 1) + 1e-9)
        return rise * 0.5 * (1.0 + math.cos(math.pi * min(done, 1.0)))
