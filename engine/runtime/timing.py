"""Runtimes timed beside each other in one process, in turn, so that a busy machine meets all of them alike."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import torch

from crossgeo.engine.runtime import Runtime
from crossgeo.engine.runtime.backends import NAMES, backend
from crossgeo.engine.runtime.choose import AUTO, NO_ENGINE, RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.errors import UsageError


@dataclass(frozen=True)
class Timing:
    """Milliseconds an image: the median and the quartiles of all rounds; `ratio` is torch's in float32, of the same rounds, to it."""

    label: str
    ms: float
    low_ms: float
    high_ms: float
    ratio: float

    def to_json(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)


def compare(
    half: Half,
    options: RuntimeOptions,
    pictures: Callable[[], Pixels],
    batch: int,
    rounds: int,
    say: Callable[[str], None] | None = None,
    left_out: Callable[[str, str], None] = lambda name, why_not: None,
) -> list[Timing]:
    """Time every runtime that runs on the device, in its own precision, or the one asked for; torch in float32 as it comes is first.

    `say` gets the name of each before it is made ready, `left_out` those that `auto` does without and why.
    On a processor process time is counted, which other programs do not add to; on a GPU the clock. Raises EngineError for a runtime that
    was asked for by name and cannot run.
    """
    wanted = NAMES if options.runtime == AUTO else (options.runtime,)
    every: dict[str, Runtime] = {}
    plain = replace(options, runtime="torch", precision="fp32", batch=batch)
    (base,) = runtimes([own(half)], plain)
    every["torch fp32 (as it comes)"] = base
    for name in wanted:
        if options.runtime == AUTO and (why_not := backend(name).missing(options.device)) is not None:
            left_out(name, why_not)
            continue
        if say is not None:
            say(name)
        try:
            (made,) = runtimes([own(half)], replace(options, runtime=name, batch=batch), pictures)
        except (*NO_ENGINE, UsageError) as error:  # it may lack the precision that was asked for
            if options.runtime != AUTO:
                raise
            left_out(name, str(error))
            continue
        every[made.label] = made
    seen = pictures()
    inputs = tuple(np.resize(rows, (batch, *rows.shape[1:])) for rows in half.examples(seen[:batch]))
    calls = {label: partial(runtime.run_all, *inputs) for label, runtime in every.items()}
    seconds = in_turn(calls, rounds, options.device)
    torch_s = next(iter(seconds.values()))
    return [_timing(label, taken, torch_s, batch) for label, taken in seconds.items()]


def _timing(label: str, taken: list[float], torch_s: list[float], batch: int) -> Timing:
    low, middle, high = (1e3 * float(value) / batch for value in np.quantile(taken, (0.25, 0.5, 0.75)))
    return Timing(label, middle, low, high, statistics.median(a / b for a, b in zip(torch_s, taken, strict=True)))


def in_turn(calls: Mapping[str, Callable[[], object]], rounds: int, device: str = "cpu") -> dict[str, list[float]]:
    """Return the seconds of each call in each round, one after the other, so that a change of clock or load meets all of them alike.

    Process time on a processor, which other programs do not add to; the clock on a GPU, after all its work is done.
    """

    def wait() -> None:
        if device != "cpu":
            torch.cuda.synchronize(device)

    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {label: [] for label in calls}
    for call in calls.values():
        for _ in range(1 if device == "cpu" else 2):  # the first allocates and chooses kernels, the second may capture a graph
            call()
    for _ in range(rounds):
        for label, call in calls.items():
            wait()
            began = clock()
            call()
            wait()
            seconds[label].append(clock() - began)
    return seconds


def own(half: Half) -> Half:
    """Return a half with a module of its own, which a runtime may cast."""
    return replace(half, module=copy.deepcopy(half.module))
