"""The one training loop of both models: a budget of steps or minutes, averaged weights, checkpoints, resume to the same result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any, Generic, TypeVar

import torch
from torch import Tensor, nn

from crossgeo.errors import UsageError
from crossgeo.indexer import files
from crossgeo.training.ema import Average
from crossgeo.training.journal import Journal
from crossgeo.training.saving import read_checkpoint, write_checkpoint
from crossgeo.training.schedule import Schedule
from crossgeo.training.stream import BatchSource, batches

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

    def begin(self, done: float) -> None:
        """Get ready for a step that starts when a share `done` of the budget is spent."""

    def settle(self) -> None:
        """Make the model whole, before it is saved or returned."""


def train(
    task: Task[T],
    source: BatchSource[T],
    how: LoopSettings,
    out: Path,
    *,
    log: Callable[[str], None] | None = None,
    judge: Callable[[nn.Module], dict[str, float]] | None = None,
) -> nn.Module:
    """Train `task` and return its model (the averaged one where an average is kept), in eval mode; a rerun goes on where it stopped.

    `out` gets `checkpoint.pt`, the resume point, and `log.jsonl`, where `judge` adds what it says of the model at each checkpoint.
    Raises UsageError when the loss is no longer finite, MismatchError for another model's checkpoint, LimitError on a full disk; the
    last good checkpoint is kept in all of them.
    """
    if math.isinf(how.minutes) and math.isinf(how.steps):
        raise UsageError("a run needs an end; give minutes or steps")
    files.make_folder(out)
    checkpoint = out / "checkpoint.pt"
    groups = task.groups()
    rates = [group["lr"] for group in groups]
    optimiser = torch.optim.AdamW(groups, weight_decay=how.weight_decay, eps=how.eps)
    clipped = [p for group in groups if group.get("clip", True) for p in group["params"]]
    average = Average(task, how.average) if how.average else None
    step, elapsed_s = 0, 0.0
    pending: dict[str, list[float]] = {}  # what the next row of the log is the mean of
    if checkpoint.exists():
        saved = read_checkpoint(checkpoint, task.identity, how.device)
        task.load_state_dict(saved["task"])
        optimiser.load_state_dict(saved["optimiser"])
        if average:
            average.module.load_state_dict(saved["average"] or saved["task"])
        step, elapsed_s, pending = int(saved["step"]), float(saved["elapsed_s"]), saved["pending"]
        _set_random_state(saved["random"], how.device)

    def save() -> None:
        for module in (task, average.module) if average else (task,):
            module.settle()
        kept = {
            "identity": task.identity, "task": task.state_dict(), "average": average.module.state_dict() if average else None,
            "optimiser": optimiser.state_dict(), "step": step, "elapsed_s": elapsed_s, "pending": pending,
            "random": _random_state(how.device), "training": asdict(how),
        }  # fmt: skip
        write_checkpoint(checkpoint, kept)

    with Journal(out / "log.jsonl", step, log) as journal:

        def keep() -> None:
            save()
            if judge:
                said = judge((average.module if average else task).model.eval())
                journal.note({"step": step, "minutes": round(elapsed_s / 60.0, 2), **said})
                task.train()

        stream, saved_at, saved_step = batches(source, how.seed, step, how.workers), elapsed_s, step
        task.train()
        clock = time.monotonic()
        while (done := how.spent(step, elapsed_s)) < 1.0:
            batch = next(stream)
            for module in (task, average.module) if average else (task,):
                module.begin(done)
            factor = how.schedule.factor(done, 1.0 / how.steps)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimiser.zero_grad(set_to_none=True)
            parts = task.learn(batch)
            norm = nn.utils.clip_grad_norm_(clipped, how.clip)
            said = dict(zip((*parts, "norm"), torch.stack([*parts.values(), norm]).tolist(), strict=True))
            _check_finite(said, step + 1, checkpoint)
            optimiser.step()
            step += 1
            if average:
                average.update(task, step)
            for name in parts:
                pending.setdefault(name, []).append(said[name])
            if step % how.log_steps == 0:
                row = {"step": step, "minutes": round(elapsed_s / 60.0, 2), **{name: fmean(values) for name, values in pending.items()}}
                journal.note({**row, "lr": max(rates) * factor})
                pending = {}
            elapsed_s, clock = elapsed_s + time.monotonic() - clock, time.monotonic()
            if elapsed_s - saved_at > how.checkpoint_s:
                keep()
                saved_at, saved_step, clock = elapsed_s, step, time.monotonic()  # keeping and judging are not part of the budget
        if step > saved_step or not checkpoint.exists():
            keep()
    return (average.module if average else task).model.eval()


def _check_finite(said: dict[str, float], step: int, checkpoint: Path) -> None:
    wrong = [name for name, value in said.items() if not math.isfinite(value)]
    if wrong:
        kept = f"{checkpoint} keeps the last good weights" if checkpoint.exists() else "there is no checkpoint yet"
        names = " and ".join("gradient" if name == "norm" else name for name in wrong)
        raise UsageError(f"step {step}: {names} {said[wrong[0]]}, so training stopped; {kept}. Go on with a lower learning rate")


def _random_state(device: str) -> dict[str, Tensor]:
    state = {"cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def _set_random_state(state: dict[str, Tensor], device: str) -> None:
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
