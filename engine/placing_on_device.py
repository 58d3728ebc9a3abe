"""Drone canvases made where a GPU's network reads them: the photo goes there as bytes, and a canvas comes of it in one pass."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from crossgeo.engine.photo import Photo
from crossgeo.engine.placing import DronePlacer, Offsets
from crossgeo.engine.pose import DronePose
from crossgeo.kernels.sampling import sample_normalised
from crossgeo.models.views import DroneView, canvas_to_ground, ground_to_photo


def drone_inputs(
    placer: DronePlacer, photo: Photo, poses: Sequence[DronePose], centres_m: Offsets, view: DroneView, device: torch.device
) -> Tensor:
    """Return normalised canvases (P, 3, S, S) float32 on a device, 0 where a photo does not reach, each around a ground offset.

    They are what `placer` gives, normalised, but for whole grey levels, to which OpenCV rounds.
    """
    size, inputs = view.size_px, torch.empty((len(poses), 3, view.size_px, view.size_px), device=device)
    inputs = inputs.contiguous(memory_format=torch.channels_last)
    widths = np.array([pose.width_m * size / view.extent_m for pose in poses])
    for width_px in np.unique(widths):
        at = np.flatnonzero(widths == width_px)
        small = placer.brought_down(photo, float(width_px))
        maps = [ground_to_photo(poses[k].geometry(small)) @ canvas_to_ground(size, view.extent_m, centres_m[k]) for k in at.tolist()]
        pixels = torch.from_numpy(np.ascontiguousarray(small.pixels)).to(device)
        positions, inside = _positions(torch.from_numpy(np.stack(maps)).to(device), size, *small.pixels.shape[1::-1])
        inputs[torch.from_numpy(at).to(device)] = sample_normalised(pixels, positions, inside, view.mean, view.std)
    return inputs


def _positions(maps: Tensor, size: int, width: int, height: int) -> tuple[Tensor, Tensor]:
    """Return where (P, 3, 3) maps of a canvas of S px read a photo, (P, S, S, 2) float32 px, and whether they meet it (`views.warp`)."""
    centres = torch.arange(size, dtype=torch.float64, device=maps.device) + 0.5
    u, v, w = (
        maps[:, k, 0, None, None] * centres + maps[:, k, 1, None, None] * centres[:, None] + maps[:, k, 2, None, None] for k in range(3)
    )
    inside = (w > 0) & (u >= 0) & (v >= 0) & (u <= width * w) & (v <= height * w)
    return (torch.stack([u, v], dim=-1) / w[..., None]).float(), inside
