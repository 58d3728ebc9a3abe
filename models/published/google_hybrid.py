"""Google's own file of R50+ViT-B_16 (Dosovitskiy et al. 2021, .npz), of which timm's vit_base_r50_s16_224 is a copy, under timm's names.

Kernels lie there as height, width, in, out, or in, out; heads are an axis of their own; query, key and value are apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from crossgeo.errors import WeightsError
from crossgeo.models.published.renaming import by_rules

MARK = "conv_root/kernel"  # no other kind of file has it
_LEFT_ASIDE = ("head/", "pre_logits/")  # the classifier
_KIND = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_RULES = (
    (r"cls", "cls_token"),
    (r"Transformer/posembed_input/pos_embedding", "pos_embed"),
    (r"embedding/(\w+)", r"patch_embed.proj.\1"),
    (r"Transformer/encoder_norm/(\w+)", r"norm.\1"),
    (r"conv_root/(\w+)", r"patch_embed.backbone.stem.conv.\1"),
    (r"gn_root/(\w+)", r"patch_embed.backbone.stem.norm.\1"),
    (r"Transformer/encoderblock_(\d+)/LayerNorm_0/(\w+)", r"blocks.\1.norm1.\2"),
    (r"Transformer/encoderblock_(\d+)/LayerNorm_2/(\w+)", r"blocks.\1.norm2.\2"),
    (r"Transformer/encoderblock_(\d+)/MlpBlock_3/Dense_0/(\w+)", r"blocks.\1.mlp.fc1.\2"),
    (r"Transformer/encoderblock_(\d+)/MlpBlock_3/Dense_1/(\w+)", r"blocks.\1.mlp.fc2.\2"),
    (r"Transformer/encoderblock_(\d+)/MultiHeadDotProductAttention_1/(query|key|value|out)/(\w+)", r"blocks.\1.attn.\2.\3"),
)
_IN_UNIT = {"conv_proj": "downsample.conv", "gn_proj": "downsample.norm", **{f"gn{n}": f"norm{n}" for n in (1, 2, 3)}}


def timm_from_google(arrays: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename and turn the arrays of Google's file as timm has them; WeightsError names one that has no place there."""
    found: dict[str, Tensor] = {}
    for name, array in arrays.items():
        if not name.startswith(_LEFT_ASIDE):
            found[_timm_name(name)] = _turned(name, array)
    for block in {name.split(".")[1] for name in found if name.startswith("blocks.")}:
        at = f"blocks.{block}.attn."
        for kind in ("weight", "bias"):
            parts = [found.pop(f"{at}{part}.{kind}", None) for part in ("query", "key", "value")]
            if all(part is not None for part in parts):
                found[f"{at}qkv.{kind}"] = torch.cat([part for part in parts if part is not None])
            if f"{at}out.{kind}" in found:
                found[f"{at}proj.{kind}"] = found.pop(f"{at}out.{kind}")
    return found


def _timm_name(name: str) -> str:
    if match := re.fullmatch(r"block(\d+)/unit(\d+)/(\w+)/(\w+)", name):
        part = _IN_UNIT.get(match[3], match[3])
        return f"patch_embed.backbone.stages.{int(match[1]) - 1}.blocks.{int(match[2]) - 1}.{part}.{_KIND.get(match[4], match[4])}"
    if (timms := by_rules(_RULES, name)) is not None:
        own, _, kind = timms.rpartition(".")
        return f"{own}.{_KIND.get(kind, kind)}" if own else kind
    raise WeightsError(f"{name} is no part of R50+ViT-B_16")


def _turned(name: str, array: Tensor) -> Tensor:
    """Turn an array of Google's into the shape that torch's layers have."""
    if "Attention" in name and name.endswith("/kernel"):  # (in, heads, each), or (heads, each, out)
        return (array.flatten(0, 1) if "/out/" in name else array.flatten(1)).T.contiguous()
    if "Attention" in name:
        return array.flatten()
    if name.endswith("/kernel"):
        return array.permute(3, 2, 0, 1).contiguous() if array.dim() == 4 else array.T.contiguous()
    return array.flatten() if re.match(r"gn_root|block\d+/unit\d+/gn", name) else array
