"""The names of DetGeo's checkpoints (Sun et al. 2023) against ours, one to one, 584 tensors."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from crossgeo.errors import WeightsError
from crossgeo.models.darknet import STAGES
from crossgeo.models.detgeo import PRESETS, DetGeo
from crossgeo.models.tensors import check_tensors, shapes_of

WRAPPED = "module."  # before every name of a checkpoint that was trained on several GPUs
_CONV_NORM = {
    "point": "combine_clickptns_conv",
    "query_map": "query_mapping_visu",
    "reference_map": "reference_mapping_visu",
    "head.0": "fcn_out.0",
}


def _darknet_numbers() -> Iterator[tuple[str, int]]:
    """Return ours and the number of each convolution in the list of YOLOv3's layers, which counts sums, routes and heads, too."""
    yield "stem", 0
    number = 1
    for stage, (_, blocks) in enumerate(STAGES):
        yield f"stages.{stage}.0", number
        number += 1
        for block in range(1, blocks + 1):
            yield f"stages.{stage}.{block}.squeeze", number
            yield f"stages.{stage}.{block}.expand", number + 1
            number += 3
    for own, first in (("neck_32", 75), ("neck_16", 87), ("unused.neck_8", 99)):
        yield from ((f"{own}.five.{k}", first + k) for k in range(5))
        yield f"{own}.sixth", first + 5
    yield from (("unused.head_32", 81), ("lateral_16", 84), ("unused.head_16", 93), ("unused.lateral_8", 96), ("unused.head_8", 105))


_NUMBERS = dict(_darknet_numbers())


def detgeo_name(name: str) -> str:
    """Return the published name of a tensor of DetGeo; ValueError for one of CVCAM or MHSAM, which it has not."""
    if name.startswith("photo_net."):
        return name.replace("photo_net.", "query_resnet.base_model.", 1)
    if name.startswith("head.1."):
        return name.replace("head.1.", "fcn_out.1.", 1)
    if match := re.fullmatch(r"window_net\.(.+?)(?:\.(conv|norm))?\.(\w+)", name):
        number = _NUMBERS[match[1]]
        part = "batch_norm" if match[2] == "norm" else "conv"
        return f"reference_darknet.module_list.{number}.{part}_{number}.{match[3]}"
    if (match := re.fullmatch(r"(.+)\.(conv|norm)\.(\w+)", name)) and match[1] in _CONV_NORM:
        return f"{_CONV_NORM[match[1]]}.{'bn' if match[2] == 'norm' else 'conv'}.{match[3]}"
    raise ValueError(f"{name} has no counterpart in DetGeo")


def detgeo_from_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename a published state for DetGeo, its tensors as they are; WeightsError names each missing, extra or misshapen one."""
    bare = {name.removeprefix(WRAPPED): tensor for name, tensor in state.items()}
    shapes = _shapes()
    published = {detgeo_name(name): name for name in shapes}
    check_tensors(bare, {other: shapes[name] for other, name in published.items()}, "DetGeo")
    return {name: bare[other] for other, name in published.items()}


def detgeo_to_published(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the state of DetGeo as published, with the prefix; the inverse of `detgeo_from_published`, with the same errors."""
    shapes = _shapes()
    if extra := sorted(state.keys() - shapes.keys()):
        raise WeightsError(f"DetGeo as published has nothing for {', '.join(extra[:3])}; only weights of the plain network export")
    check_tensors(state, shapes, "DetGeo")
    return {WRAPPED + detgeo_name(name): state[name] for name in shapes}


def _shapes() -> dict[str, torch.Size]:
    with torch.device("meta"):
        return shapes_of(DetGeo(PRESETS["detgeo"]))
