"""Whole models with attention in one kernel against the same with torch's own, for kernel_cases.py: what a kernel is worth in its place."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from kernel_case import Builder, Case, by_cosine, draws, half_of, on
from torch import Tensor, nn

from crossgeo.models.attengeo import PRESETS as ATTENGEO
from crossgeo.models.cost import count_macs
from crossgeo.models.cvcam import CVCAM
from crossgeo.models.egotr import PRESETS, EgoTRBranch
from crossgeo.models.fold import fold_branch


def whole_case(what: str, model: nn.Module, inputs: list[Tensor], tolerance: float, operations: int, device: str) -> Case:
    """Compare a model (float32) with itself in 16 bits, on each backend; h100.py compiles whole models, which takes a minute each."""
    dtype = half_of(device)
    halves = [tensor.to(dtype) for tensor in inputs]
    ways: dict[str, Callable[[], Any]] = {}
    for backend in ("triton", "torch"):
        moved = on(backend, model).to(device, dtype)
        ways[backend] = partial(moved, *halves)
    exact = copy.deepcopy(model).to(device, torch.float64)
    moved_bytes = sum(tensor.numel() * 2 for tensor in [*model.parameters(), *halves])
    return Case(what, ways, by_cosine(lambda: exact(*(tensor.double() for tensor in halves))), tolerance, moved_bytes, operations)


def egotr_case(batch: int, device: str, tiny: bool) -> Case:
    """The aerial branch of EgoTR-B, folded, from images to descriptors."""
    config = PRESETS["egotr-s" if tiny else "egotr-b"]
    if tiny:
        batch, config = 1, dataclasses.replace(config, layers=2, aerial_hw=(32, 32))
    torch.manual_seed(0)
    branch = fold_branch(EgoTRBranch(config, config.aerial_hw).eval())
    shape = (batch, 3, *config.aerial_hw)
    with torch.device("meta"):
        macs = count_macs(fold_branch(EgoTRBranch(config, config.aerial_hw).eval()), shape)
    return whole_case(f"{config.name}, {shape}", branch, draws(device, shape), 5e-2, 2 * macs, device)


def cvcam_case(batch: int, device: str, tiny: bool) -> Case:
    """CVCAM of AttenGeo: 8 x 8 cells of the photo, 32 x 32 of the window."""
    config = ATTENGEO["attengeo-s" if tiny else "attengeo"]
    photo, window = (2, 4) if tiny else (8, 32)
    batch = 1 if tiny else batch
    torch.manual_seed(0)
    model = CVCAM(config.channels, config.heads, config.hidden, 1 if tiny else config.iterations).eval()
    shapes = (batch, config.channels, photo, photo), (batch, config.channels, window, window)
    with torch.device("meta"):
        macs = count_macs(CVCAM(config.channels, config.heads, config.hidden, 1 if tiny else config.iterations).eval(), *shapes)
    return whole_case(f"{shapes[0]}, {shapes[1]}", model, draws(device, *shapes), 5e-2, 2 * macs, device)


MODEL_CASES: dict[str, Builder] = {
    "EgoTR-B, 256 tiles": partial(egotr_case, 256),
    "EgoTR-B, one photo": partial(egotr_case, 1),
    "CVCAM, 16 windows": partial(cvcam_case, 16),
    "CVCAM, one window": partial(cvcam_case, 1),
}
