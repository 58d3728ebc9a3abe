"""models/published/timm_hybrid.py: each tensor of timm's hybrid goes where the facts say."""

import numpy as np
import pytest
import torch
from torch import Tensor

from crossgeo.errors import WeightsError
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.published.timm_hybrid import egotr_from_timm, resize_position

SMALL = {"stem.conv.weight": (64, 3, 7, 7), "stem.norm.weight": (64,), "stem.norm.bias": (64,)}


@pytest.fixture(scope="module")
def published() -> dict[str, Tensor]:
    """Tensors under timm's names, written out from the structure: ResNetV2 (3, 4, 9), twelve blocks, a classifier."""
    shapes: dict[str, tuple[int, ...]] = {f"patch_embed.backbone.{name}": shape for name, shape in SMALL.items()}
    inputs = 64
    for stage, units in enumerate((3, 4, 9)):
        width = 64 * 2**stage
        for unit in range(units):
            at = f"patch_embed.backbone.stages.{stage}.blocks.{unit}."
            sizes = {"conv1": (width, inputs, 1, 1), "conv2": (width, width, 3, 3), "conv3": (4 * width, width, 1, 1)}
            if unit == 0:
                shapes[at + "downsample.conv.weight"] = (4 * width, inputs, 1, 1)
                shapes |= {f"{at}downsample.norm.{kind}": (4 * width,) for kind in ("weight", "bias")}
            for conv, size in sizes.items():
                shapes[f"{at}{conv}.weight"] = size
                shapes |= {f"{at}norm{conv[-1]}.{kind}": size[:1] for kind in ("weight", "bias")}
            inputs = 4 * width
    shapes |= {"cls_token": (1, 1, 768), "pos_embed": (1, 197, 768), "patch_embed.proj.weight": (768, 1024, 1, 1)}
    for block in range(12):
        for name, outputs, incoming in (("attn.qkv", 2304, 768), ("attn.proj", 768, 768), ("mlp.fc1", 3072, 768), ("mlp.fc2", 768, 3072)):
            shapes |= {f"blocks.{block}.{name}.weight": (outputs, incoming), f"blocks.{block}.{name}.bias": (outputs,)}
        shapes |= {f"blocks.{block}.norm{n}.{kind}": (768,) for n in (1, 2) for kind in ("weight", "bias")}
    shapes |= {"patch_embed.proj.bias": (768,), "norm.weight": (768,), "norm.bias": (768,), "head.weight": (9, 768), "head.bias": (9,)}
    generator = torch.Generator().manual_seed(5)
    return {name: torch.randn(shape, generator=generator) * 0.05 for name, shape in shapes.items()}


def test_every_tensor_goes_where_the_facts_say(published: dict[str, Tensor]) -> None:
    config, state = egotr_from_timm(published)
    assert config.stem == "resnetv2-same"
    model = EgoTR(config)
    model.load_state_dict(state, strict=True)
    for branch in (model.ground, model.aerial):
        own = dict(branch.state_dict())
        third = published["blocks.4.attn.qkv.weight"]
        assert torch.equal(own["layers.4.attention.query.weight"], third[:768])
        assert torch.equal(own["layers.4.attention.key.weight"], third[768:1536])
        assert torch.equal(own["layers.4.attention.value.weight"], third[1536:])
        assert torch.equal(own["layers.7.norm.bias"], published["blocks.7.norm1.bias"])
        assert torch.equal(own["layers.7.key_norm.bias"], published["blocks.7.norm1.bias"])
        assert torch.equal(own["layers.7.mlp_norm.bias"], published["blocks.7.norm2.bias"])
        assert torch.equal(own["stem.stages.2.8.norm3.weight"], published["patch_embed.backbone.stages.2.blocks.8.norm3.weight"])
        assert torch.equal(
            own["stem.stages.1.0.shortcut.weight"], published["patch_embed.backbone.stages.1.blocks.0.downsample.conv.weight"]
        )
        assert torch.equal(own["class_token"], published["cls_token"])


def test_the_branches_share_no_memory(published: dict[str, Tensor]) -> None:
    _, state = egotr_from_timm(published)
    state["ground.norm.weight"].zero_()
    assert not torch.equal(state["aerial.norm.weight"], state["ground.norm.weight"])
    assert not torch.equal(published["norm.weight"], state["ground.norm.weight"])


@pytest.mark.parametrize("grid", [(8, 32), (16, 16), (14, 14)])
def test_position_is_resized_bilinearly_corner_on_corner(grid: tuple[int, int]) -> None:
    position = torch.randn(1, 197, 3, generator=torch.Generator().manual_seed(6))
    given = resize_position(position, grid)
    assert torch.equal(given[:, 0], position[:, 0])
    cells = position[0, 1:].numpy().astype(np.float64).reshape(14, 14, 3)
    rows, columns = np.linspace(0, 13, grid[0]), np.linspace(0, 13, grid[1])
    for i, y in enumerate(rows):
        for j, x in enumerate(columns):
            a, b = min(int(y), 12), min(int(x), 12)
            u, v = y - a, x - b
            expected = (1 - u) * ((1 - v) * cells[a, b] + v * cells[a, b + 1]) + u * ((1 - v) * cells[a + 1, b] + v * cells[a + 1, b + 1])
            assert np.allclose(given[0, 1 + i * grid[1] + j], expected, atol=1e-5)


def test_what_is_missing_or_misshapen_is_named(published: dict[str, Tensor]) -> None:
    damaged = dict(published)
    del damaged["blocks.3.attn.qkv.bias"]
    damaged["pos_embed"] = torch.zeros(1, 577, 768)
    damaged["blocks.12.norm1.weight"] = torch.zeros(768)
    with pytest.raises(WeightsError) as caught:
        egotr_from_timm(damaged, PRESETS["polar-egotr-b"])
    for said in ("missing blocks.3.attn.qkv.bias", "extra blocks.12.norm1.weight", "pos_embed is (1, 577, 768), not (1, 197, 768)"):
        assert said in str(caught.value)
