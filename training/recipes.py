"""Recipes by name: the papers' as written, and a stronger one that has come up since: settings, a length and how pairs are drawn."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, TypeVar

from crossgeo.training.attengeo import AttenGeoTraining
from crossgeo.training.egotr import EgoTRTraining
from crossgeo.training.pair_sampling import PairSampling
from crossgeo.training.schedule import Schedule
from crossgeo.training.task import LoopSettings

RecipeName = Literal["paper", "strong"]
Settings = TypeVar("Settings", bound=LoopSettings)


@dataclass(frozen=True)
class EgoTRRecipe:
    """How EgoTR is trained on pairs."""

    says: str
    training: EgoTRTraining
    epochs: int
    warmup_steps: int
    sampling: PairSampling = field(default_factory=PairSampling)


@dataclass(frozen=True)
class AttenGeoRecipe:
    """How AttenGeo is trained on clicks, and DetGeo to be compared with it."""

    says: str
    training: AttenGeoTraining
    epochs: int
    warmup_steps: int = 0


EGOTR: dict[RecipeName, EgoTRRecipe] = {
    "paper": EgoTRRecipe(
        "Yang, Lu and Zhu 2021: AdamW 1e-4, weight decay 0.03, batch 32, soft-margin triplets of all in-batch negatives, no augmentation",
        EgoTRTraining(
            loss="triplet", apart_m=0.0, alpha=10.0, lr=1e-4, stem_lr=1e-4, weight_decay=0.03, decay_all=True, eps=1e-6, clip=1.0,
            tied_share=0.0, frozen_blocks=0, dense=False, bf16=False,
        ),
        epochs=200, warmup_steps=500, sampling=PairSampling(batch=32, apart_m=0.0),
    ),
    "strong": EgoTRRecipe(
        "symmetric InfoNCE, negatives hard in place and in descriptor, turned and mirrored pairs, large batches in chunks, an average",
        EgoTRTraining(
            loss="infonce", apart_m=20.0, lr=3e-4, stem_lr=1e-4, tied_share=0.0, frozen_blocks=0, dense=False, chunk=32, average=0.999,
        ),
        epochs=40, warmup_steps=500,
        sampling=PairSampling(batch=128, near_share=0.25, mined_share=0.25, turned=True, offset_m=3.0),
    ),
}  # fmt: skip

ATTENGEO: dict[RecipeName, AttenGeoRecipe] = {
    "paper": AttenGeoRecipe(
        "AdamW 1e-4, a tenth of it every 10 of 30 epochs, eq. 10 and 11 with equal weight",
        # The paper names neither its batch nor by how much the rate decays: 12 and 0.1 are ours.
        AttenGeoTraining(
            batch=12, lr=1e-4, backbone_lr=1e-4, weight_decay=0.01, decay_all=True, schedule=Schedule(0.0, drops=2, drop_factor=0.1),
            clip=math.inf, box_weight=1.0, overlap_weight=0.0, spare_iou=1.0, frozen_layers=0, average=0.0, bf16=False,
        ),
        epochs=30,
    ),
    "strong": AttenGeoRecipe(
        "a cosine, averaged weights, boxes weighed up and judged by their overlap, anchors that fit spared",
        AttenGeoTraining(batch=16, lr=4e-4, backbone_lr=2e-4, frozen_layers=0),
        epochs=40, warmup_steps=500,
    ),
}  # fmt: skip


def for_length(
    settings: Settings, *, epochs: float, epoch_steps: int, warmup_steps: int, steps: int | None = None, minutes: float | None = None
) -> Settings:
    """Return settings that end after `steps`, else `minutes`, else `epochs`; a rise of so many steps is at most half of the run."""
    if minutes is not None and steps is None:
        rise = 0.04 if warmup_steps else 0.0
        return replace(settings, minutes=minutes, steps=math.inf, schedule=replace(settings.schedule, warmup_share=rise))
    count = steps if steps is not None else max(1, round(epochs * epoch_steps))
    share = min(0.5, warmup_steps / count)
    return replace(settings, steps=count, minutes=minutes or math.inf, schedule=replace(settings.schedule, warmup_share=share))
