"""The one training loop of both models: a budget of steps or minutes, averaged weights, checkpoints, resume to the same result."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from typing import Any, TypeVar

import torch
from torch import nn

from crossgeo.errors import UsageError
from crossgeo.indexer import files
from crossgeo.training import distributed
from crossgeo.training.curves import save_curves
from crossgeo.training.ema import Average
from crossgeo.training.journal import Journal
from crossgeo.training.random_state import random_state, set_random_state
from crossgeo.training.saving import read_checkpoint, write_checkpoint
from crossgeo.training.stream import MinedSource, NamedSource, Source, batches
from crossgeo.training.task import LoopSettings, Task

T = TypeVar("T")
Judge = Callable[[nn.Module], dict[str, float]]


def train(
    task: Task[T], source: Source[T], how: LoopSettings, out: Path, *, log: Callable[[str], None] | None = None, judge: Judge | None = None
) -> nn.Module:
    """Train `task` and return its model (the averaged one where an average is kept), in eval mode; a rerun goes on where it stopped.

    `out` gets `checkpoint.pt` (the resume point), `log.jsonl`, where `judge` adds what it says of the model at each checkpoint,
    TensorBoard's event files in `events/`, and `curves.png`. Raises UsageError when the loss is no longer finite, MismatchError for the
    checkpoint of another model, loss, batch or data, LimitError on a full disk; the last good checkpoint is kept in all of them.
    """
    if math.isinf(how.minutes) and math.isinf(how.steps):
        raise UsageError("a run needs an end; give minutes or steps")
    files.make_folder(out)
    checkpoint, device = out / "checkpoint.pt", how.device
    groups = task.groups()
    rates = [group["lr"] for group in groups]
    optimiser = torch.optim.AdamW(groups, weight_decay=how.weight_decay, eps=how.eps)
    trained = [p for group in groups for p in group["params"]]
    clipped = [p for group in groups if group.get("clip", True) for p in group["params"]]
    average = Average(task, how.average) if how.average else None
    every = (task, average.module) if average else (task,)
    best = every[-1]
    identity = {**task.identity, "processes": distributed.ranks(), **(source.identity() if isinstance(source, NamedSource) else {})}
    step, elapsed_s, skipped = 0, 0.0, 0
    pending: dict[str, list[float]] = {}  # what the next row of the log is the mean of
    if checkpoint.exists():
        saved = read_checkpoint(checkpoint, identity, device)
        task.load_state_dict(saved["task"])
        optimiser.load_state_dict(saved["optimiser"])
        if average:
            average.module.load_state_dict(saved["average"] or saved["task"])
        if isinstance(source, MinedSource):
            source.load_state(saved["source"])
        step, elapsed_s, skipped, pending = int(saved["step"]), float(saved["elapsed_s"]), int(saved.get("skipped", 0)), saved["pending"]
        set_random_state(saved["random"][distributed.rank()], device)
    elif distributed.rank():  # dropout of its own
        torch.manual_seed(how.seed + 1_000_003 * distributed.rank())
    if len(set(distributed.all_say(step))) > 1:
        raise UsageError(f"{out}: not every process finds the checkpoint there; give a folder that all of them share")

    with Journal(out, step, log, writes=distributed.rank() == 0) as journal:

        def note(row: dict[str, Any]) -> None:
            journal.note({"step": step, "minutes": round(elapsed_s / 60.0, 2), **row})

        def keep() -> None:
            for module in every:
                module.settle()
            random = distributed.all_say(random_state(device))
            if distributed.rank() == 0:
                kept = {
                    "identity": identity, "task": task.state_dict(), "average": average.module.state_dict() if average else None,
                    "optimiser": optimiser.state_dict(), "step": step, "elapsed_s": elapsed_s, "skipped": skipped, "pending": pending,
                    "source": source.state() if isinstance(source, MinedSource) else None,
                    "random": random, "training": asdict(how),
                }  # fmt: skip
                write_checkpoint(checkpoint, kept)
                if judge:
                    note(judge(best.model.eval()))
                save_curves(journal.path, out / "curves.png")
                task.train()
            distributed.wait_for_all()

        stream: Iterator[T] | None = None
        saved_at, saved_step = elapsed_s, step
        task.train()
        clock = time.monotonic()
        while (done := how.spent(step, elapsed_s)) < 1.0:
            if isinstance(source, MinedSource) and source.due(step):
                source.mine(task.describe, step, how.workers)
                task.train()
                stream = None  # what was drawn ahead knows nothing of it
            stream = stream or batches(source, how.seed, step, how.workers, distributed.rank(), distributed.ranks())
            batch = next(stream)
            for module in every:
                module.begin(done)
            factor = how.schedule.factor(done, 1.0 / how.steps)
            for group, rate in zip(optimiser.param_groups, rates, strict=True):
                group["lr"] = rate * factor
            optimiser.zero_grad(set_to_none=True)
            parts = task.learn(batch)
            distributed.average_gradients(trained)
            norm = nn.utils.clip_grad_norm_(clipped, how.clip)
            values = distributed.mean_of_all(torch.stack([*parts.values(), norm])).tolist()
            said = dict(zip((*parts, "norm"), values, strict=True))
            _check_finite(said, step + 1, checkpoint)
            optimiser.step()
            step += 1
            if average:
                average.update(task, step)
            if names := getattr(batch, "skipped", ()):
                skipped += len(names)
                note({"skipped": list(names), "skipped_in_all": skipped})
            for name in parts:
                pending.setdefault(name, []).append(said[name])
            if step % how.log_steps == 0:
                note({**{name: fmean(some) for name, some in pending.items()}, "lr": max(rates) * factor})
                pending = {}
            elapsed_s = distributed.first_says(elapsed_s + time.monotonic() - clock, device)
            clock = time.monotonic()
            if elapsed_s - saved_at > how.checkpoint_s:
                keep()
                saved_at, saved_step, clock = elapsed_s, step, time.monotonic()  # keeping and judging are not part of the budget
        if step > saved_step:
            keep()
    return best.model.eval()


def _check_finite(said: dict[str, float], step: int, checkpoint: Path) -> None:
    wrong = [name for name, value in said.items() if not math.isfinite(value)]
    if wrong:
        kept = f"{checkpoint} keeps the last good weights" if checkpoint.exists() else "there is no checkpoint yet"
        names = " and ".join("gradient" if name == "norm" else name for name in wrong)
        raise UsageError(f"step {step}: {names} {said[wrong[0]]}, so training stopped; {kept}. Go on with a lower learning rate")
