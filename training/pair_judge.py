"""Recall on held-out pairs while a run goes on: quick, among themselves alone; `geo eval` has the published protocols."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from torch import nn

from crossgeo.models.egotr import EgoTR
from crossgeo.training.evaluation.retrieval import Matches, first_ranks
from crossgeo.training.pair_checks import in_parts
from crossgeo.training.pair_input import PairInput
from crossgeo.training.pair_sampling import PairSampling, PairSource
from crossgeo.training.pairs import Pair

_BATCH = 32


@dataclass(frozen=True)
class PairJudge:
    """Asks a model about pairs; ties count as misses."""

    source: PairSource
    device: str

    @classmethod
    def of(cls, pairs: Sequence[Pair], as_input: PairInput, most: int, seed: int, device: str) -> PairJudge:
        """Take at most `most` pairs, evenly."""
        return cls(PairSource(pairs[:: max(1, len(pairs) // most)][:most], as_input, PairSampling(), seed), device)

    def __call__(self, model: nn.Module) -> dict[str, float]:
        """Return R@1 and R@5 of the model, in eval mode, among the pairs' own aerials."""
        branches, rows = cast(EgoTR, model), np.arange(len(self.source.pairs))
        photos, aerials = [], []
        with torch.inference_mode():
            for part in in_parts(rows, _BATCH):
                batch = self.source.read(part, None)
                views = self.source.as_input.normalise(batch.views, batch.masks)
                tiles = self.source.as_input.normalise_tiles(batch.tiles)
                photos.append(branches.ground(views.to(self.device)).float().cpu().numpy())
                aerials.append(branches.aerial(tiles.to(self.device)).float().cpu().numpy())
        count = sum(len(part) for part in photos)
        ranks = first_ranks(np.concatenate(photos), np.concatenate(aerials), Matches.single(np.arange(count)))
        return {"recall_1": float((ranks <= 1).mean()), "recall_5": float((ranks <= 5).mean())}
