"""Recall on held-out pairs while a run goes on: quick, among themselves alone; `geo eval` has the published protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from torch import nn

from crossgeo.models.egotr import EgoTR
from crossgeo.training.evaluation.protocols import Gallery, matches_of, protocols_of
from crossgeo.training.evaluation.retrieval import first_ranks
from crossgeo.training.pair_checks import in_parts
from crossgeo.training.pair_input import PairInput
from crossgeo.training.pair_sampling import PairSampling, PairSource
from crossgeo.training.pairs import PairSet

_BATCH = 32


@dataclass(frozen=True)
class PairJudge:
    """Asks a model about pairs; ties count as misses."""

    pairs: PairSet
    source: PairSource
    device: str

    @classmethod
    def of(cls, pairs: PairSet, as_input: PairInput, most: int, seed: int, device: str) -> PairJudge:
        """Take at most `most` pairs, evenly; photos of unknown heading are left out."""
        source = PairSource(pairs.pairs[:: max(1, len(pairs) // most)][:most], as_input, PairSampling(), seed)
        return cls(replace(pairs, pairs=tuple(source.pairs), distractors=()), source, device)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return R@1 and R@5 of the model, in eval mode, among the pairs' aerials, by the first protocol of their layout."""
        branches = cast(EgoTR, model)
        photos, aerials, read = [], [], []
        with torch.inference_mode():
            for part in in_parts(np.arange(len(self.source.pairs)), _BATCH):
                batch = self.source.read(part, None)
                views = self.source.as_input.normalise(batch.views, batch.masks)
                tiles = self.source.as_input.normalise_tiles(batch.tiles)
                photos.append(branches.ground(views.to(self.device)).float().cpu().numpy())
                aerials.append(branches.aerial(tiles.to(self.device)).float().cpu().numpy())
                read += batch.rows.tolist()
        asked = replace(self.pairs, pairs=tuple(self.pairs.pairs[row] for row in read))
        gallery = Gallery.of(asked)
        _, first = np.unique(gallery.own, return_index=True)  # an aerial that several photos share stands in the gallery once
        ranks = first_ranks(np.concatenate(photos), np.concatenate(aerials)[first], matches_of(protocols_of(asked)[0], asked, gallery))
        return {"recall_1": float((ranks <= 1).mean()), "recall_5": float((ranks <= 5).mean())}


def others(splits: Sequence[str], trained: str) -> list[str]:
    """Return the splits that a run on another may be judged on, val before any other."""
    return sorted((name for name in splits if name != trained), key=lambda name: name != "val")


def held_out(data: PairSet, trained: str) -> PairSet | None:
    """Return the split that a run on another is judged on, val before any other, less what the run sees; None where nothing is left."""
    seen = {pair.aerial_id for pair in data.split(trained)}
    for name in others(data.splits, trained):
        left = tuple(pair for pair in data.split(name) if pair.aerial_id not in seen)
        if left:
            return replace(data, pairs=left, distractors=())
    return None
