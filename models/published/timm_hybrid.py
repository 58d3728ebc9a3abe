"""timm's `vit_base_r50_s16_224` (ImageNet-21k) as a start for EgoTR: the names of its tensors against ours.

Both norms of a layer and both branches begin with the same tensors; the position embedding is resized from the grid of 224 px.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.models.egotr import PRESETS, STRIDE, EgoTRBranch, EgoTRConfig
from crossgeo.models.published.renaming import by_rules
from crossgeo.models.tensors import check_tensors, shapes_of

MEAN = STD = (0.5, 0.5, 0.5)  # of RGB / 255, as these weights were trained
GRID = 14  # cells of a side at 224 px
_HEAD = ("head.", "pre_logits.", "fc_norm.", "head_dist.")  # classifiers of the published files, which no descriptor needs
_STEM = "patch_embed.backbone."
_RULES = (
    (r"class_token", "cls_token"),
    (r"position", "pos_embed"),
    (r"embed\.(\w+)", r"patch_embed.proj.\1"),
    (r"stem\.(conv|norm)\.(\w+)", _STEM + r"stem.\1.\2"),
    (r"stem\.stages\.(\d+)\.(\d+)\.shortcut\.weight", _STEM + r"stages.\1.blocks.\2.downsample.conv.weight"),
    (r"stem\.stages\.(\d+)\.(\d+)\.shortcut_norm\.(\w+)", _STEM + r"stages.\1.blocks.\2.downsample.norm.\3"),
    (r"stem\.stages\.(\d+)\.(\d+)\.(\w+)\.(\w+)", _STEM + r"stages.\1.blocks.\2.\3.\4"),
    (r"layers\.(\d+)\.(?:norm|key_norm)\.(\w+)", r"blocks.\1.norm1.\2"),
    (r"layers\.(\d+)\.mlp_norm\.(\w+)", r"blocks.\1.norm2.\2"),
    (r"layers\.(\d+)\.attention\.(?:query|key|value)\.(\w+)", r"blocks.\1.attn.qkv.\2"),
    (r"layers\.(\d+)\.attention\.out\.(\w+)", r"blocks.\1.attn.proj.\2"),
    (r"layers\.(\d+)\.expand\.(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"layers\.(\d+)\.contract\.(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"norm\.(\w+)", r"norm.\1"),
)
_PART = {"query": 0, "key": 1, "value": 2}  # of the rows of qkv


def timm_name(name: str) -> str:
    """Return the published name of the tensor that one of an EgoTRBranch is, or is a part of."""
    if (published := by_rules(_RULES, name)) is not None:
        return published
    raise ValueError(f"{name} has no counterpart in timm's hybrid")


def egotr_from_timm(state: Mapping[str, Tensor], config: EgoTRConfig = PRESETS["egotr-b"]) -> tuple[EgoTRConfig, dict[str, Tensor]]:
    """Return the configuration that computes as timm does, and the state of EgoTR, both branches alike, to be trained from.

    `state` is the published file's, with or without its classifier; a configuration without position embedding leaves that out.
    Raises WeightsError that names what is missing, extra or misshapen.
    """
    config = replace(config, stem="resnetv2-same")
    left_out = _HEAD if config.position else (*_HEAD, "pos_embed")
    taken = {name: tensor for name, tensor in state.items() if not name.startswith(left_out)}
    with torch.device("meta"):
        shapes = shapes_of(EgoTRBranch(config, config.ground_hw))
    check_tensors(taken, _published_shapes(shapes, config.width), "timm vit_base_r50_s16_224")
    both = {}
    for branch, image_hw in (("ground", config.ground_hw), ("aerial", config.aerial_hw)):
        grid = image_hw[0] // STRIDE, image_hw[1] // STRIDE
        for name in shapes:
            tensor = taken[timm_name(name)]
            if name == "position":
                tensor = resize_position(tensor, grid)
            elif _part(name) in _PART:
                tensor = tensor.chunk(3)[_PART[_part(name)]]
            both[f"{branch}.{name}"] = tensor.clone()
    return config, both


def resize_position(position: Tensor, grid: tuple[int, int]) -> Tensor:
    """Resize (1, 1 + g * g, C) embeddings to (1, 1 + H * W, C) of an H x W grid, bilinearly, corners on corners; the class slot stays."""
    side = round((position.shape[1] - 1) ** 0.5)
    cells = position[:, 1:].transpose(1, 2).reshape(1, -1, side, side)  # (1, C, g, g)
    resized = F.interpolate(cells.float(), grid, mode="bilinear", align_corners=True).to(position.dtype)
    return torch.cat([position[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)


def _published_shapes(shapes: Mapping[str, torch.Size], width: int) -> dict[str, torch.Size]:
    """Return what the published file holds, from the shapes of a branch."""
    published = {}
    for name, shape in shapes.items():
        own = shape
        if name == "position":
            own = torch.Size((1, 1 + GRID * GRID, width))
        elif _part(name) in _PART:
            own = torch.Size((3 * shape[0], *shape[1:]))
        published[timm_name(name)] = own
    return published


def _part(name: str) -> str:
    """Return what of a layer a tensor belongs to: `query` of `layers.0.attention.query.weight`."""
    return name.split(".")[-2] if "." in name else ""
