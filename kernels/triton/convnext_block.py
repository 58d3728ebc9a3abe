"""ConvNeXt V2's block in Triton: the passes of crossgeo.kernels.convnext_block, on channels-last memory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import triton
import triton.language as tl
from torch import Tensor

from crossgeo.kernels.convnext_block import BlockWeights


@dataclass(frozen=True)
class Tile:
    """How a product is cut: pixels and output channels of one program, input channels of one step, warps, steps loaded ahead."""

    pixels: int
    outputs: int
    channels: int
    warps: int
    stages: int


@triton.jit
def _depthwise(x, taps, bias, row, column, height, width, channels: tl.constexpr, first, COLUMNS: tl.constexpr, WIDE: tl.constexpr):
    """Return the (COLUMNS, WIDE) float32 sums of two rows of one image, from channel `first` on; 0 for channels past the last."""
    channel = first + tl.arange(0, WIDE)
    real = channel < channels
    upper = tl.zeros((COLUMNS, WIDE), tl.float32) + tl.load(bias + channel, real, 0.0).to(tl.float32)[None, :]
    lower = upper
    for step in range(8):  # each row of the input that one of the two reads
        y = row + step - 3
        line = x + y.to(tl.int64) * width * channels
        reach = tl.where((y >= 0) & (y < height), width, 0)  # no column of a row outside is read
        for right in tl.static_range(7):
            at = column + tl.arange(0, COLUMNS) + (right - 3)
            inside = (at >= 0) & (at < reach)
            values = tl.load(line + at[:, None] * channels + channel[None, :], inside[:, None] & real[None, :], 0.0).to(tl.float32)
            above = tl.load(taps + (step * 7 + right + 7) * channels + channel, real, 0.0).to(tl.float32)
            below = tl.load(taps + (step * 7 + right) * channels + channel, real, 0.0).to(tl.float32)
            upper = tl.fma(values, above[None, :], upper)  # by name: Triton from 3.10 on fuses nothing by itself
            lower = tl.fma(values, below[None, :], lower)
    return upper, lower


@triton.jit
def _depthwise_norm(
    x,
    taps,
    bias,
    norm,
    norm_bias,
    out,
    height,
    width,
    channels: tl.constexpr,
    eps,
    COLUMNS: tl.constexpr,
    WIDE: tl.constexpr,
    PARTS: tl.constexpr,
):
    """All channels of 2 x COLUMNS pixels, in PARTS of WIDE, since most widths are three times a power of two."""
    tile = tl.program_id(0).to(tl.int64)
    across, down = tl.cdiv(width, COLUMNS), tl.cdiv(height, 2)
    column = (tile % across).to(tl.int32) * COLUMNS
    row = (tile // across % down).to(tl.int32) * 2
    image = tile // (across * down) * height * width * channels
    uppers, lowers = (), ()
    for part in tl.static_range(PARTS):
        upper, lower = _depthwise(x + image, taps, bias, row, column, height, width, channels, part * WIDE, COLUMNS, WIDE)
        uppers += (upper,)  # type: ignore[assignment]  # static: tuples grow while the kernel is compiled
        lowers += (lower,)  # type: ignore[assignment]
    target = out + image + row.to(tl.int64) * width * channels
    _put_normed(target, uppers, norm, norm_bias, column, width, channels, eps, COLUMNS, WIDE, PARTS)
    if row + 1 < height:
        _put_normed(target + width * channels, lowers, norm, norm_bias, column, width, channels, eps, COLUMNS, WIDE, PARTS)


@triton.jit
def _put_normed(
    out, sums, norm, norm_bias, column, width, channels: tl.constexpr, eps,
    COLUMNS: tl.constexpr, WIDE: tl.constexpr, PARTS: tl.constexpr,
):  # fmt: skip
    """Normalise each of the (COLUMNS, WIDE) parts of a row's pixels over all channels and write them to that row."""
    mean = tl.zeros((COLUMNS,), tl.float32)
    for part in tl.static_range(PARTS):
        mean += tl.sum(sums[part], 1)
    mean = mean / channels
    variance = tl.zeros((COLUMNS,), tl.float32)
    for part in tl.static_range(PARTS):
        real = part * WIDE + tl.arange(0, WIDE) < channels
        apart = tl.where(real[None, :], sums[part] - mean[:, None], 0.0)
        variance += tl.sum(apart * apart, 1)
    rate = tl.rsqrt(variance / channels + eps)
    at = column + tl.arange(0, COLUMNS)
    for part in tl.static_range(PARTS):
        channel = part * WIDE + tl.arange(0, WIDE)
        real = channel < channels
        scale = tl.load(norm + channel, real, 0.0).to(tl.float32)
        shift = tl.load(norm_bias + channel, real, 0.0).to(tl.float32)
        values = (sums[part] - mean[:, None]) * rate[:, None] * scale[None, :] + shift[None, :]
        tl.store(out + at[:, None] * channels + channel[None, :], values.to(out.dtype.element_ty), (at < width)[:, None] & real[None, :])


