"""The names of the published L2LTR checkpoints (Yang, Lu and Zhu 2021) against ours, one to one, 378 tensors a branch."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from crossgeo.errors import WeightsError
from crossgeo.models.egotr import PRESETS, EgoTRBranch, EgoTRConfig
from crossgeo.models.published.renaming import by_rules
from crossgeo.models.tensors import check_tensors, shapes_of

BRANCHES = ("model_grd", "model_sat")  # the containers of a published file
_EMBEDDINGS = "transformer.embeddings."
_RESNET = _EMBEDDINGS + "hybrid_model."
_RULES = (
    (r"class_token", _EMBEDDINGS + "cls_token"),
    (r"position", _EMBEDDINGS + "position_embeddings"),
    (r"embed\.(\w+)", _EMBEDDINGS + r"patch_embeddings.\1"),
    (r"stem\.conv\.(\w+)", _RESNET + r"root.conv.\1"),
    (r"stem\.norm\.(\w+)", _RESNET + r"root.gn.\1"),
    (r"norm\.(\w+)", r"transformer.encoder.encoder_norm.\1"),
)
_IN_UNIT = {"shortcut": "downsample", "shortcut_norm": "gn_proj", **{f"norm{i}": f"gn{i}" for i in (1, 2, 3)}}
_IN_LAYER = {
    "norm": "attention_norm_1",  # of queries and values
    "key_norm": "attention_norm_2",
    "mlp_norm": "ffn_norm",
    "expand": "ffn.fc1",
    "contract": "ffn.fc2",
    **{f"attention.{part}": f"attn.{part}" for part in ("query", "key", "value", "out")},
}


def l2ltr_name(name: str) -> str:
    """Return the published name of a tensor of an EgoTRBranch with the ResNetV2 stem."""
    if (published := by_rules(_RULES, name)) is not None:
        return published
    if match := re.fullmatch(r"stem\.stages\.(\d+)\.(\d+)\.(\w+)\.(\w+)", name):
        part = _IN_UNIT.get(match[3], match[3])
        return f"{_RESNET}body.block{int(match[1]) + 1}.unit{int(match[2]) + 1}.{part}.{match[4]}"
    if (match := re.fullmatch(r"layers\.(\d+)\.(.+)\.(\w+)", name)) and match[2] in _IN_LAYER:
        return f"transformer.encoder.layer.{match[1]}.{_IN_LAYER[match[2]]}.{match[3]}"
    raise WeightsError(f"{name} has no counterpart in L2LTR; only a branch with the resnetv2 stem and no projection converts")


def branch_from_l2ltr(state: Mapping[str, Tensor], config: EgoTRConfig = PRESETS["egotr-b"]) -> dict[str, Tensor]:
    """Rename one published branch (`model_grd` or `model_sat`) for EgoTRBranch, its tensors as they are.

    Raises WeightsError that names each missing, extra or misshapen tensor.
    """
    shapes = _branch_shapes(config)
    published = {l2ltr_name(name): name for name in shapes}
    check_tensors(state, {other: shapes[name] for other, name in published.items()}, "L2LTR branch")
    return {name: state[other] for other, name in published.items()}


def branch_to_l2ltr(state: Mapping[str, Tensor], config: EgoTRConfig = PRESETS["egotr-b"]) -> dict[str, Tensor]:
    """Rename the state of an EgoTRBranch as one published branch; the inverse of `branch_from_l2ltr`, with the same errors."""
    shapes = _branch_shapes(config)
    check_tensors(state, shapes, f"{config.name} branch")
    return {l2ltr_name(name): state[name] for name in shapes}


def egotr_from_l2ltr(
    model_grd: Mapping[str, Tensor], model_sat: Mapping[str, Tensor], config: EgoTRConfig = PRESETS["egotr-b"]
) -> dict[str, Tensor]:
    """Join both branches of a published checkpoint to the state of EgoTR; whether it is the polar variant, the checkpoint does not say."""
    ground = {f"ground.{name}": tensor for name, tensor in branch_from_l2ltr(model_grd, config).items()}
    return ground | {f"aerial.{name}": tensor for name, tensor in branch_from_l2ltr(model_sat, config).items()}


def _branch_shapes(config: EgoTRConfig) -> dict[str, torch.Size]:
    with torch.device("meta"):
        return shapes_of(EgoTRBranch(config, config.ground_hw))  # both branches have one structure
