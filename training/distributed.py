"""Training on several devices: one process each (torchrun), batches of their own, gradients averaged, descriptors compared with all."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn

T = TypeVar("T")
_BUCKET = 8_000_000  # gradients that travel together
_PATIENCE = timedelta(days=7)  # with the first process, which may judge a model for hours; one that died is noticed at once


def join(device: str, local_rank: int) -> str:
    """Join the processes that torchrun started; return this one's device (`cuda` becomes `cuda:<local_rank>`)."""
    on_gpu = torch.device(device).type == "cuda"
    if on_gpu:
        device = f"cuda:{local_rank}"
        torch.cuda.set_device(device)
    if not dist.is_initialized():
        dist.init_process_group("nccl" if on_gpu else "gloo")
    return device


def leave() -> None:
    """Part from the others, where there are any."""
    if dist.is_available() and dist.is_initialized():
        _patient_group.cache_clear()
        dist.destroy_process_group()


def rank() -> int:
    """Return the number of this process; 0 is the one that writes."""
    return dist.get_rank() if dist.is_available() and dist.is_initialized() else 0


def ranks() -> int:
    """Return how many processes train together."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def first_says(value: float, device: str | torch.device) -> float:
    """Return the first process's value to all, so that all stop at the same step."""
    if ranks() == 1:
        return value
    said = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(said, 0)
    return float(said)


@functools.cache
def _patient_group() -> dist.ProcessGroup:
    """Return all processes on a line of their own, on the CPU, where a step's timeout does not hold."""
    group: dist.ProcessGroup = dist.new_group(backend="gloo", timeout=_PATIENCE)
    return group


def wait_for_all() -> None:
    """Wait until all processes are here, however long one of them takes."""
    if ranks() > 1:
        dist.barrier(group=_patient_group())


def all_say(value: T) -> list[T]:
    """Return what each process says, plain values or tensors on the CPU, in their order."""
    if ranks() == 1:
        return [value]
    said: list[T | None] = [None] * ranks()
    dist.all_gather_object(said, value, group=_patient_group())
    return said  # type: ignore[return-value]


def mean_of_all(values: Tensor) -> Tensor:
    """Return the mean over the processes of (n,) values; one that is no number makes it none."""
    if ranks() > 1:
        dist.all_reduce(values)
        values = values / ranks()
    return values


def gather(rows: Tensor) -> Tensor:
    """Return the (B, ...) rows of all processes, in their order, as (R B, ...), without gradients."""
    if ranks() == 1:
        return rows
    parts = [torch.empty_like(rows) for _ in range(ranks())]
    dist.all_gather(parts, rows.detach().contiguous())
    return torch.cat(parts)


def gather_with_gradients(rows: Tensor) -> Tensor:
    """Return the rows of all processes so that the mean of all processes' gradients is the gradient of one loss over all rows.

    Each process computes the whole loss and follows it into its own rows; these count R times, as R - 1 others follow theirs.
    """
    if ranks() == 1:
        return rows
    parts = list(gather(rows).chunk(ranks()))
    parts[rank()] = rows * ranks() - (rows * (ranks() - 1)).detach()
    return torch.cat(parts)


def average_gradients(parameters: Iterable[nn.Parameter]) -> None:
    """Replace each gradient by its mean over the processes."""
    if ranks() == 1:
        return
    bucket: list[Tensor] = []
    size = 0
    for parameter in parameters:
        if parameter.grad is None:
            continue
        bucket.append(parameter.grad)
        size += parameter.grad.numel()
        if size >= _BUCKET:
            _average(bucket)
            bucket, size = [], 0
    if bucket:
        _average(bucket)


def _average(gradients: list[Tensor]) -> None:
    flat = torch.cat([gradient.flatten() for gradient in gradients])
    dist.all_reduce(flat)
    flat /= ranks()
    start = 0
    for gradient in gradients:
        gradient.copy_(flat[start : start + gradient.numel()].view_as(gradient))
        start += gradient.numel()
