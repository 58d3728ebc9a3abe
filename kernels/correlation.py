"""Masked normalised cross-correlation of feature maps (Padfield 2012, eq. 9, over channels): where a template fits in a scene."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

_TINY = 1e-6


def masked_correlation(templates: Tensor, masks: Tensor, scenes: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
    """Slide (P, C, h, w) templates over (S, C, H, W) scenes; return correlation -1..1 and overlap, both (S, P, H - h + 1, W - w + 1).

    `masks` (P, h, w) and `valid` (S, H, W) are 1 where templates and scenes count and 0 elsewhere; the overlap is the number of cells
    where both do. Each channel's mean over the overlap is taken from both, so that light and season weigh little. Where fewer than two
    cells overlap, or one side is flat, the correlation is 0. Scenes that count everywhere (`valid` None) cost a third.
    """
    count, channels, height, width = templates.shape
    seen = scenes.shape if valid is None else (len(valid), channels, *valid.shape[1:])
    if scenes.shape[1] != channels or masks.shape != (count, height, width) or seen != scenes.shape:
        shapes = tuple(templates.shape), tuple(masks.shape), tuple(scenes.shape), None if valid is None else tuple(valid.shape)
        raise ValueError(f"templates, masks, scenes and valid of shapes {shapes} do not go together")
    weight = masks.unsqueeze(1)  # (P, 1, h, w)
    if valid is None:
        return _over_whole(templates, weight, scenes)
    shown = valid.unsqueeze(1)  # (S, 1, H, W)
    # A mean taken from both sides first keeps the digits of the sums below.
    mean = (scenes * shown).sum(dim=(0, 2, 3)) / valid.sum().clamp_min(1.0)
    template = (templates - mean[None, :, None, None]) * weight
    ground = (scenes - mean[None, :, None, None]) * shown
    overlap = F.conv2d(shown, weight)  # (S, P, H', W')
    cells = overlap.clamp_min(1.0)
    product = F.conv2d(ground, template)
    of_template = F.conv2d(shown, template.reshape(count * channels, 1, height, width))
    of_template = of_template.view(len(scenes), count, channels, *of_template.shape[2:])
    of_ground = _channel_sums(ground, weight).transpose(1, 2)  # (S, P, C, H', W'), as of_template
    squares_template = F.conv2d(shown, template.square().sum(dim=1, keepdim=True))
    shared = product - (of_template * of_ground).sum(dim=2) / cells
    spread_template = squares_template - of_template.square().sum(dim=2) / cells
    spread_ground = _squares(ground, weight) - of_ground.square().sum(dim=2) / cells
    return _normalised(shared, spread_template, spread_ground, cells, overlap > 1.5), overlap


def _over_whole(templates: Tensor, weight: Tensor, scenes: Tensor) -> tuple[Tensor, Tensor]:
    """Correlate with scenes that count everywhere: at every shift all cells of a template overlap, so it is centred once for all."""
    cells = weight.sum(dim=(1, 2, 3)).clamp_min(1.0)[:, None, None]  # (P, 1, 1)
    mean = (templates * weight).sum(dim=(2, 3), keepdim=True) / cells[:, None]
    template = (templates - mean) * weight  # sums to 0 over each channel, so the scene's mean drops out of the product
    ground = scenes - scenes.mean(dim=(2, 3), keepdim=True)
    shared = F.conv2d(ground, template)  # (S, P, H', W')
    spread_template = template.square().sum(dim=(1, 2, 3))[:, None, None]
    # One scene at a time: a sum for each channel, template and shift is much for a cache.
    sums = torch.cat([_channel_sums(one, weight).square().sum(dim=1) for one in torch.split(ground, 1)])
    spread_ground = _squares(ground, weight) - sums / cells
    overlap = weight.sum(dim=(1, 2, 3))[None, :, None, None].expand_as(shared)
    return _normalised(shared, spread_template, spread_ground, cells, overlap > 1.5), overlap


def _channel_sums(ground: Tensor, weight: Tensor) -> Tensor:
    """Sum each channel of (S, C, H, W) under each (P, 1, h, w) weight, at every shift: (S, C, P, H', W')."""
    sums = F.conv2d(ground.flatten(0, 1).unsqueeze(1), weight)
    return sums.view(*ground.shape[:2], *sums.shape[1:])


def _squares(ground: Tensor, weight: Tensor) -> Tensor:
    """Sum the squares of (S, C, H, W) under each (P, 1, h, w) weight, at every shift: (S, P, H', W')."""
    return F.conv2d(ground.square().sum(dim=1, keepdim=True), weight)


def _normalised(shared: Tensor, spread_template: Tensor, spread_ground: Tensor, cells: Tensor, enough: Tensor) -> Tensor:
    enough = enough & (spread_template > _TINY * cells) & (spread_ground > _TINY * cells)
    # Masked before the root: its slope at nothing is infinite, and infinite times zero is no gradient.
    scale = torch.sqrt(torch.where(enough, spread_template * spread_ground, torch.ones_like(shared)))
    return torch.where(enough, shared / scale, torch.zeros_like(shared))


def seen_cells(masks: NDArray[np.bool_], stride: int) -> Tensor:
    """Reduce (B, S, S) masks to (B, S / stride, S / stride): 1 where a cell and its neighbours are wholly seen.

    A cell beside unseen ground has been touched by it. The rim of the picture counts as seen.
    """
    share = F.avg_pool2d(torch.from_numpy(masks).float().unsqueeze(1), stride)
    return -F.max_pool2d(-(share > 0.99).float(), 3, 1, 1)[:, 0]
