"""Depthwise convolution whose gradients are quick in bfloat16 on a CPU, where oneDNN's own are several times slower than in float32."""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor


def depthwise_conv2d(x: Tensor, weight: Tensor, bias: Tensor | None, stride: int = 1, padding: int = 0) -> Tensor:
    """Convolve each channel of (B, C, H, W) with its own kernel of (C, 1, k, k): what F.conv2d with C groups gives.

    Under CPU autocast with gradients the backward pass is ours; in every other case this is F.conv2d.
    """
    if x.device.type == "cpu" and torch.is_autocast_enabled("cpu") and torch.is_grad_enabled() and weight.requires_grad:
        dtype = torch.get_autocast_dtype("cpu")
        with torch.autocast("cpu", enabled=False):
            return cast(Tensor, _Depthwise.apply(x.to(dtype), weight, bias, stride, padding))  # type: ignore[no-untyped-call]
    return F.conv2d(x, weight, bias, stride, padding, groups=len(weight))


class _Depthwise(torch.autograd.Function):
    """Forward in x's type; the gradient of x as a convolution with flipped weights, that of 5 x 5 weights in float32."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, stride: int, padding: int) -> Tensor:
        """Convolve (B, C, H, W) in its own type with float32 (C, 1, k, k)."""
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding, ctx.biased = stride, padding, bias is not None
        return F.conv2d(x, weight.to(x.dtype), None if bias is None else bias.to(x.dtype), stride, padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, Tensor | None, None, None]:
        """Return the gradients of x, weight and bias for (B, C, h, w)."""
        x, weight = ctx.saved_tensors
        stride, padding, channels, kernel = ctx.stride, ctx.padding, len(weight), weight.shape[-1]
        grad = grads[0].contiguous(memory_format=torch.channels_last)
        of_x: Tensor | None = None
        if ctx.needs_input_grad[0]:
            spread = grad
            if stride > 1:  # zeros between, so that a plain convolution carries each gradient to where it came from
                height, width = (size + 2 * padding - kernel + 1 for size in x.shape[-2:])
                spread = torch.zeros((len(x), height, width, channels), dtype=grad.dtype, device=grad.device).permute(0, 3, 1, 2)
                spread[:, :, ::stride, ::stride] = grad
            of_x = F.conv2d(spread, weight.flip(2, 3).to(grad.dtype), None, 1, kernel - 1 - padding, groups=channels)
        exact = torch.float32 if kernel > 3 else grad.dtype  # 3 x 3 is quick as it is
        _, of_weight, _ = torch.ops.aten.convolution_backward(
            grad.to(exact), x.to(exact), weight.to(exact), None, [stride, stride], [padding, padding], [1, 1], False, [0, 0], channels,
            [False, True, False],
        )  # fmt: skip
        of_bias = grad.sum(dim=(0, 2, 3), dtype=torch.float32) if ctx.biased else None
        return of_x, of_weight.float(), of_bias, None, None
