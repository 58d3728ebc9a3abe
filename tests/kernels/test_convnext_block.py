"""kernels/convnext_block.py: the definitions are the model's block, in parts that fit together; what runs where."""

import pytest
import torch
from torch import Tensor, nn

from crossgeo.errors import UsageError
from crossgeo.kernels.convnext_block import (
    BlockWeights,
    block_backend,
    convnext_block,
    convnext_block_definition,
    depthwise_norm,
    depthwise_norm_definition,
    expand,
    response_scale,
)
from crossgeo.models.convnextv2 import Block


def _block(channels: int, dtype: torch.dtype = torch.float64) -> Block:
    torch.manual_seed(channels)
    block = Block(channels).to(dtype).eval()
    for parameter in block.parameters():
        nn.init.normal_(parameter, std=0.5)
    return block


@pytest.mark.parametrize("shape", [(2, 6, 5, 9), (1, 12, 8, 3)])
def test_the_definition_is_the_models_block(shape: tuple[int, ...]) -> None:
    block = _block(shape[1])
    x = torch.randn(shape, dtype=torch.float64)
    torch.testing.assert_close(convnext_block_definition(x, block.weights()), block(x), atol=1e-12, rtol=0)
    torch.testing.assert_close(convnext_block(x, block.weights()), block(x), atol=1e-12, rtol=0)


def test_depthwise_norm_is_the_convolution_summed_tap_by_tap_and_a_layer_norm() -> None:
    w = _block(5).weights()
    x = torch.randn(1, 4, 6, 5, dtype=torch.float64)
    padded = torch.nn.functional.pad(x, (0, 0, 3, 3, 3, 3))
    y = w.depthwise_bias + sum(
        padded[:, i : i + 4, j : j + 6] * w.depthwise[:, 0, i, j] for i in range(7) for j in range(7)
    )  # (1, 4, 6, 5)
    y = (y - y.mean(-1, keepdim=True)) / (y.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt() * w.norm + w.norm_bias
    torch.testing.assert_close(depthwise_norm_definition(x, w.depthwise, w.depthwise_bias, w.norm, w.norm_bias), y, atol=1e-12, rtol=0)


def test_sums_of_squares_are_taken_in_float32_of_what_half_precision_holds() -> None:
    x, weight, bias = torch.full((1, 64, 64, 1), 30.0).half(), torch.full((2, 1), 10.0).half(), torch.zeros(2).half()
    hidden, squares = expand(x, weight, bias)
    assert hidden.dtype == torch.float16 and squares.dtype == torch.float32
    assert squares.tolist() == [[64 * 64 * 300.0**2] * 2]  # far beyond what float16 counts to


def test_a_scale_weighs_a_channels_norm_against_the_mean_of_all() -> None:
    scale = response_scale(torch.tensor([[9.0, 1.0], [0.0, 0.0]]), torch.tensor([2.0, -1.0]))
    assert scale[0].tolist() == pytest.approx([2 * 3 / 2, -1 / 2])
    assert scale[1].isfinite().all()


def test_auto_runs_torch_on_the_cpu_and_for_what_the_twins_do_not_do() -> None:
    block = _block(6, torch.float16)
    assert block_backend(torch.zeros(1, 6, 4, 4).half(), block.weights()) == "torch"
    with torch.device("meta"):
        assert block_backend(torch.zeros(1, 6, 4, 4).half(), _meta(6)) == "torch"


def _meta(channels: int, kernel: int = 7, dtype: torch.dtype = torch.float16) -> BlockWeights:
    wide = 4 * channels
    shapes = [(channels, 1, kernel, kernel), *[(channels,)] * 3, (wide, channels), *[(wide,)] * 3, (channels, wide), (channels,)]
    return BlockWeights(*(torch.empty(shape, dtype=dtype, device="meta") for shape in shapes))


@pytest.mark.parametrize(
    ("x", "weights", "reason"),
    [
        (torch.empty(1, 8, 4, 4, device="meta"), _meta(8), "tensors of float16 and float32"),
        (torch.empty(1, 8, 4, 4, device="meta").double(), _meta(8, dtype=torch.float64), "tensors of float64"),
        (torch.empty(1, 8, 4, 4, device="meta").half(), _meta(8, 5), r"a kernel of \(5, 5\)"),
        (torch.empty(1, 1024, 1, 1, device="meta").half(), _meta(1024), "1024 channels, more than 768"),
    ],
)
def test_triton_by_name_says_what_it_cannot_do(x: Tensor, weights: BlockWeights, reason: str) -> None:
    with pytest.raises(UsageError, match=f"cannot run here: {reason}; ask for"):
        convnext_block(x, weights, backend="triton")


def test_gradients_of_the_definition_pass_gradcheck() -> None:
    block = _block(3)
    x = torch.randn(1, 3, 3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda images: convnext_block(images, block.weights()), x)


def test_a_gradient_that_is_wanted_keeps_the_twin_away() -> None:
    w = _block(6).weights()
    x = torch.randn(1, 4, 4, 6, requires_grad=True)
    given = [t.float() for t in (w.depthwise, w.depthwise_bias, w.norm, w.norm_bias)]
    with pytest.raises(UsageError, match="a gradient is wanted"):
        depthwise_norm(x, *given, backend="triton")
