"""Masked normalised cross-correlation of feature maps (Lewis 1995, eq. 2, over channels): where a template fits in a scene."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def masked_correlation(templates: Tensor, masks: Tensor, scenes: Tensor) -> Tensor:
    """Slide (P, C, h, w) templates over their own (P, C, H, W) scenes; return the correlation -1..1 as (P, H - h + 1, W - w + 1).

    `masks` (P, h, w) is 1 where a template counts and 0 elsewhere. Each channel's mean under the mask is taken from template and scene,
    so that light and season weigh little. A template without any counted cell correlates with nothing: 0.
    """
    count, channels, height, width = templates.shape
    if scenes.shape[:2] != (count, channels) or masks.shape != (count, height, width):
        shapes = tuple(templates.shape), tuple(masks.shape), tuple(scenes.shape)
        raise ValueError(f"templates, masks and scenes of shapes {shapes} do not go together")
    weight = masks.unsqueeze(1)  # (P, 1, h, w)
    cells = weight.sum(dim=(2, 3), keepdim=True)  # (P, 1, 1, 1)
    mean = (templates * weight).sum(dim=(2, 3), keepdim=True) / cells.clamp_min(1.0)
    centred = (templates - mean) * weight  # (P, C, h, w)
    flat = scenes.reshape(1, count * channels, *scenes.shape[2:])
    shared = F.conv2d(flat, centred, groups=count)[0]  # (P, H', W')
    kernels = weight.expand(-1, channels, -1, -1).reshape(count * channels, 1, height, width)
    sums = F.conv2d(flat, kernels, groups=count * channels)[0].reshape(count, channels, *shared.shape[1:])
    squares = F.conv2d(scenes.square().sum(dim=1).unsqueeze(0), weight, groups=count)[0]  # (P, H', W')
    spread = squares - sums.square().sum(dim=1) / cells[:, 0].clamp_min(1.0)
    scale = torch.sqrt(spread.clamp_min(1e-6)) * centred.flatten(1).norm(dim=1).clamp_min(1e-6)[:, None, None]
    correlation: Tensor = shared / scale
    return correlation
