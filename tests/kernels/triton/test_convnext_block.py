"""kernels/triton/convnext_block.py: interpreted against the definitions in float64, and compiled for four generations of cards."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from run_types import HALVES, RUN_TYPES
from torch import Tensor

from crossgeo.kernels import convnext_block as ops
from crossgeo.kernels.convnext_block import BlockWeights
from crossgeo.models.convnextv2 import Block, ConvNeXtV2

ARCHITECTURES = (80, 90, 100, 120)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 2e-2}  # relative to the largest value
SHAPES = [(2, 5, 9, 6), (1, 3, 4, 48), (1, 9, 17, 20), (3, 1, 1, 33)]  # B, H, W, C
WIDTHS = [  # C, side of the grid
    (96, 256, torch.float16),
    (192, 128, torch.bfloat16),
    (384, 64, torch.float16),
    (768, 32, torch.bfloat16),
    (80, 1, torch.float16),
]


def _weights(channels: int, dtype: torch.dtype, device: str) -> BlockWeights:
    draw = torch.Generator().manual_seed(channels)
    hidden = 4 * channels
    shapes = [(channels, 1, 7, 7), *[(channels,)] * 3, (hidden, channels), *[(hidden,)] * 3, (channels, hidden), (channels,)]
    size = [7.0, 1, 1, 1, channels**0.5, 1, 1, 1, channels**0.5, 1]
    return BlockWeights(*((torch.randn(s, generator=draw) / by).to(dtype).to(device) for s, by in zip(shapes, size, strict=True)))


def _images(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(sum(shape))).to(dtype).to(device)


def _apart(given: Tensor, expected: Tensor) -> float:
    """The largest difference, relative to the largest value; NaN where any is."""
    assert given.shape == expected.shape
    return float((given.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("dtype", RUN_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_depthwise_norm_agrees_with_the_definition_at_odd_shapes(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    w, x = _weights(shape[-1], dtype, device), _images(shape, dtype, device)
    given = ops.depthwise_norm(x, w.depthwise, w.depthwise_bias, w.norm, w.norm_bias, backend="triton")
    d = w.to(torch.float64)
    expected = ops.depthwise_norm_definition(x.double(), d.depthwise, d.depthwise_bias, d.norm, d.norm_bias)
    assert given.dtype == dtype
    assert _apart(given, expected) < TOLERANCE[dtype]


@pytest.mark.parametrize("dtype", RUN_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_expand_agrees_with_the_definition_and_sums_only_the_pixels_of_each_image(
    shape: tuple[int, ...], dtype: torch.dtype, device: str
) -> None:
    w, x = _weights(shape[-1], dtype, device), _images(shape, dtype, device)
    hidden, squares = ops.expand(x, w.expand, w.expand_bias, backend="triton")
    expected, _ = ops.expand_definition(x.double(), w.expand.double(), w.expand_bias.double())
    assert _apart(hidden, expected) < TOLERANCE[dtype]
    assert squares.dtype == torch.float32
    assert _apart(squares, ops.sums_of_squares(hidden.double())) < 1e-6  # of what was written, as rounded
    again, sums = ops.expand(x, w.expand, w.expand_bias, backend="triton")
    assert torch.equal(again, hidden) and torch.equal(sums, squares)


def test_sums_run_over_more_tiles_than_one_step_of_the_reduction_takes(device: str) -> None:
    from crossgeo.kernels.triton import convnext_block as twin

    partial = _images((2, 71, 37), torch.float32, device)
    assert _apart(twin.summed(partial), partial.double().sum(1)) < 1e-6


@pytest.mark.parametrize("channels", [20, 132])
def test_scales_agree_with_the_definition(channels: int, device: str) -> None:
    from crossgeo.kernels.triton import convnext_block as twin

    squares, weight = _images((3, channels), torch.float32, device).square(), _images((channels,), torch.float32, device)
    squares[1] = 0.0
    assert _apart(twin.response_scale(squares, weight), ops.response_scale(squares.double(), weight.double())) < 1e-6


@pytest.mark.parametrize("dtype", RUN_TYPES)
@pytest.mark.parametrize("shape", SHAPES)
def test_contract_agrees_with_the_definition(shape: tuple[int, ...], dtype: torch.dtype, device: str) -> None:
    channels = shape[-1]
    w, residual = _weights(channels, dtype, device), _images(shape, dtype, device)
    hidden = _images((*shape[:3], 4 * channels), dtype, device)
    scale = _images((shape[0], 4 * channels), torch.float32, device)
    given = ops.contract(hidden, scale, w.response_bias, w.contract, w.contract_bias, residual, backend="triton")
    doubled = [t.double() for t in (hidden, scale, w.response_bias, w.contract, w.contract_bias, residual)]
    assert given.dtype == dtype
    assert _apart(given, ops.contract_definition(*doubled)) < TOLERANCE[dtype]


FAR = (3, 3000, 4000)  # B, H, W; of 64 channels the last image's last numbers are 2.3e9 in


@pytest.mark.usefixtures("last_program")
def test_depthwise_norm_finds_what_32_bits_do_not_count(far: Callable[..., Tensor], device: str) -> None:
    from crossgeo.kernels.triton import convnext_block as twin

    w, x = _weights(64, torch.float16, device), _contiguous(far, *FAR, 64)
    corner = x[-1:, -6:, -40:]
    corner.copy_(_images(tuple(corner.shape), torch.float16, device))
    given = twin.depthwise_norm(x, w.depthwise, w.depthwise_bias, w.norm, w.norm_bias)[-1:, -2:, -32:]
    d = w.to(torch.float64)
    expected = ops.depthwise_norm_definition(corner.double(), d.depthwise, d.depthwise_bias, d.norm, d.norm_bias)[:, -2:, -32:]
    assert _apart(given, expected) < TOLERANCE[torch.float16]


@pytest.mark.usefixtures("last_program")
@pytest.mark.parametrize(("channels", "outputs"), [(64, 16), (16, 64)])  # inputs that lie far, and results that do
def test_products_find_what_32_bits_do_not_count(channels: int, outputs: int, far: Callable[..., Tensor], device: str) -> None:
    from crossgeo.kernels.triton import convnext_block as twin

    x, residual = _contiguous(far, *FAR, channels), _contiguous(far, *FAR, outputs)
    for part in (x, residual):
        part[-1, -1, -128:].copy_(_images((128, part.shape[-1]), torch.float16, device))
    weight, bias, scale, beta = (
        _images(shape, torch.float16, device) for shape in ((outputs, channels), (outputs,), (3, channels), (channels,))
    )
    row, kept = x[-1:, -1:, -128:].double(), residual[-1:, -1:, -128:].double()
    hidden, partial = twin.expand(x, weight, bias)
    expected, squares = ops.expand_definition(row, weight.double(), bias.double())
    assert _apart(hidden[-1:, -1:, -128:], expected) < TOLERANCE[torch.float16]
    assert _apart(partial[-1, -1], squares[0]) < TOLERANCE[torch.float16]  # a program takes 128 pixels
    given = twin.contract(x, scale.float(), beta, weight, bias, residual)
    expected = ops.contract_definition(row, scale[-1:].double(), beta.double(), weight.double(), bias.double(), kept)
    assert _apart(given[-1:, -1:, -128:], expected) < TOLERANCE[torch.float16]


def _contiguous(far: Callable[..., Tensor], *shape: int) -> Tensor:
    return far(shape, (shape[1] * shape[2] * shape[3], shape[2] * shape[3], shape[3], 1), torch.float16)


@pytest.mark.parametrize("dtype", RUN_TYPES)
@pytest.mark.parametrize("order", [torch.contiguous_format, torch.channels_last])
def test_the_whole_block_agrees_with_the_model_in_float64(dtype: torch.dtype, order: torch.memory_format, device: str) -> None:
    torch.manual_seed(2)
    block = Block(24).to(dtype).to(device)
    for parameter in block.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    x = _images((2, 24, 7, 5), dtype, device).contiguous(memory_format=order)
    with torch.no_grad():
        given = ops.convnext_block(x, block.weights(), backend="triton")
        expected = block.double()(x.double())
    assert given.dtype == dtype
    assert given.is_contiguous(memory_format=torch.channels_last)
    assert _apart(given, expected) < min(3 * TOLERANCE[dtype], 2e-2)


def test_the_model_runs_its_blocks_on_the_backend_that_it_is_told(device: str) -> None:
    torch.manual_seed(3)
    model = ConvNeXtV2((1, 1), (8, 16)).to(device)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    images = _images((1, 3, 32, 24), torch.float32, device)
    with torch.no_grad():
        by_torch = model(images)
        for block in (module for module in model.modules() if isinstance(module, Block)):
            block.backend = "triton"
        by_triton = model(images)
    assert not torch.equal(by_triton, by_torch)  # another order of sums
    assert _apart(by_triton, by_torch.double()) < 2e-5


def test_torch_compile_takes_the_block_as_one_node(device: str) -> None:
    w, x = _weights(12, torch.float32, device), _images((2, 12, 5, 4), torch.float32, device)
    with torch.no_grad():
        whole = torch.compile(lambda images: ops.convnext_block(images, w, "triton") + 1.0, backend="eager", fullgraph=True)
        torch.testing.assert_close(whole(x), ops.convnext_block(x, w, "triton") + 1.0, atol=1e-6, rtol=0)
    torch.library.opcheck(torch.ops.crossgeo.convnext_block.default, (x, list(w.tensors)))


@pytest.mark.parametrize("dtype", HALVES)
def test_under_autocast_weights_are_cast_and_the_residual_keeps_its_type(dtype: torch.dtype, device: str) -> None:
    w, x = _weights(12, torch.float32, device), _images((1, 12, 6, 5), torch.float32, device)
    with torch.no_grad(), torch.autocast(device, dtype):
        given = ops.convnext_block(x, w, backend="triton")
    assert given.dtype == torch.float32
    apart = _apart(given, ops.convnext_block_definition(x.double(), w.to(torch.float64)))
    assert 1e-6 < apart < min(3 * TOLERANCE[dtype], 2e-2)


@pytest.mark.parametrize(("channels", "side", "dtype"), WIDTHS)
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_the_block_compiles_without_spills_and_with_tensor_cores(
    arch: int, channels: int, side: int, dtype: torch.dtype, compile_twin: Callable[..., Any]
) -> None:
    x = torch.empty(1, channels, side, side, dtype=dtype, device="meta").contiguous(memory_format=torch.channels_last)
    launches = compile_twin("crossgeo.kernels.triton.convnext_block:convnext_block", arch, x, _weights(channels, dtype, "meta"))
    assert [launch.name for launch in launches] == ["_depthwise_norm", "_expand", "_sum", "_scale", "_contract"]
    for launch in launches:
        launch.check(arch, tensor_cores=launch.name in ("_expand", "_contract"))
    if channels % 48 == 0:
        assert launches[0].shared <= 64  # taps are not passed through shared memory
        assert "ld.global.b16" not in launches[0].ptx  # nor loaded one by one


@pytest.mark.parametrize("dtype", HALVES)
def test_vectors_may_have_another_type_than_what_is_multiplied(dtype: torch.dtype, device: str) -> None:
    w, x = _weights(24, torch.float32, device), _images((1, 24, 6, 5), dtype, device)
    low = replace(w, depthwise=w.depthwise.to(dtype), expand=w.expand.to(dtype), contract=w.contract.to(dtype))
    given = ops.convnext_block(x, low, backend="triton")
    assert given.dtype == dtype
    assert _apart(given, ops.convnext_block_definition(x.double(), low.to(torch.float64))) < min(3 * TOLERANCE[dtype], 2e-2)


@pytest.mark.parametrize("residual", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_float32_vectors_beside_bfloat16_products_compile_without_spills(
    arch: int, residual: torch.dtype, compile_twin: Callable[..., Any]
) -> None:
    w = _weights(384, torch.float32, "meta")
    w = replace(w, depthwise=w.depthwise.bfloat16(), expand=w.expand.bfloat16(), contract=w.contract.bfloat16())
    x = torch.empty(1, 384, 64, 64, dtype=residual, device="meta").contiguous(memory_format=torch.channels_last)
    for launch in compile_twin("crossgeo.kernels.triton.convnext_block:convnext_block", arch, x, w):
        launch.check(arch, tensor_cores=launch.name in ("_expand", "_contract"))


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize(("channels", "side"), [(96, 256), (192, 128), (384, 64), (768, 32)])
def test_every_cut_of_the_depthwise_pass_that_is_offered_compiles_without_spills(
    channels: int, side: int, arch: int, compile_twin: Callable[..., Any]
) -> None:
    from crossgeo.kernels.triton.convnext_block import columns_that_fit

    w, x = _weights(channels, torch.bfloat16, "meta"), torch.empty(1, side, side, channels, dtype=torch.bfloat16, device="meta")
    offered = columns_that_fit(channels)
    assert len(offered) >= 2
    for columns in offered:
        given = (x, w.depthwise, w.depthwise_bias, w.norm, w.norm_bias)
        (kernel,) = compile_twin("crossgeo.kernels.triton.convnext_block:depthwise_norm", arch, *given, columns=columns)
        kernel.check(arch)


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_float32_compiles_without_spills(arch: int, compile_twin: Callable[..., Any]) -> None:
    x = torch.empty(2, 96, 64, 64, device="meta").contiguous(memory_format=torch.channels_last)
    for launch in compile_twin("crossgeo.kernels.triton.convnext_block:convnext_block", arch, x, _weights(96, torch.float32, "meta")):
        launch.check(arch)
