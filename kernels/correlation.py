"""Masked normalised cross-correlation of feature maps (Padfield 2012, eq. 9, over channels): where a template fits in a scene."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_TINY = 1e-6


def masked_correlation(templates: Tensor, masks: Tensor, scenes: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Slide (P, C, h, w) templates over (S, C, H, W) scenes; return correlation -1..1 and overlap, both (S, P, H - h + 1, W - w + 1).

    `masks` (P, h, w) and `valid` (S, H, W) are 1 where templates and scenes count and 0 elsewhere; the overlap is the number of cells
    where both do. Each channel's mean over the overlap is taken from both, so that light and season weigh little. Where fewer than two
    cells overlap, or one side is flat, the correlation is 0.
    """
    count, channels, height, width = templates.shape
    if scenes.shape[1] != channels or masks.shape != (count, height, width) or valid.shape != (len(scenes), *scenes.shape[2:]):
        shapes = tuple(templates.shape), tuple(masks.shape), tuple(scenes.shape), tuple(valid.shape)
        raise ValueError(f"templates, masks, scenes and valid of shapes {shapes} do not go together")
    weight = masks.unsqueeze(1)  # (P, 1, h, w)
    shown = valid.unsqueeze(1)  # (S, 1, H, W)
    # A mean taken from both sides first keeps the digits of the sums below.
    mean = (scenes * shown).sum(dim=(0, 2, 3)) / valid.sum().clamp_min(1.0)
    template = (templates - mean[None, :, None, None]) * weight
    ground = (scenes - mean[None, :, None, None]) * shown
    overlap = F.conv2d(shown, weight)  # (S, P, H', W')
    cells = overlap.clamp_min(1.0)
    product = F.conv2d(ground, template)
    of_template = F.conv2d(shown, template.reshape(count * channels, 1, height, width)).unflatten(1, (count, channels))
    of_ground = F.conv2d(ground.flatten(0, 1).unsqueeze(1), weight).unflatten(0, (len(scenes), channels)).transpose(1, 2)
    squares_template = F.conv2d(shown, template.square().sum(dim=1, keepdim=True))
    squares_ground = F.conv2d(ground.square().sum(dim=1, keepdim=True), weight)
    shared = product - (of_template * of_ground).sum(dim=2) / cells  # both (S, P, C, H', W') before the sum
    spread_template = squares_template - of_template.square().sum(dim=2) / cells
    spread_ground = squares_ground - of_ground.square().sum(dim=2) / cells
    enough = (overlap > 1.5) & (spread_template > _TINY * cells) & (spread_ground > _TINY * cells)
    # Masked before the root: its slope at nothing is infinite, and infinite times zero is no gradient.
    scale = torch.sqrt(torch.where(enough, spread_template * spread_ground, torch.ones_like(shared)))
    return torch.where(enough, shared / scale, torch.zeros_like(shared)), overlap


def seen_cells(masks: NDArray[np.bool_], stride: int) -> Tensor:
    """Reduce (B, S, S) masks to (B, S / stride, S / stride): 1 where a cell and its neighbours are wholly seen.

    A cell beside unseen ground has been touched by it. The rim of the picture counts as seen.
    """
    share = F.avg_pool2d(torch.from_numpy(masks).float().unsqueeze(1), stride)
    return -F.max_pool2d(-(share > 0.99).float(), 3, 1, 1)[:, 0]
