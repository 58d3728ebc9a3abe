"""ConvNeXt V2's block, its three passes and AttenGeo's whole backbone against eager torch and torch.compile; for kernel_cases.py."""

from __future__ import annotations

import copy
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from kernel_case import Builder, Case, against, compiled, draws, half_of
from torch import Tensor

from crossgeo.kernels import convnext_block as ops
from crossgeo.kernels.convnext_block import BlockWeights
from crossgeo.models.convnextv2 import Block, ConvNeXtV2
from crossgeo.models.cost import count_macs

if TYPE_CHECKING:
    from crossgeo.kernels.triton.convnext_block import Tile

STAGES = {96: 256, 192: 128, 384: 64, 768: 32}  # channels and side of the grid, for a window of 1024 px
ROUGH = {torch.bfloat16: 2e-2, torch.float16: 3e-3}


def block_weights(channels: int, device: str, dtype: torch.dtype) -> BlockWeights:
    """Return normal numbers, scaled so that a block keeps about the size of what it is given."""
    hidden = 4 * channels
    shapes = [(channels, 1, 7, 7), *[(channels,)] * 3, (hidden, channels), *[(hidden,)] * 3, (channels, hidden), (channels,)]
    size = [7.0, 1.0, 1.0, 1.0, channels**0.5, 1.0, 1.0, 1.0, hidden**0.5, 1.0]
    return BlockWeights(*((drawn / by).to(dtype) for drawn, by in zip(draws(device, *shapes), size, strict=True)))


def _sizes(batch: int, channels: int, side: int, tiny: bool) -> tuple[int, int, int]:
    return (1, 12, 3) if tiny else (batch, channels, side)


def _by_tile(product: Callable[[Tile], Any], tiles: list[Tile]) -> dict[str, Callable[[], Any]]:
    """Return a product with each way of cutting it, by name."""
    return {f"triton {t.pixels} x {t.outputs} x {t.channels}, {t.warps} warps, {t.stages} stages": partial(product, t) for t in tiles}


def block_case(batch: int, channels: int, side: int, device: str, tiny: bool) -> Case:
    """A whole block. The bytes are those of its three passes: GRN needs all hidden channels of an image before it can weigh one."""
    batch, channels, side = _sizes(batch, channels, side, tiny)
    dtype = half_of(device)
    weights = block_weights(channels, device, dtype)
    (x,) = draws(device, (batch, side, side, channels), dtype=dtype, seed=2)
    images = x.permute(0, 3, 1, 2)
    exact = weights.to(torch.float64)
    elements = batch * side * side * channels
    return Case(
        f"{batch} x {side} x {side} pixels of {channels} channels, {dtype}",
        {
            "triton": lambda: ops.convnext_block(images, weights, "triton"),
            "torch": lambda: ops.convnext_block_definition(images, weights),
            "torch.compile": partial(compiled(ops.convnext_block_definition, device), images, weights),
        },
        against(lambda: ops.convnext_block_definition(images.double(), exact)),
        ROUGH[dtype],
        13 * 2 * elements + 2 * sum(tensor.numel() for tensor in weights.tensors),
        2 * elements * (49 + 8 * channels),
    )


def depthwise_case(batch: int, channels: int, side: int, device: str, tiny: bool) -> Case:
    """Depthwise 7x7 and LayerNorm; the definition is cuDNN's convolution and torch's norm."""
    from crossgeo.kernels.triton.convnext_block import columns_that_fit, depthwise_norm

    batch, channels, side = _sizes(batch, channels, side, tiny)
    dtype = half_of(device)
    w = block_weights(channels, device, dtype)
    (x,) = draws(device, (batch, side, side, channels), dtype=dtype, seed=2)
    given = (x, w.depthwise, w.depthwise_bias, w.norm, w.norm_bias)
    ways: dict[str, Callable[[], Any]] = {
        "triton": lambda: ops.depthwise_norm(*given, backend="triton"),
        "torch (cuDNN, then layer_norm)": lambda: ops.depthwise_norm_definition(*given),
        "torch.compile": partial(compiled(ops.depthwise_norm_definition, device), *given),
    }
    for columns in (4,) if tiny else columns_that_fit(channels):
        ways[f"triton, {columns} columns"] = partial(depthwise_norm, *given, columns=columns)
    return Case(
        f"{batch} x {side} x {side} pixels of {channels} channels, {dtype}",
        ways,
        against(lambda: ops.depthwise_norm_definition(*(tensor.double() for tensor in given))),
        ROUGH[dtype],
        4 * x.numel() + 2 * w.depthwise.numel(),
        2 * 49 * x.numel(),
    )


