"""Weights given back to the programs that they came from, under those programs' names, bit for bit."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from crossgeo import disk
from crossgeo.errors import UsageError, WeightsError
from crossgeo.models.checkpoint import Card, load_weights
from crossgeo.models.egotr import EgoTRConfig
from crossgeo.models.published.detgeo import detgeo_to_published
from crossgeo.models.published.l2ltr import BRANCHES, branch_to_l2ltr
from crossgeo.models.tensors import write_tensors

SUFFIXES = (".pth", ".safetensors")


@dataclass(frozen=True)
class Target:
    """A program's kind of checkpoint: the kind of our weights that it takes, and what becomes of them, by container."""

    kind: str
    convert: Callable[[Card, dict[str, Tensor]], dict[str, dict[str, Tensor]]]


def _l2ltr(card: Card, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    config = EgoTRConfig.from_dict(card["config"])
    if config.stem != "resnetv2":
        raise WeightsError(f"{card['name']} has another CNN stem than L2LTR; only weights imported from it, or trained from those, go back")
    prefixes = ("ground.", "aerial.")
    return {part: branch_to_l2ltr(_under(state, prefix), config) for part, prefix in zip(BRANCHES, prefixes, strict=True)}


def _under(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in state.items() if name.startswith(prefix)}


def _detgeo(card: Card, state: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    return {"state_dict": detgeo_to_published(state)}


TARGETS = {"l2ltr": Target("egotr", _l2ltr), "detgeo": Target("detgeo", _detgeo)}


def export_weights(name_or_path: str | Path, target: str, out: Path, *, overwrite: bool = False) -> int:
    """Write weights as another program reads them, `.pth` as its authors published theirs, or `.safetensors`; return how many tensors.

    Raises UsageError for a target or a file that is none, WeightsError for weights that it cannot take.
    """
    if target not in TARGETS:
        raise UsageError(f"{target!r} is no program that weights are written for; choose from {', '.join(TARGETS)}")
    if out.suffix not in SUFFIXES:
        raise UsageError(f"{out}: weights are written as {' or '.join(SUFFIXES)}; choose such a name")
    if out.exists() and not overwrite:
        raise UsageError(f"{out} is there already; choose another name, or replace it with --overwrite")
    card, state = load_weights(name_or_path)
    if card["kind"] != TARGETS[target].kind:
        raise WeightsError(f"{name_or_path}: these are weights of {card['kind']!r}, which {target} has no place for")
    found = TARGETS[target].convert(card, state)
    if out.suffix == ".pth":
        with disk.replacing(out) as temporary:
            torch.save(found, temporary)
    else:
        flat = {name: tensor for part in found.values() for name, tensor in part.items()}
        if len(found) > 1:
            flat = {f"{part}.{name}": tensor for part, tensors in found.items() for name, tensor in tensors.items()}
        write_tensors(out, flat, {"format": "pt"})
    return sum(len(part) for part in found.values())
