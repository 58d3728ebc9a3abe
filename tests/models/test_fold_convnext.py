"""models/fold_convnext.py: folded blocks are the blocks that they were made of."""

from __future__ import annotations

import torch
from torch import nn

from crossgeo.models.convnextv2 import Block, ConvNeXtV2, GlobalResponseNorm
from crossgeo.models.fold_convnext import FoldedBlock, fold_blocks


def with_random_norms(module: nn.Module) -> nn.Module:
    """What training would have moved from ones and zeros."""
    torch.manual_seed(1)
    for part in module.modules():
        if isinstance(part, GlobalResponseNorm | nn.LayerNorm):
            nn.init.normal_(part.weight, 1.0)
            nn.init.normal_(part.bias)
    return module


@torch.inference_mode()
def test_a_folded_block_is_the_block_in_float64() -> None:
    block = with_random_norms(Block(24).double())
    x = torch.randn(2, 24, 9, 13, dtype=torch.float64)
    assert isinstance(block, Block)
    torch.testing.assert_close(FoldedBlock(block)(x), block(x), rtol=1e-10, atol=1e-10)


@torch.inference_mode()
def test_a_folded_network_keeps_its_features_and_has_no_other_block_left() -> None:
    network = with_random_norms(ConvNeXtV2((1, 2), (16, 32)).double())
    x = torch.randn(2, 3, 64, 96, dtype=torch.float64)
    wanted = network(x)
    folded = fold_blocks(network)
    assert not any(isinstance(part, Block) for part in folded.modules())
    torch.testing.assert_close(folded(x), wanted, rtol=1e-9, atol=1e-9)


@torch.inference_mode()
def test_norms_of_half_precision_are_taken_in_float32() -> None:
    block = with_random_norms(Block(24))
    assert isinstance(block, Block)
    x = 30.0 * torch.randn(1, 24, 32, 32)  # whose sums of squares do not fit in float16
    wanted = FoldedBlock(block)(x)
    half = FoldedBlock(block).half()(x.half())
    assert torch.isfinite(half).all()
    assert (half.float() - wanted).abs().max() < 0.01 * wanted.abs().max()
