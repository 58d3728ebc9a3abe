"""ConvNeXt V2's block (Woo et al. 2023, sec. 3.3) as three passes over memory, each with its definition in plain torch beside it.

1. depthwise 7x7, bias and LayerNorm; 2. the first pointwise layer with exact GELU, and the sums of squares that global response
normalisation (GRN, eq. 1-3) asks for; 3. GRN, the second pointwise layer and the residual. What torch runs as a dozen operators, each of
which reads and writes the whole of its input, the Triton twins do in these three and two small ones for GRN's scale.
Images are channels-last (B, H, W, C) throughout; N = 4 C hidden channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.kernels.choose import choose

KERNEL = 7
NORM_EPS = 1e-6
_NO_CHANNEL_DEAD = 1e-12  # of a dead channel sqrt has no gradient
_MOST_CHANNELS = 768  # a program of the depthwise twin holds all of a pixel's; with more, registers spill
_SHORT = (torch.float16, torch.bfloat16)


@dataclass(frozen=True)
class BlockWeights:
    """The tensors of a block."""

    depthwise: Tensor  # (C, 1, 7, 7)
    depthwise_bias: Tensor  # (C,)
    norm: Tensor  # (C,)
    norm_bias: Tensor  # (C,)
    expand: Tensor  # (N, C)
    expand_bias: Tensor  # (N,)
    response: Tensor  # (N,) gamma of GRN
    response_bias: Tensor  # (N,) beta of GRN
    contract: Tensor  # (C, N)
    contract_bias: Tensor  # (C,)

    def to(self, dtype: torch.dtype) -> BlockWeights:
        """Return the tensors in another type; those that have it are shared."""
        return BlockWeights(*(tensor.to(dtype) for tensor in self.tensors))

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """All of them, in order."""
        return tuple(vars(self).values())

    @property
    def matrices(self) -> tuple[Tensor, Tensor, Tensor]:
        """What is multiplied with the channels, which has their type; the others are vectors of any."""
        return self.depthwise, self.expand, self.contract

    @property
    def vectors(self) -> tuple[Tensor, ...]:
        """What is added and weighed in float32, whatever its type."""
        return tuple(tensor for tensor in self.tensors if tensor.ndim == 1)


def depthwise_norm_definition(x: Tensor, weight: Tensor, bias: Tensor, norm: Tensor, norm_bias: Tensor) -> Tensor:
    """Convolve each channel of (B, H, W, C) with its own (C, 1, 7, 7), zeros outside, and normalise each pixel over its channels."""
    y = F.conv2d(x.permute(0, 3, 1, 2), weight, bias, padding=KERNEL // 2, groups=len(weight)).permute(0, 2, 3, 1)  # (B, H, W, C)
    return F.layer_norm(y, (len(weight),), norm, norm_bias, NORM_EPS)


def depthwise_norm(x: Tensor, weight: Tensor, bias: Tensor, norm: Tensor, norm_bias: Tensor, backend: str = "auto") -> Tensor:
    """Map (B, H, W, C) to the same shape as `depthwise_norm_definition`; UsageError where a backend asked for by name cannot run."""
    given = (x, weight, bias, norm, norm_bias)
    if choose(backend, *given, unsupported=_unsupported(weight, (x, weight), (bias, norm, norm_bias))) == "torch":
        return depthwise_norm_definition(*given)
    from crossgeo.kernels.triton import convnext_block as twin

    return twin.depthwise_norm(*given)


def sums_of_squares(x: Tensor) -> Tensor:
    """Return the (B, C) sums of squares of each channel of (B, H, W, C), in float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32)).square().sum(dim=(1, 2))


def expand_definition(x: Tensor, weight: Tensor, bias: Tensor) -> tuple[Tensor, Tensor]:
    """Map (B, H, W, C) by (N, C) weights and GELU to hidden channels (B, H, W, N), with their (B, N) sums of squares."""
    hidden = F.gelu(F.linear(x, weight, bias))  # (B, H, W, N)
    return hidden, sums_of_squares(hidden)


def expand(x: Tensor, weight: Tensor, bias: Tensor, backend: str = "auto") -> tuple[Tensor, Tensor]:
    """Map (B, H, W, C) to (B, H, W, N) and (B, N) float32 as `expand_definition`; the twin's sums are the same at every call."""
    if choose(backend, x, weight, bias, unsupported=_unsupported(None, (x, weight), (bias,))) == "torch":
        return expand_definition(x, weight, bias)
    from crossgeo.kernels.triton import convnext_block as twin

    hidden, partial = twin.expand(x, weight, bias)
    return hidden, twin.summed(partial)


def response_scale(squares: Tensor, weight: Tensor) -> Tensor:
    """Return GRN's (B, N) factors, gamma times each channel's L2 norm against the mean of the channels, from (B, N) sums of squares."""
    energy = torch.sqrt(squares + _NO_CHANNEL_DEAD)
    return weight * (energy / (energy.mean(dim=-1, keepdim=True) + NORM_EPS))


