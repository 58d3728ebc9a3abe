"""The state of torch's random numbers on the processor and one device: kept in checkpoints, and set back to repeat a pass with dropout."""

from __future__ import annotations

import torch
from torch import Tensor

RandomState = dict[str, Tensor]


def random_state(device: str | torch.device) -> RandomState:
    """Return the state of the processor and, where it is one, of the GPU."""
    state = {"cpu": torch.get_rng_state()}
    if torch.device(device).type == "cuda":
        state["cuda"] = torch.cuda.get_rng_state(device)
    return state


def set_random_state(state: RandomState, device: str | torch.device) -> None:
    """Go on from a state; a GPU's is left alone where the state has none."""
    torch.set_rng_state(state["cpu"].cpu())
    if "cuda" in state and torch.device(device).type == "cuda":
        torch.cuda.set_rng_state(state["cuda"].cpu(), device)