def taps(weight: Tensor) -> Tensor:
    """Lay (C, 1, 7, 7) weights out as (63, C), nine rows of seven; what is laid out already is returned.

    Neighbouring channels lie together, and a row that one of two outputs does not read weighs 0 for it.
    """
    return weight if weight.ndim == 2 else torch.nn.functional.pad(weight.reshape(len(weight), 49), (7, 7)).t().contiguous()


def prepared(weights: BlockWeights, dtype: torch.dtype) -> BlockWeights:
    """Return the weights as the passes read them: what is multiplied in `dtype`, the 7 x 7 laid out as `taps`, vectors as they are."""
    w = weights
    return replace(w, depthwise=taps(w.depthwise.to(dtype)), expand=w.expand.to(dtype), contract=w.contract.to(dtype))


def _wide(channels: int) -> int:
    """Return how many channels a program takes at a time: most widths are three times a power of two."""
    return int(max(16, triton.next_power_of_2(triton.cdiv(channels, 3))))


def columns_that_fit(channels: int) -> tuple[int, ...]:
    """Return every `columns` of `depthwise_norm` with which 16 bits of so many channels stay in registers on all cards from the A100 on."""
    wide = _wide(channels)
    most = 64 if wide <= 32 else 8 if wide == 256 else 32
    return tuple(columns for columns in (4, 8, 16, 32, 64) if columns <= most)


