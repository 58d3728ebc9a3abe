"""models/published/timm_hybrid.py: each tensor of timm's hybrid goes where the facts say."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from crossgeo.errors import WeightsError
from crossgeo.models.egotr import PRESETS, EgoTR
from crossgeo.models.published.google_hybrid import timm_from_google
from crossgeo.models.published.importing import start_tensors
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


@pytest.mark.parametrize("preset", ["egotr-b-no-position", "polar-egotr-b-no-position", "polar-egotr-b-self"])
def test_the_papers_ablations_start_alike_less_a_position_embedding(preset: str, published: dict[str, Tensor]) -> None:
    state = {name: tensor.to("meta") for name, tensor in published.items()}
    whole, (config, found) = egotr_from_timm(state, PRESETS["polar-egotr-b"])[1], egotr_from_timm(state, PRESETS[preset])
    assert (config.name, config.stem) == (preset, "resnetv2-same")
    assert whole.keys() - found.keys() == (set() if config.position else {"ground.position", "aerial.position"})
    with torch.device("meta"):
        assert EgoTR(config).load_state_dict(found, strict=True, assign=True)
    with pytest.raises(WeightsError, match=r"missing norm\.bias"):
        egotr_from_timm({name: tensor for name, tensor in state.items() if name != "norm.bias"}, config)


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


def googles(state: dict[str, Tensor]) -> dict[str, np.ndarray[Any, Any]]:
    """Write timm's tensors as Google's file has them: names with slashes, kernels with the outputs last, twelve heads apart."""
    out = {}
    for name, tensor in state.items():
        array = tensor.numpy()
        kind = "bias" if name.endswith("bias") else "kernel" if array.ndim > 1 else "scale"
        parts = name.split(".")
        if name == "cls_token":
            out["cls"] = array
        elif name == "pos_embed":
            out["Transformer/posembed_input/pos_embedding"] = array
        elif parts[0] == "head":
            out[f"head/{kind}"] = array.T
        elif parts[0] == "norm":
            out[f"Transformer/encoder_norm/{kind}"] = array
        elif name.startswith("patch_embed.proj"):
            out[f"embedding/{kind}"] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        elif name.startswith("patch_embed.backbone.stem"):
            out["conv_root/kernel" if parts[3] == "conv" else f"gn_root/{kind}"] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array
        elif name.startswith("patch_embed.backbone.stages"):
            part = parts[6] if parts[6] != "downsample" else "conv_proj" if parts[7] == "conv" else "gn_proj"
            at = f"block{int(parts[3]) + 1}/unit{int(parts[5]) + 1}/{part.replace('norm', 'gn')}/{kind}"
            out[at] = array.transpose(2, 3, 1, 0) if array.ndim == 4 else array[None, None, None]
        elif parts[2] == "attn" and parts[3] == "qkv":
            for which, third in zip(("query", "key", "value"), np.split(array, 3), strict=True):
                at = f"Transformer/encoderblock_{parts[1]}/MultiHeadDotProductAttention_1/{which}/{kind}"
                out[at] = third.T.reshape(768, 12, 64) if third.ndim == 2 else third.reshape(12, 64)
        elif parts[2] == "attn":
            at = f"Transformer/encoderblock_{parts[1]}/MultiHeadDotProductAttention_1/out/{kind}"
            out[at] = array.T.reshape(12, 64, 768) if array.ndim == 2 else array
        else:
            part = {"norm1": "LayerNorm_0", "norm2": "LayerNorm_2"}.get(parts[2]) or f"MlpBlock_3/Dense_{int(parts[3] == 'fc2')}"
            out[f"Transformer/encoderblock_{parts[1]}/{part}/{kind}"] = array.T if array.ndim == 2 else array
    return out


def test_googles_own_file_gives_what_timms_does(published: dict[str, Tensor], tmp_path: Path) -> None:
    np.savez(tmp_path / "R50+ViT-B_16.npz", **googles(published))
    found = start_tensors(str(tmp_path / "R50+ViT-B_16.npz"))
    assert found.keys() == {name for name in published if not name.startswith("head")}
    assert all(torch.equal(tensor, published[name]) for name, tensor in found.items())
    (tmp_path / "R50+ViT-B_16.npz").unlink()
    with pytest.raises(WeightsError, match=r"this is no timm vit_base_r50_s16_224 of .* tensors: missing "):
        egotr_from_timm(timm_from_google({"conv_root/kernel": torch.zeros(7, 7, 3, 64)}))
    with pytest.raises(WeightsError, match="Decoder/kernel is no part of R50"):
        timm_from_google({"Decoder/kernel": torch.zeros(2, 2)})
