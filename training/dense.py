"""A loss for the stem's feature maps: a photo slid over the tiles of its batch must correlate best where it was taken.

What `engine/registration.py` does at query time is trained for: each photo's softmax runs over many tiles and all shifts at once, so
that the right tile and the right metre are learned together, from whole tiles and from what is left of cut ones.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from crossgeo.kernels.correlation import masked_correlation, seen_cells
from crossgeo.training.sampling import Batch


@dataclass(frozen=True)
class DenseLoss:
    """How photos are slid over tiles in training."""

    weight: float = 0.4  # of each stride's loss beside the descriptors'
    temperature: float = 0.05  # of correlations
    reach_m: tuple[float, ...] = (9.0, 12.0)  # to each side, for each stride
    sigma_cells: float = 0.35  # how far around the truth a shift is still right
    min_overlap: float = 0.04  # of a canvas's cells, under which a shift has no say
    chunk: tuple[int, ...] = (18, 54)  # photos and tiles compared with each other at once, for each stride


def dense_loss(
    templates: Tensor,
    cells: Tensor,
    tiles: Tensor,
    valid: Tensor,
    offset_m: Tensor,
    ignore: Tensor,
    cell_m: float,
    reach_m: float,
    how: DenseLoss,
) -> Tensor:
    """Return the mean cross-entropy of (tile, shift) over P photos; 0 where none can be placed.

    `templates` (P, C, s, s) and `tiles` (M, C, s, s) are maps whose `cells` and `valid` (both (., s, s)) say what was seen; `offset_m`
    (P, M, 2) is how far east and north of each tile's centre each photo's centre lies, infinite where they lie on other ground; `ignore`
    (P, M) marks pairs of which nothing is known.
    """
    reach = round(reach_m / cell_m)
    padded, shown = F.pad(tiles, [reach] * 4), F.pad(valid, [reach] * 4)
    surface, overlap = masked_correlation(templates, cells, padded, shown)
    surface, overlap = surface.transpose(0, 1), overlap.transpose(0, 1)  # (P, M, n, n)
    usable = (overlap >= how.min_overlap * cells[0].numel()) & ~ignore[:, :, None, None]
    logits = (surface / how.temperature).masked_fill(~usable, -1e4)
    steps = torch.arange(-reach, reach + 1, dtype=offset_m.dtype, device=offset_m.device) * cell_m
    east = steps - offset_m[:, :, 0, None, None]
    north = -steps[:, None] - offset_m[:, :, 1, None, None]  # rows grow southwards
    away = (east.square() + north.square()) / (how.sigma_cells * cell_m) ** 2  # (P, M, n, n)
    target = torch.where(usable & (away < 4.5), torch.exp(-0.5 * away), torch.zeros_like(away)).flatten(1)
    total = target.sum(dim=1)
    rows = total > 0.1
    if not rows.any():
        return logits.new_zeros(())
    likely = torch.log_softmax(logits.flatten(1), dim=1)
    return -((target * likely).sum(dim=1)[rows] / total[rows]).mean()


def batch_dense_loss(photos: tuple[Tensor, ...], tiles: tuple[Tensor, ...], batch: Batch, extent_m: float, how: DenseLoss) -> Tensor:
    """Return the weighted sum over strides for a batch's maps, each (B, C, s, s), of canvases `extent_m` wide."""
    device, size_px = photos[0].device, batch.views.shape[1]
    offset, ignore = torch.from_numpy(batch.offset_m).to(device), torch.from_numpy(batch.ignore).to(device)
    imagery = np.asarray(batch.tiles.max(axis=3) > 0)
    loss = torch.zeros((), device=device)
    for own, aerial, reach_m, chunk in zip(photos, tiles, how.reach_m, how.chunk, strict=True):
        stride = size_px // own.shape[-1]
        cells, valid = seen_cells(batch.masks, stride).to(device), seen_cells(imagery, stride).to(device)
        parts = [slice(start, start + chunk) for start in range(0, len(own), chunk)]
        for part in parts:
            maps = own[part].float(), cells[part], aerial[part].float(), valid[part]
            loss = loss + dense_loss(*maps, offset[part, part], ignore[part, part], extent_m * stride / size_px, reach_m, how) / len(parts)
    return how.weight * loss
