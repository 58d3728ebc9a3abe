"""What the loop is given: how long and how a run trains, and a task, which is a model with what it learns by."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from torch import Tensor, nn

from crossgeo.training.schedule import Schedule

T = TypeVar("T")


@dataclass(frozen=True)
class LoopSettings:
    """What every run needs to know; it ends with whichever of minutes and steps ends first."""

    minutes: float = math.inf
    steps: float = math.inf
    seed: int = 1
    weight_decay: float = 0.03
    eps: float = 1e-6  # of AdamW
    clip: float = 1.0  # longest gradient of a step
    schedule: Schedule = field(default_factory=Schedule)
    average: float = 0.0  # decay of the averaged weights, which are then the result; 0 keeps none
    checkpoint_s: float = 240.0
    log_steps: int = 10
    workers: int = 1
    bf16: bool = True
    device: str = "cpu"

    def spent(self, step: int, elapsed_s: float) -> float:
        """Return the share of the budget that is spent."""
        return max(step / self.steps, elapsed_s / (self.minutes * 60.0))


class Task(nn.Module, Generic[T]):
    """What the loop trains: `model`, what it learns by, and how its parameters are grouped."""

    model: nn.Module
    identity: dict[str, Any]  # plain values that a checkpoint must share, "name" first

    def groups(self) -> list[dict[str, Any]]:
        """Return AdamW's parameter groups with their highest rates; a group with `"clip": False` keeps its gradient as it is."""
        raise NotImplementedError

    def learn(self, batch: T) -> dict[str, Tensor]:
        """Leave the gradients of a batch on the parameters; return `loss` and any parts of it, detached scalars."""
        raise NotImplementedError

    def describe(self, batch: T) -> tuple[Tensor, Tensor]:
        """Return (B, D) unit vectors of photos and aerials, for a source that is mined."""
        raise NotImplementedError

    def begin(self, done: float) -> None:
        """Get ready for a step that starts when a share `done` of the budget is spent."""

    def settle(self) -> None:
        """Make the model whole, before it is saved or returned."""
