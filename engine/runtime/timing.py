"""Runtimes timed beside each other in one process, in turn, so that a busy machine meets all of them alike."""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch

from crossgeo.engine.runtime import Array, Runtime
from crossgeo.engine.runtime.backends import NAMES, backend
from crossgeo.engine.runtime.choose import AUTO, RuntimeOptions, runtimes
from crossgeo.engine.runtime.half import Half, Pixels
from crossgeo.errors import EngineError


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
    half: Half, options: RuntimeOptions, pictures: Callable[[], Pixels], batch: int, rounds: int, say: Callable[[str], None] | None = None
) -> list[Timing]:
    """Time every runtime that runs on the device, in its own precision, or the one asked for; torch in float32 as it comes is first.

    On a processor process time is counted, which other programs do not add to; on a GPU the clock. Raises EngineError for a runtime that
    was asked for by name and cannot run.
    """
    wanted = NAMES if options.runtime == AUTO else (options.runtime,)
    every: dict[str, Runtime] = {}
    plain = replace(options, runtime="torch", precision="fp32", batch=batch)
    (base,) = runtimes([_own(half)], plain)
    every["torch fp32 (as it comes)"] = base
    for name in wanted:
        if options.runtime == AUTO and backend(name).missing(options.device) is not None:
            continue
        if say is not None:
            say(name)
        try:
            (made,) = runtimes([_own(half)], replace(options, runtime=name, batch=batch), pictures)
        except EngineError:
            if options.runtime != AUTO:
                raise
            continue
        every[made.label] = made
    seen = pictures()
    inputs = tuple(np.resize(rows, (batch, *rows.shape[1:])) for rows in half.examples(seen[:batch]))
    seconds = _in_turn(every, inputs, rounds, options.device)
    torch_s = next(iter(seconds.values()))
    return [_timing(label, own, torch_s, batch) for label, own in seconds.items()]


def _timing(label: str, own: list[float], torch_s: list[float], batch: int) -> Timing:
    low, middle, high = (1e3 * float(value) / batch for value in np.quantile(own, (0.25, 0.5, 0.75)))
    return Timing(label, middle, low, high, statistics.median(a / b for a, b in zip(torch_s, own, strict=True)))


def _in_turn(every: dict[str, Runtime], inputs: tuple[Array, ...], rounds: int, device: str) -> dict[str, list[float]]:
    clock = time.process_time if device == "cpu" else time.perf_counter
    seconds: dict[str, list[float]] = {label: [] for label in every}
    for runtime in every.values():
        runtime.run_all(*inputs)  # the first call of each allocates and chooses kernels
    for _ in range(rounds):
        for label, runtime in every.items():
            began = clock()
            runtime.run_all(*inputs)
            if device != "cpu":
                torch.cuda.synchronize(device)
            seconds[label].append(clock() - began)
    return seconds


def _own(half: Half) -> Half:
    """A half with a module of its own, which a runtime may cast."""
    return replace(half, module=copy.deepcopy(half.module))
