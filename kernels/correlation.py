"""Masked normalised cross-correlation of feature maps (Padfield 2012, eq. 9, over channels): where a template fits in a scene."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

_TINY = 1e-6


def masked_correlation(templates: Tensor, masks: Tensor, scene: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Slide (P, C, h, w) templates over a (C, H, W) scene; return correlation -1..1 and overlap, both (P, H - h + 1, W - w + 1).

    `masks` (P, h, w) and `valid` (H, W) are 1 where template and scene count and 0 elsewhere; the overlap is the number of cells where
    both do. Each channel's mean over the overlap is taken from both, so that light and season weigh little. Where fewer than two cells
    overlap, or one side is flat, the correlation is 0.
    """
    count, channels, height, width = templates.shape
    if scene.shape[0] != channels or masks.shape != (count, height, width) or valid.shape != scene.shape[1:]:
        shapes = tuple(templates.shape), tuple(masks.shape), tuple(scene.shape), tuple(valid.shape)
        raise ValueError(f"templates, masks, scene and valid of shapes {shapes} do not go together")
    weight = masks.unsqueeze(1)  # (P, 1, h, w)
    # A mean taken from both sides first keeps the digits of the sums below.
    mean = (scene * valid).sum(dim=(1, 2), keepdim=True) / valid.sum().clamp_min(1.0)
    template = (templates - mean) * weight
    ground = (scene - mean) * valid  # (C, H, W)
    shown = valid[None, None]  # (1, 1, H, W)
    overlap = F.conv2d(shown, weight)[0]  # (P, H', W')
    cells = overlap.clamp_min(1.0)
    product = F.conv2d(ground[None], template)[0]
    of_template = F.conv2d(shown, template.reshape(count * channels, 1, height, width))[0]
    of_template = of_template.reshape(count, channels, *overlap.shape[1:])  # (P, C, H', W')
    of_ground = F.conv2d(ground.unsqueeze(1), weight).transpose(0, 1)  # (P, C, H', W')
    squares_template = F.conv2d(shown, template.square().sum(dim=1, keepdim=True))[0]
    squares_ground = F.conv2d(ground.square().sum(dim=0)[None, None], weight)[0]
    shared = product - (of_template * of_ground).sum(dim=1) / cells
    spread_template = squares_template - of_template.square().sum(dim=1) / cells
    spread_ground = squares_ground - of_ground.square().sum(dim=1) / cells
    enough = (overlap > 1.5) & (spread_template > _TINY * cells) & (spread_ground > _TINY * cells)
    scale = torch.sqrt((spread_template * spread_ground).clamp_min(_TINY * _TINY))
    return torch.where(enough, shared / scale, torch.zeros_like(shared)), overlap
