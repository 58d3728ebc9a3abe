"""models/convnextv2.py: timm's names and sizes, the equations of a block in numpy, loading."""

import math

import numpy as np
import pytest
import torch

from crossgeo.errors import WeightsError
from crossgeo.models.click_backbone import make_backbone
from crossgeo.models.convnextv2 import Block, ConvNeXtV2, GlobalResponseNorm
from crossgeo.models.cost import count_macs


def _tiny() -> ConvNeXtV2:
    torch.manual_seed(0)
    model = ConvNeXtV2((1, 2), (6, 10)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # GRN starts at zero and norms at one: a test must see them
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model


def test_the_tiny_model_has_the_published_size_and_cost_and_timms_names() -> None:
    with torch.device("meta"):
        model = ConvNeXtV2()
    state = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    assert sum(p.numel() for p in model.parameters()) == 28_635_496 - 769_000 - 1_536  # timm's convnextv2_tiny less head.fc and head.norm
    assert count_macs(model, (1, 3, 224, 224)) == pytest.approx(4.47e9, rel=0.01)
    assert (model.channels, model.stride) == (768, 32)
    assert state["stem.0.weight"] == (96, 3, 4, 4)
    assert state["stem.1.bias"] == (96,)
    assert "stages.0.downsample.0.weight" not in state
    assert state["stages.1.downsample.0.weight"] == (96,)
    assert state["stages.1.downsample.1.weight"] == (192, 96, 2, 2)
    block = {name.removeprefix("stages.2.blocks.8."): shape for name, shape in state.items() if name.startswith("stages.2.blocks.8.")}
    assert block == {
        "conv_dw.weight": (384, 1, 7, 7), "conv_dw.bias": (384,), "norm.weight": (384,), "norm.bias": (384,),
        "mlp.fc1.weight": (1536, 384), "mlp.fc1.bias": (1536,), "mlp.grn.weight": (1536,), "mlp.grn.bias": (1536,),
        "mlp.fc2.weight": (384, 1536), "mlp.fc2.bias": (384,),
    }  # fmt: skip
    assert len([name for name in state if name.endswith("conv_dw.weight")]) == 3 + 3 + 9 + 3


def test_a_block_is_its_equations() -> None:
    torch.manual_seed(1)
    block = Block(4).double()
    with torch.no_grad():
        for parameter in block.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.3)
    x = torch.randn(1, 4, 5, 6, dtype=torch.float64)
    p = {name: value.detach().numpy() for name, value in block.named_parameters()}
    padded = np.pad(x[0].numpy(), ((0, 0), (3, 3), (3, 3)))
    y = np.zeros((5, 6, 4))
    for row in range(5):
        for column in range(6):
            y[row, column] = (padded[:, row : row + 7, column : column + 7] * p["conv_dw.weight"][:, 0]).sum((1, 2)) + p["conv_dw.bias"]
    y = (y - y.mean(-1, keepdims=True)) / np.sqrt(y.var(-1, keepdims=True) + 1e-6) * p["norm.weight"] + p["norm.bias"]
    y = y @ p["mlp.fc1.weight"].T + p["mlp.fc1.bias"]
    y = y * 0.5 * (1 + np.vectorize(math.erf)(y / math.sqrt(2)))
    norm = np.sqrt((y**2).sum((0, 1)))
    y = p["mlp.grn.weight"] * (y * norm / (norm.mean() + 1e-6)) + p["mlp.grn.bias"] + y
    y = y @ p["mlp.fc2.weight"].T + p["mlp.fc2.bias"]
    np.testing.assert_allclose(block(x)[0].detach().numpy(), x[0].numpy() + y.transpose(2, 0, 1), atol=1e-9)


@pytest.mark.parametrize(("height", "width"), [(8, 8), (40, 24), (61, 35)])
def test_a_grid_has_the_stride_of_the_model_at_odd_shapes_too(height: int, width: int) -> None:
    assert _tiny()(torch.zeros(1, 3, height, width)).shape == (1, 10, height // 8, width // 8)


def test_memory_format_does_not_change_the_features() -> None:
    model, images = _tiny().double(), torch.randn(2, 3, 24, 32, dtype=torch.float64)
    torch.testing.assert_close(model(images.contiguous(memory_format=torch.channels_last)), model(images), atol=1e-12, rtol=0)


def test_gradients_pass_gradcheck_and_a_dead_channel_gives_no_nan() -> None:
    grn = GlobalResponseNorm(3).double()
    torch.nn.init.normal_(grn.weight)
    x = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(grn, x)
    dead = torch.zeros(1, 2, 3, 3, requires_grad=True)
    grn.float()(dead).sum().backward()
    assert dead.grad is not None
    assert dead.grad.isfinite().all()


def test_published_weights_load_without_their_head_and_into_a_backbone_with_a_click_channel() -> None:
    published = {**_tiny().state_dict(), "head.norm.weight": torch.ones(10), "head.fc.weight": torch.ones(5, 10)}
    images = torch.randn(1, 3, 16, 16)
    plain = ConvNeXtV2((1, 2), (6, 10)).eval()
    plain.load_published(published)
    with_click = make_backbone("convnextv2", (1, 2), (6, 10)).eval()
    with_click.load_published(published)
    torch.testing.assert_close(plain(images), _tiny()(images))
    torch.testing.assert_close(with_click(images), _tiny()(images))


def test_weights_of_another_model_are_refused_by_name() -> None:
    model, published = _tiny(), dict(_tiny().state_dict())
    with pytest.raises(WeightsError, match=r"missing stem.0.weight"):
        model.load_published({name: tensor for name, tensor in published.items() if name != "stem.0.weight"})
    with pytest.raises(WeightsError, match=r"extra stages.0.gamma"):
        model.load_published({**published, "stages.0.gamma": torch.ones(6)})
    with pytest.raises(WeightsError, match=r"stem.1.bias is \(7,\), not \(6,\)"):
        model.load_published({**published, "stem.1.bias": torch.ones(7)})
