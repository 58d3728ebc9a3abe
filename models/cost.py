"""What a network costs, counted without computing it: multiply-adds of convolutions, linear layers and attention products."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode


def count_macs(forward: Callable[..., object], *shapes: tuple[int, ...]) -> int:
    """Return the multiply-adds of one call on float32 inputs of these shapes, by the operators that run.

    The module behind `forward` must stand on the meta device (`with torch.device("meta")`), so nothing is computed and attention shows
    its two products. Norms, activations, biases and resampling are not counted; one multiply-add is two FLOP.
    """
    inputs: list[Tensor] = [torch.empty(shape, device="meta") for shape in shapes]
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        forward(*inputs)
    flops: int = counter.get_total_flops()
    assert flops % 2 == 0
    return flops // 2
