"""A network whole in 16 bits for inference, weights and what lies between layers, without autocast."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import Tensor, nn

Module = TypeVar("Module", bound=nn.Module)


def cast_whole(module: Module, dtype: torch.dtype, batch_norms: bool = False) -> Module:
    """Cast a network's parameters in place and return it: inputs stay float32 or bytes, colours and clicks are worked out in float32.

    On a GPU autocast takes norms in float32 and leaves their results so, and with them all sums along the network: twice the bytes. Cast
    whole, each layer reads and writes 16 bits and keeps its own statistics in float32, as torch's norms and softmax and the kernels do.
    Buffers stay as they are, and so do batch norms, whose statistics are weights, unless `batch_norms` asks for one type throughout.
    """
    with torch.no_grad():
        for part in module.modules():
            if not isinstance(part, nn.modules.batchnorm._BatchNorm):
                for parameter in part.parameters(recurse=False):
                    parameter.data = parameter.data.to(dtype)
            elif batch_norms:
                part.to(dtype)
    return module


def like_weights(inputs: Tensor, module: nn.Module) -> Tensor:
    """Return a network's inputs in the type of its first weight, which is the float32 that they come in unless it was cast."""
    return inputs.to(next(module.parameters()).dtype)