def depthwise_norm(
    x: Tensor,
    weight: Tensor,
    bias: Tensor,
    norm: Tensor,
    norm_bias: Tensor,
    eps: float = 1e-6,
    dtype: torch.dtype | None = None,
    columns: int | None = None,
) -> Tensor:
    """Map (B, H, W, C) to the same shape in `dtype`, that of x unless given; `columns` of two rows are one program's.

    `weight` is (C, 1, 7, 7), or what `taps` made of that.
    """
    batch, height, width, channels = x.shape
    x, out = x.contiguous(), torch.empty(x.shape, dtype=dtype or x.dtype, device=x.device)
    wide = _wide(channels)
    if columns is None:
        columns = 64 if wide <= 32 else 32 if wide <= 64 else 8 if wide <= 128 else 4
        if x.dtype == torch.float32 and wide <= 64:
            columns //= 2
    grid = (batch * triton.cdiv(height, 2) * triton.cdiv(width, columns),)
    # More threads than channels of a part, so that taps are loaded as the products need them, not passed through shared memory.
    with torch.cuda.device_of(x):
        _depthwise_norm[grid](
            x, taps(weight), bias, norm, norm_bias, out, height, width, channels, eps, columns, wide, triton.cdiv(channels, wide),
            num_warps=max(4, wide // 16), maxnreg=128 if wide == 256 else None,
        )  # fmt: skip
    return out


@triton.jit
def _expand(
    x, weight, bias, hidden, partial, pixels, channels: tl.constexpr, outputs: tl.constexpr,
    PIXELS: tl.constexpr, OUTPUTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """PIXELS x OUTPUTS hidden channels of one image, and their sums of squares over these pixels."""
    program = tl.program_id(0).to(tl.int64)
    across, down = tl.cdiv(outputs, OUTPUTS), tl.cdiv(pixels, PIXELS)
    output = (program % across).to(tl.int32) * OUTPUTS + tl.arange(0, OUTPUTS)  # the same pixels one after the other: x stays in cache
    tile = program // across  # of all images
    first = tile % down * PIXELS
    begin = tile // down * pixels + first  # in all images
    row = tl.arange(0, PIXELS)
    here, wanted = row < pixels - first, output < outputs
    total = tl.zeros((PIXELS, OUTPUTS), tl.float32)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        real = channel < channels
        a = tl.load(x + begin * channels + row[:, None] * channels + channel[None, :], here[:, None] & real[None, :], 0.0)
        b = tl.load(weight + output[None, :] * channels + channel[:, None], real[:, None] & wanted[None, :], 0.0)
        total = tl.dot(a, b, total, input_precision="ieee")
    total += tl.load(bias + output, wanted, 0.0).to(tl.float32)[None, :]
    values = (0.5 * total * (1.0 + tl.erf(total * 0.7071067811865476))).to(hidden.dtype.element_ty)
    tl.store(hidden + begin * outputs + row[:, None] * outputs + output[None, :], values, here[:, None] & wanted[None, :])
    squares = tl.where(here[:, None], values.to(tl.float32), 0.0)  # of what the third pass will read, not of what was rounded to it
    tl.store(partial + tile * outputs + output, tl.sum(squares * squares, 0), wanted)


@triton.jit
def _sum(partial, squares, tiles, outputs, TILES: tl.constexpr, OUTPUTS: tl.constexpr):
    """Sum (tiles, OUTPUTS) partial sums of one image, always in the same order."""
    program = tl.program_id(0).to(tl.int64)
    across = tl.cdiv(outputs, OUTPUTS)
    image = program // across
    output = program % across * OUTPUTS + tl.arange(0, OUTPUTS)
    wanted = output < outputs
    total = tl.zeros((TILES, OUTPUTS), tl.float32)
    start = 0
    while start < tiles:
        tile = start + tl.arange(0, TILES)
        at = (image * tiles + tile)[:, None] * outputs + output[None, :]
        total += tl.load(partial + at, (tile < tiles)[:, None] & wanted[None, :], 0.0)
        start += TILES
    tl.store(squares + image * outputs + output, tl.sum(total, 0), wanted)


@triton.jit
def _scale(squares, weight, scale, outputs, OUTPUTS: tl.constexpr):
    """GRN's factors of all channels of one image."""
    image = tl.program_id(0).to(tl.int64)
    output = tl.arange(0, OUTPUTS)
    wanted = output < outputs
    energy = tl.where(wanted, tl.sqrt(tl.load(squares + image * outputs + output, wanted, 0.0) + 1e-12), 0.0)
    mean = tl.sum(energy, 0) / outputs
    factors = tl.load(weight + output, wanted, 0.0).to(tl.float32) * (energy / (mean + 1e-6))
    tl.store(scale + image * outputs + output, factors, wanted)


@triton.jit
def _contract(
    hidden, scale, shift, weight, bias, residual, out, pixels, channels: tl.constexpr, outputs: tl.constexpr,
    PIXELS: tl.constexpr, OUTPUTS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """PIXELS x OUTPUTS of the block's result for one image; hidden channels meet GRN on their way to the product."""
    program = tl.program_id(0).to(tl.int64)
    across, down = tl.cdiv(outputs, OUTPUTS), tl.cdiv(pixels, PIXELS)
    output = (program % across).to(tl.int32) * OUTPUTS + tl.arange(0, OUTPUTS)
    tile = program // across
    image, first = tile // down, tile % down * PIXELS
    begin = image * pixels + first
    row = tl.arange(0, PIXELS)
    here, wanted = row < pixels - first, output < outputs
    total = tl.zeros((PIXELS, OUTPUTS), tl.float32)
    for start in range(0, channels, CHANNELS):
        channel = start + tl.arange(0, CHANNELS)
        real = channel < channels
        a = tl.load(hidden + begin * channels + row[:, None] * channels + channel[None, :], here[:, None] & real[None, :], 0.0)
        factor = 1.0 + tl.load(scale + image * channels + channel, real, 0.0).to(tl.float32)
        beta = tl.load(shift + channel, real, 0.0).to(tl.float32)
        b = tl.load(weight + output[None, :] * channels + channel[:, None], real[:, None] & wanted[None, :], 0.0)
        total = tl.dot((a.to(tl.float32) * factor[None, :] + beta[None, :]).to(a.dtype), b, total, input_precision="ieee")
    total += tl.load(bias + output, wanted, 0.0).to(tl.float32)[None, :]
    at, kept = row[:, None] * outputs + output[None, :], here[:, None] & wanted[None, :]
    total += tl.load(residual + begin * outputs + at, kept, 0.0).to(tl.float32)
    tl.store(out + begin * outputs + at, total.to(out.dtype.element_ty), kept)


def _tile(batch: int, pixels: int, outputs: int, channels: int, dtype: torch.dtype, widest: int = 128) -> Tile:
    """Choose the tile of a product: a large one unless that would leave most of a GPU's 100 to 150 processors without work."""
    if dtype == torch.float32:
        return Tile(32, 64, 32, 4, 2)
    deep = 64 if channels % 64 == 0 else 32
    if batch * triton.cdiv(pixels, 128) * triton.cdiv(outputs, widest) >= 128:
        return Tile(128, widest, deep, 8, 3)
    return Tile(64, 64, deep, 8, 4)


def expand(x: Tensor, weight: Tensor, bias: Tensor, tile: Tile | None = None) -> tuple[Tensor, Tensor]:
    """Map (B, H, W, C) to hidden channels (B, H, W, N) and their float32 sums of squares (B, T, N) over T tiles of the pixels."""
    batch, height, width, channels = x.shape
    outputs, pixels = len(weight), height * width
    tile = tile or _tile(batch, pixels, outputs, channels, x.dtype, widest=64)  # erf wants registers
    tiles = triton.cdiv(pixels, tile.pixels)
    hidden = torch.empty((batch, height, width, outputs), dtype=x.dtype, device=x.device)
    partial = torch.empty((batch, tiles, outputs), dtype=torch.float32, device=x.device)
    grid = (batch * tiles * triton.cdiv(outputs, tile.outputs),)
    with torch.cuda.device_of(x):
        _expand[grid](
            x.contiguous(), weight.contiguous(), bias, hidden, partial, pixels, channels, outputs,
            tile.pixels, tile.outputs, tile.channels, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
    return hidden, partial


def summed(partial: Tensor) -> Tensor:
    """Sum (B, T, N) partial sums to (B, N)."""
    batch, tiles, outputs = partial.shape
    squares = torch.empty((batch, outputs), dtype=torch.float32, device=partial.device)
    with torch.cuda.device_of(partial):
        _sum[(batch * triton.cdiv(outputs, 32),)](partial, squares, tiles, outputs, TILES=32, OUTPUTS=32, num_warps=4)
    return squares


def response_scale(squares: Tensor, weight: Tensor) -> Tensor:
    """Return GRN's float32 factors (B, N) of (B, N) sums of squares."""
    batch, outputs = squares.shape
    scale = torch.empty_like(squares)
    with torch.cuda.device_of(squares):
        _scale[(batch,)](squares, weight, scale, outputs, OUTPUTS=triton.next_power_of_2(outputs), num_warps=8)
    return scale


def contract(
    hidden: Tensor, scale: Tensor, response_bias: Tensor, weight: Tensor, bias: Tensor, residual: Tensor, tile: Tile | None = None
) -> Tensor:
    """Map (B, H, W, N) hidden channels with GRN's factors (B, N) to (B, H, W, C) in the residual's type, which is added."""
    batch, height, width, channels = hidden.shape
    outputs, pixels = len(weight), height * width
    tile = tile or _tile(batch, pixels, outputs, channels, hidden.dtype)
    residual, out = residual.contiguous(), torch.empty((batch, height, width, outputs), dtype=residual.dtype, device=residual.device)
    grid = (batch * triton.cdiv(pixels, tile.pixels) * triton.cdiv(outputs, tile.outputs),)
    with torch.cuda.device_of(hidden):
        _contract[grid](
            hidden.contiguous(), scale.contiguous(), response_bias, weight.contiguous(), bias, residual, out, pixels, channels, outputs,
            tile.pixels, tile.outputs, tile.channels, num_warps=tile.warps, num_stages=tile.stages,
        )  # fmt: skip
    return out


def launch(x: Tensor, weights: BlockWeights) -> Tensor:
    """Map (B, C, H, W) of any floating type to the same shape and type, computed in the type of the products' weights."""
    w, pixels = weights, x.permute(0, 2, 3, 1).contiguous()  # (B, H, W, C)
    y = depthwise_norm(pixels, w.depthwise, w.depthwise_bias, w.norm, w.norm_bias, dtype=w.expand.dtype)
    hidden, partial = expand(y, w.expand, w.expand_bias)
    scale = response_scale(summed(partial), w.response)
    return contract(hidden, scale, w.response_bias, w.contract, w.contract_bias, pixels).permute(0, 3, 1, 2)


# Opaque to torch.compile, as crossgeo::cross_attention is.
@torch.library.custom_op("crossgeo::convnext_block", mutates_args=())
def _node(x: Tensor, weights: Sequence[Tensor]) -> Tensor:
    return launch(x, BlockWeights(*weights))


@_node.register_fake
def _(x: Tensor, _weights: Sequence[Tensor]) -> Tensor:
    return torch.empty_like(x, memory_format=torch.channels_last)


def convnext_block(x: Tensor, weights: BlockWeights) -> Tensor:
    """Map (B, C, H, W) as `launch` does, in eager torch and under torch.compile; the result lies in channels-last memory."""
    if torch.compiler.is_compiling():
        compiled: Tensor = _node(x, list(weights.tensors))
        return compiled
    return launch(x, weights)