def respond(x: Tensor, scale: Tensor, bias: Tensor) -> Tensor:
    """Apply GRN's (B, N) factors and (N,) beta to (B, H, W, N) hidden channels, which are added unchanged."""
    return x + bias.to(x.dtype) + scale[:, None, None].to(x.dtype) * x


def contract_definition(hidden: Tensor, scale: Tensor, response_bias: Tensor, weight: Tensor, bias: Tensor, residual: Tensor) -> Tensor:
    """Normalise (B, H, W, N) hidden channels by GRN's (B, N) factors, map them by (C, N) weights, add the (B, H, W, C) residual."""
    return residual + F.linear(respond(hidden, scale, response_bias), weight, bias)


def contract(
    hidden: Tensor, scale: Tensor, response_bias: Tensor, weight: Tensor, bias: Tensor, residual: Tensor, backend: str = "auto"
) -> Tensor:
    """Map (B, H, W, N) to (B, H, W, C) in the residual's type as `contract_definition`; the twin scales what it loads for its product."""
    given = (hidden, scale, response_bias, weight, bias, residual)
    if choose(backend, *given, unsupported=_unsupported(None, (hidden, weight), (scale, response_bias, bias, residual))) == "torch":
        return contract_definition(*given)
    from crossgeo.kernels.triton import convnext_block as twin

    return twin.contract(*given)


def convnext_block_definition(x: Tensor, weights: BlockWeights) -> Tensor:
    """Map (B, C, H, W) to the same shape: the whole block."""
    w, pixels = weights, x.permute(0, 2, 3, 1)  # (B, H, W, C)
    y = depthwise_norm_definition(pixels, w.depthwise, w.depthwise_bias, w.norm, w.norm_bias)
    hidden, squares = expand_definition(y, w.expand, w.expand_bias)
    scale = response_scale(squares, w.response)
    return contract_definition(hidden, scale, w.response_bias, w.contract, w.contract_bias, pixels).permute(0, 3, 1, 2)


def block_backend(x: Tensor, weights: BlockWeights, backend: str = "auto") -> str:
    """Return what `convnext_block` runs; "auto" takes the twin for half precision alone, which its products are made for."""
    cast = _autocast(x)
    unsupported = _unsupported(weights.depthwise, () if cast else (x, *weights.matrices), weights.vectors)
    return choose(backend, x, *weights.tensors, unsupported=unsupported, worth=(cast or x.dtype) in _SHORT)


def convnext_block(x: Tensor, weights: BlockWeights, backend: str = "auto") -> Tensor:
    """Map (B, C, H, W) to the same shape and type: the whole block, computed in x's type, or in autocast's where that is on.

    The twin reads and writes channels-last memory; what comes in another order is copied first. UsageError where a backend asked for
    by name cannot run.
    """
    if block_backend(x, weights, backend) == "torch":
        return convnext_block_definition(x, weights)
    return prepared_block(x, prepared(weights, block_dtype(x)))


def prepared(weights: BlockWeights, dtype: torch.dtype) -> BlockWeights:
    """Return the weights in the types and layouts that the twin reads: to be made once, and given to `prepared_block` at every call."""
    from crossgeo.kernels.triton import convnext_block as twin

    return twin.prepared(weights, dtype)


def prepared_block(x: Tensor, weights: BlockWeights) -> Tensor:
    """Map (B, C, H, W) as `convnext_block` does, by the twin, with weights from `prepared` in `block_dtype`."""
    from crossgeo.kernels.triton import convnext_block as twin

    return twin.convnext_block(x, weights)


def block_dtype(x: Tensor) -> torch.dtype:
    """Return the type that the products of x are made in: its own, or autocast's where that is on."""
    return _autocast(x) or x.dtype


def _autocast(x: Tensor) -> torch.dtype | None:
    """The type that autocast makes products in where x lies; None where it is off."""
    kind = x.device.type
    return torch.get_autocast_dtype(kind) if kind in ("cpu", "cuda") and torch.is_autocast_enabled(kind) else None


def _unsupported(depthwise: Tensor | None, multiplied: tuple[Tensor, ...], others: tuple[Tensor, ...]) -> str | None:
    """Return what the twins cannot do with these (C, 1, k, k) weights, with what is multiplied, of one type, and with the rest, of any."""
    if depthwise is not None and depthwise.shape[2:] != (KERNEL, KERNEL):
        return f"a kernel of {tuple(depthwise.shape[2:])}"
    if depthwise is not None and len(depthwise) > _MOST_CHANNELS:
        return f"{len(depthwise)} channels, more than {_MOST_CHANNELS}"
    types = {tensor.dtype for tensor in multiplied}
    wrong = types if len(types) > 1 else {tensor.dtype for tensor in (*multiplied, *others)} - {*_SHORT, torch.float32}
    if wrong:
        return f"tensors of {' and '.join(sorted(str(kind).removeprefix('torch.') for kind in wrong))}"
    return None
