"""ConvNeXt V2's blocks for runtimes that compile graphs: pointwise layers as 1 x 1 convolutions, so that nothing is transposed."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from crossgeo.kernels.convnext_block import NORM_EPS
from crossgeo.models.convnextv2 import Block


class FoldedBlock(nn.Module):
    """A block for inference: the same map to rounding, with LayerNorm's affine in the first product and GRN's beta in the second's bias.

    Sums of squares are means along rows and then along columns: of the ways that were timed OpenVINO is quickest with these.
    """

    def __init__(self, block: Block) -> None:
        super().__init__()
        fc1, grn, fc2 = block.mlp.fc1, block.mlp.grn, block.mlp.fc2
        self.conv_dw = block.conv_dw
        first = fc1.weight.double()
        self.expand = _pointwise(first * block.norm.weight.double(), first @ block.norm.bias.double() + fc1.bias.double(), fc1)
        second = fc2.weight.double()
        self.contract = _pointwise(second, second @ grn.bias.double() + fc2.bias.double(), fc2)
        self.response = nn.Parameter(grn.weight.detach()[:, None, None].clone())  # (N, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Map (B, C, H, W) to the same shape; norms are taken in float32 at least."""
        y = self.conv_dw(x)
        wide = y.to(torch.promote_types(y.dtype, torch.float32))
        wide = wide - wide.mean(dim=1, keepdim=True)
        wide = wide * torch.rsqrt(wide.square().mean(dim=1, keepdim=True) + NORM_EPS)
        hidden = F.gelu(self.expand(wide.to(y.dtype)))  # (B, N, H, W)
        squares = hidden.to(wide.dtype).square().mean(dim=3, keepdim=True).mean(dim=2, keepdim=True)  # (B, N, 1, 1)
        energy = torch.sqrt(squares * (hidden.shape[2] * hidden.shape[3]))
        scale = 1.0 + self.response * (energy / (energy.mean(dim=1, keepdim=True) + NORM_EPS))
        out: Tensor = x + self.contract(hidden * scale.to(hidden.dtype))
        return out


def fold_blocks(module: nn.Module) -> nn.Module:
    """Replace each block inside a module, in place, by its folded form; return the module."""
    for name, child in module.named_children():
        if isinstance(child, Block):
            with torch.no_grad():
                setattr(module, name, FoldedBlock(child))
        else:
            fold_blocks(child)
    return module


def _pointwise(weight: Tensor, bias: Tensor, like: nn.Linear) -> nn.Conv2d:
    """Hold (O, I) weights and (O,) biases as a 1 x 1 convolution of the dtype and device of `like`."""
    conv = nn.Conv2d(weight.shape[1], weight.shape[0], 1, device=like.weight.device, dtype=like.weight.dtype)
    conv.weight.copy_(weight[:, :, None, None])
    assert conv.bias is not None
    conv.bias.copy_(bias)
    return conv