def expand_case(batch: int, channels: int, side: int, device: str, tiny: bool) -> Case:
    """The first product with GELU and the sums of squares."""
    from crossgeo.kernels.triton.convnext_block import Tile, expand, summed

    batch, channels, side = _sizes(batch, channels, side, tiny)
    dtype = half_of(device)
    w = block_weights(channels, device, dtype)
    (x,) = draws(device, (batch, side, side, channels), dtype=dtype, seed=2)
    given = (x, w.expand, w.expand_bias)

    def tiled(tile: Tile) -> tuple[Tensor, Tensor]:
        hidden, partial_sums = expand(*given, tile=tile)
        return hidden, summed(partial_sums)

    tiles = [Tile(64, 64, 32, 4, 4), Tile(128, 64, 32, 4, 3), Tile(128, 64, 64, 4, 3), Tile(128, 128, 32, 8, 3), Tile(128, 128, 64, 8, 3)]
    ways: dict[str, Callable[[], Any]] = {
        "triton": lambda: ops.expand(*given, backend="triton"),
        "torch": lambda: ops.expand_definition(*given),
        "torch.compile": partial(compiled(ops.expand_definition, device), *given),
        **_by_tile(tiled, tiles[:1] if tiny else tiles),
    }
    hidden_error = against(lambda: ops.expand_definition(*(tensor.double() for tensor in given))[0])
    sums_error = against(lambda: ops.expand_definition(*(tensor.double() for tensor in given))[1])
    return Case(
        f"{batch} x {side} x {side} pixels, {channels} to {4 * channels} channels, {dtype}",
        ways,
        lambda found: max(hidden_error(found[0]), sums_error(found[1])),
        ROUGH[dtype],
        2 * (5 * x.numel() + w.expand.numel()),
        2 * 4 * channels * x.numel(),
    )


def contract_case(batch: int, channels: int, side: int, device: str, tiny: bool) -> Case:
    """GRN, the second product and the residual."""
    from crossgeo.kernels.triton.convnext_block import Tile, contract

    batch, channels, side = _sizes(batch, channels, side, tiny)
    dtype = half_of(device)
    w = block_weights(channels, device, dtype)
    hidden, residual = draws(device, (batch, side, side, 4 * channels), (batch, side, side, channels), dtype=dtype, seed=2)
    (scale,) = draws(device, (batch, 4 * channels), seed=3)
    given = (hidden, scale, w.response_bias, w.contract, w.contract_bias, residual)

    def tiled(tile: Tile) -> Tensor:
        return contract(*given, tile=tile)

    tiles = [Tile(64, 64, 64, 4, 4), Tile(128, 64, 64, 4, 3), Tile(128, 128, 32, 8, 3), Tile(128, 128, 64, 4, 3), Tile(64, 128, 64, 4, 3)]
    ways: dict[str, Callable[[], Any]] = {
        "triton": lambda: ops.contract(*given, backend="triton"),
        "torch": lambda: ops.contract_definition(*given),
        "torch.compile": partial(compiled(ops.contract_definition, device), *given),
        **_by_tile(tiled, tiles[:1] if tiny else tiles),
    }
    return Case(
        f"{batch} x {side} x {side} pixels, {4 * channels} to {channels} channels, {dtype}",
        ways,
        against(lambda: ops.contract_definition(*(tensor.double() for tensor in given))),
        ROUGH[dtype],
        2 * (hidden.numel() + 2 * residual.numel() + w.contract.numel()),
        2 * channels * hidden.numel(),
    )


def backbone_case(batch: int, side: int, device: str, tiny: bool) -> Case:
    """ConvNeXt V2 tiny, from images to features; AttenGeo sees a window of 1024 px and photos of 256."""
    depths, widths = ((1,), (8,)) if tiny else ((3, 3, 9, 3), (96, 192, 384, 768))
    shape = (1, 3, 8, 8) if tiny else (batch, 3, side, side)
    dtype = half_of(device)
    torch.manual_seed(0)
    model = ConvNeXtV2(depths, widths).eval()
    for parameter in model.parameters():  # GRN starts at zero
        parameter.data.add_(torch.randn_like(parameter) * 0.02)
    model.to(device)
    with torch.device("meta"):
        macs = count_macs(ConvNeXtV2(depths, widths), shape)
    images = draws(device, shape, dtype=dtype)[0].contiguous(memory_format=torch.channels_last)
    ways: dict[str, Callable[[], Any]] = {}
    for backend in ("triton", "torch"):
        moved = copy.deepcopy(model).to(dtype).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        for module in moved.modules():
            if isinstance(module, Block):
                module.backend = backend
        ways[backend] = partial(moved, images)
        ways[f"{backend}, torch.compile"] = partial(compiled(moved, device), images)
    exact = copy.deepcopy(model).double()
    moved_bytes = sum(2 * parameter.numel() for parameter in model.parameters()) + 2 * images.numel()
    return Case(f"images {shape}, {dtype}", ways, against(lambda: exact(images.double())), 5e-2, moved_bytes, 2 * macs)


BLOCK_CASES: dict[str, Builder] = {
    **{f"convnext block, {c} channels": partial(block_case, 1, c, side) for c, side in STAGES.items()},
    **{f"convnext block, {c} channels, 16 photos": partial(block_case, 16, c, side // 4) for c, side in STAGES.items()},
    **{f"depthwise_norm, {c} channels": partial(depthwise_case, 1, c, side) for c, side in STAGES.items()},
    **{f"expand, {c} channels": partial(expand_case, 1, c, side) for c, side in STAGES.items()},
    **{f"contract, {c} channels": partial(contract_case, 1, c, side) for c, side in STAGES.items()},
    "ConvNeXt V2 tiny, one window": partial(backbone_case, 1, 1024),
    "ConvNeXt V2 tiny, 16 photos": partial(backbone_case, 16, 256),
}
