"""Surfaces: how well a photo's maps fit the imagery's at each shift, whether the imagery is whole or cut."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.photo_maps import STRIDES
from crossgeo.kernels.correlation import masked_correlation, seen_cells

_TEMPLATES = 32  # correlated at a time with a scene that is cut: more overflow the caches


@dataclass(frozen=True)
class Overlap:
    """What a fit is worth that shares only part of the photo."""

    min_cells: float = 5.0  # of stride 16 that photo and imagery must share
    power: float = 0.25  # of the share, by which a fit is lessened: little overlaps fit by chance


@dataclass(frozen=True)
class Scene:
    """A map (C, W / stride, W / stride) of imagery at one stride, and which pixels are imagery (W, W)."""

    features: Tensor
    valid: NDArray[np.bool_]


def fit_surfaces(templates: Tensor, cells: Tensor, scenes: Sequence[Scene], stride: int, overlap: Overlap) -> list[Tensor]:
    """Correlate (P, C, h, w) maps with each scene at each shift, (P, s, s): less where little of the photo overlaps, 0 where too little.

    `cells` (P, h, w) are 1 where the photo is seen.
    """
    least = overlap.min_cells * (STRIDES[-1] / stride) ** 2
    seen = cells.sum(dim=(1, 2)).clamp_min(1.0)[:, None, None]

    def weighed(surface: Tensor, shared: Tensor) -> Tensor:
        share = (shared / seen).clamp(0.0, 1.0) ** overlap.power
        return torch.where(shared >= least, surface * share, torch.zeros_like(surface))

    whole = [number for number, scene in enumerate(scenes) if scene.valid.all()]
    out: dict[int, Tensor] = {}
    if whole:  # together, since they share what is made of the templates
        surfaces, shared = masked_correlation(templates, cells, torch.stack([scenes[number].features for number in whole]), None)
        out = {number: weighed(*pair) for number, *pair in zip(whole, surfaces, shared, strict=True)}
    for number, scene in enumerate(scenes):
        if number not in out:
            valid = seen_cells(scene.valid[None], stride)
            parts = zip(torch.split(templates, _TEMPLATES), torch.split(cells, _TEMPLATES), strict=True)
            found = [masked_correlation(*part, scene.features[None], valid) for part in parts]
            out[number] = weighed(*(torch.cat([pair[side][0] for pair in found]) for side in (0, 1)))
    return [out[number] for number in range(len(scenes))]
