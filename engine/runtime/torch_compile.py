"""torch.compile: kernels made for a half at its first call; under CUDA graphs on a GPU, where launches would cost more than work.

Each size of batch is compiled by itself, for up to a minute, so there are few: what comes is cut and filled up to the rungs of a ladder.
CUDA graphs belong to the thread that recorded them, and their outputs lie where the next call writes: one thread makes all calls.
"""

from __future__ import annotations

import itertools
import os
import shutil
import threading
import types
from collections import defaultdict
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from typing import Any, Literal

import torch
from torch import Tensor, nn

from crossgeo.engine.runtime import Array
from crossgeo.engine.runtime.batched import Call, Pending
from crossgeo.engine.runtime.torch import begun, casting, laid, made_ready, no_gpu, precisions, room_for_weights, room_told, version
from crossgeo.errors import EngineError

NAME = "torch-compile"
SERVES = "processors with a C++ compiler; GPUs of compute capability 7.0 and newer through Triton, under CUDA graphs"
LADDER = (1, 4, 16, 64, 256)  # sizes of batch
MOST_SHAPES = 64  # of a half: each rung with the few sizes that images have; torch's own limit is 8, and beyond it runs uncompiled
_numbers = itertools.count()
_LIMITS = ("recompile_limit", "cache_size_limit")  # what torch calls it from 2.6 on, and before

__all__ = ["LADDER", "NAME", "SERVES", "load", "missing", "precisions", "rungs", "version"]


def missing(device: str) -> str | None:
    """Say why torch.compile cannot run on a device; None where it can."""
    if device.startswith("cuda"):
        if why_not := no_gpu():
            return why_not
        major, minor = torch.cuda.get_device_capability(device)
        return None if major >= 7 else f"Triton needs a GPU of compute capability 7.0 or newer, and this one has {major}.{minor}"
    return None if any(shutil.which(name) for name in ("g++", "clang++", "c++")) else "torch.compile needs a C++ compiler; install g++"


def load(module: nn.Module, precision: str, device: str) -> Call:
    """Return a call of a half's module; each rung of the ladder is compiled when it is first needed, which takes up to a minute.

    Calls raise EngineError where the compiler fails, or where images come in more sizes than can be compiled.
    """
    return _Call(module, precision, torch.device(device))


def rungs(count: int) -> Iterator[tuple[int, int]]:
    """Cut `count` rows into parts, each with the rung that it runs at: one is filled up where more than half of it is used.

    So 27 rows are 16 and 11 at 16, 8 rows are twice 4, and never is twice the work done.
    """
    while count > 0:
        up = next((rung for rung in LADDER if rung >= count), LADDER[-1])
        rung = up if 2 * count > up else max(rung for rung in LADDER if rung <= count)
        yield min(count, rung), rung
        count -= rung


class _Call:
    """A `batched.DeviceCall` that can keep a batch in flight."""

    takes_any_size: Literal[True] = True

    def __init__(self, module: nn.Module, precision: str, device: torch.device) -> None:
        self.device = device
        with room_for_weights(device):
            ready = made_ready(module, device, precision).requires_grad_(False)
        mode = "reduce-overhead" if device.type == "cuda" else None  # CUDA graphs, without minutes of trying kernels for each size
        self._compiled = torch.compile(_alone(ready), mode=mode, fullgraph=True)  # which raises where it would run uncompiled
        self._precision = precision
        self._threads = torch.get_num_threads()

    def __call__(self, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
        return self.begin(inputs).arrays()

    def begin(self, inputs: tuple[Array, ...]) -> Pending:
        return _worker().submit(lambda: begun(self._joined(inputs))).result()

    def on_device(self, inputs: tuple[Array | Tensor, ...]) -> tuple[Tensor, ...]:
        return _worker().submit(self._joined, inputs).result()

    def _joined(self, inputs: tuple[Array | Tensor, ...]) -> tuple[Tensor, ...]:
        """Return the outputs of any number of rows."""
        if torch.get_num_threads() != self._threads:  # another number would be another compilation
            torch.set_num_threads(self._threads)
        with _failures_told(), room_told():
            given, start, parts = [laid(rows, self.device) for rows in inputs], 0, []
            for count, rung in rungs(len(given[0])):
                outputs = self._called(tuple(_filled(rows[start : start + count], rung) for rows in given))
                parts.append(tuple(output[:count].clone() for output in outputs))
                start += count
            return parts[0] if len(parts) == 1 else tuple(torch.cat(rows) for rows in zip(*parts, strict=True))

    def _called(self, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Run a batch of a rung's size; the outputs hold until the next call."""
        for rows in inputs:
            torch._dynamo.mark_static(rows, 0)  # images of a second size are compiled for any size
        if self.device.type == "cuda":
            own_graphs()
            torch.compiler.cudagraph_mark_step_begin()  # type: ignore[no-untyped-call]
        with _limits(), torch.no_grad(), casting(self.device.type, self._precision):
            outputs = self._compiled(*inputs)
        return outputs if isinstance(outputs, tuple) else (outputs,)


@contextmanager
def _failures_told() -> Iterator[None]:
    """Turn what torch.compile raises into EngineError."""
    try:
        yield
    except torch._dynamo.exc.FailOnRecompileLimitHit as error:
        raise EngineError(f"torch.compile: images of more than {MOST_SHAPES} sizes; take --runtime torch") from error
    except (torch._dynamo.exc.TorchDynamoException, torch._inductor.exc.InductorError) as error:
        said = " ".join(line.strip() for line in str(error).splitlines()[:2])
        raise EngineError(f"torch.compile failed: {said}; take --runtime torch") from error


def _alone(module: nn.Module) -> Callable[..., Any]:
    """Return a function over a module with code and a name of its own.

    By code torch counts what it compiles; by file, line and name it learns which sizes and numbers vary, and would take those in which
    two networks differ for such.
    """

    def forward(*inputs: Tensor) -> Any:
        return module(*inputs)

    code = forward.__code__.replace(co_name=f"{forward.__name__}_{next(_numbers)}")
    return types.FunctionType(code, globals(), forward.__name__, None, forward.__closure__)


def _filled(rows: Tensor, rung: int) -> Tensor:
    """Fill rows up to a rung with the first of them, in memory of their own."""
    if len(rows) < rung:
        rows = torch.cat([rows, rows[:1].expand(rung - len(rows), *rows.shape[1:])])
    rows = rows.contiguous(memory_format=torch.channels_last if rows.ndim == 4 else torch.contiguous_format)
    return rows.clone() if rows._is_view() or rows.is_inference() else rows  # torch compiles anew for what they are views of


def _limits() -> Any:
    """Return a context in which a half may be compiled for so many shapes."""
    config = torch._dynamo.config
    return config.patch({name: MOST_SHAPES for name in _LIMITS if hasattr(config, name)})


@cache
def _worker() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, "torch-compile")


def own_graphs() -> None:
    """Give the calling thread its own place for CUDA graphs, which before torch 2.13 only the thread has that imports their module."""
    from torch._inductor import cudagraph_trees

    if not hasattr(cudagraph_trees.local, "tree_manager_containers"):
        cudagraph_trees.local.tree_manager_containers = {}
        cudagraph_trees.local.tree_manager_locks = defaultdict(threading.Lock)
        torch._C._stash_obj_in_tls("tree_manager_containers", cudagraph_trees.local.tree_manager_containers)
        torch._C._stash_obj_in_tls("tree_manager_locks", cudagraph_trees.local.tree_manager_locks)


os.register_at_fork(after_in_child=_worker.cache_clear)  # threads stay with the parent
