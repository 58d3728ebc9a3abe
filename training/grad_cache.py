"""The gradients of a large batch in little memory: descriptors first, then each chunk against their gradients (Gao et al. 2021)."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from crossgeo.training.random_state import random_state, set_random_state


def cached_backward(
    describe: Callable[[slice], Sequence[Tensor]], count: int, chunk: int, objective: Callable[..., Tensor], device: str | torch.device
) -> Tensor:
    """Leave the gradients of `objective(*descriptors)` over `count` rows, described `chunk` at a time; return the loss, detached.

    `describe(rows)` returns any number of (b, D) tensors, the same in both passes: dropout is repeated, so the gradients are those of one
    pass over all rows to rounding.
    """
    chunks = [slice(start, min(start + chunk, count)) for start in range(0, count, chunk)]
    states, described = [], []
    with torch.no_grad():
        for rows in chunks:
            states.append(random_state(device))
            described.append(describe(rows))
    leaves = [torch.cat(side).requires_grad_() for side in zip(*described, strict=True)]  # (B, D) each
    loss = objective(*leaves)
    loss.backward()  # type: ignore[no-untyped-call]
    after = random_state(device)
    for rows, state in zip(chunks, states, strict=True):
        set_random_state(state, device)
        again = [(tensor, leaf.grad[rows]) for tensor, leaf in zip(describe(rows), leaves, strict=True) if leaf.grad is not None]
        learning = [(tensor, gradient) for tensor, gradient in again if tensor.requires_grad]
        torch.autograd.backward([tensor for tensor, _ in learning], [gradient for _, gradient in learning])
    set_random_state(after, device)
    return loss.detach()
