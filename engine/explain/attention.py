"""What an object network attended to when it answered a click: maps of CVCAM and MHSAM, of all the turns in which it looked."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.engine.locate import Shown
from crossgeo.kernels.dihedral import turn_images, unturn_images
from crossgeo.models.attention_maps import AttentionMaps, watched
from crossgeo.models.object_network import ObjectNetwork

Edges = tuple[float, float, float, float]
Map = NDArray[np.float64]


@dataclass(frozen=True)
class ClickMaps:
    """Maps over the window (g, g) and over the photo's view (h, w), means over heads and turns; empty or None without the module.

    `towards` and `back` sum to 1: they are shares of what is taken.
    """

    towards: tuple[Map, ...]  # of each iteration of CVCAM: what the clicked place in the photo takes from where in the window
    back: Map | None  # what the box's cells take from where in the photo, in the block of CVCAM that fuses
    spatial: Map | None  # by how much MHSAM weighs each cell of the window, 0 to 1, its channels' mean


def click_maps(network: ObjectNetwork, shown: Shown, box_px: Edges) -> ClickMaps:
    """Run a network in torch on all that was shown of a click, and return its maps; `box_px` is in pixels of the window.

    One turn at a time, so that memory is that of one.
    """
    towards: list[list[Tensor]] = []
    back: list[Tensor] = []
    spatial: list[Tensor] = []
    network.eval()
    with torch.inference_mode():
        for row, (window_turn, photo_turn) in enumerate(zip(shown.window_turns, shown.photo_turns, strict=True)):
            one = slice(row, row + 1)
            features = network.encode_reference(shown.windows[one], None if shown.sights is None else shown.sights[one])
            query = network.encode_query(shown.photos[one], shown.clicks[one])
            with watched(network) as maps:
                network.locate(features, query)
            side_px = shown.photos.shape[-1]
            own = _towards(maps, shown.clicks[row], side_px)
            towards.append([unturn_images(level, window_turn) for level in own])
            seen = _back(maps, turn_images(box_cells(box_px, features.grid.shape[-1], shown.windows.shape[-1]), window_turn))
            back += [] if seen is None else [unturn_images(seen, photo_turn)]
            spatial += [unturn_images(weights[0].mean(dim=0), window_turn) for weights in maps.spatial]
    return ClickMaps(
        tuple(_mean([own[level] for own in towards]) for level in range(len(towards[0]))),
        _mean(back) if back else None,
        _mean(spatial) if spatial else None,
    )


def click_cells(click: Tensor, side: int, side_px: int) -> Tensor:
    """Return how much of a click (2,) px each of (side, side) cells has: the four about it share it as they lie near."""
    at = (click.double() * side / side_px - 0.5).clamp(0.0, side - 1.0)
    steps = torch.arange(side, dtype=torch.float64)
    x, y = ((1.0 - (steps - place).abs()).clamp(min=0.0) for place in at)
    shares: Tensor = y[:, None] * x[None, :]
    return shares


def box_cells(box_px: Edges, side: int, side_px: int) -> Tensor:
    """Return what share of a box x0, y0, x1, y1 px each of (side, side) cells has; the cell of its middle where it has no area."""
    low = torch.arange(side, dtype=torch.float64) * side_px / side
    high = low + side_px / side
    x, y = (
        (torch.minimum(high, high.new_tensor(box_px[k + 2])) - torch.maximum(low, low.new_tensor(box_px[k]))).clamp(min=0.0) for k in (0, 1)
    )
    area = y[:, None] * x[None, :]
    if float(area.sum()) <= 0.0:
        return click_cells(torch.tensor([(box_px[0] + box_px[2]) / 2.0, (box_px[1] + box_px[3]) / 2.0]), side, side_px)
    share: Tensor = area / area.sum()
    return share


def _towards(maps: AttentionMaps, click: Tensor, side_px: int) -> list[Tensor]:
    """What the clicked cells take from the window (g, g), of each iteration."""
    out = []
    for weights in maps.photo_to_window:  # (1, H, N, M)
        cells = click_cells(click, math.isqrt(weights.shape[-2]), side_px).flatten()
        out.append(_square(cells @ weights[0].double().mean(dim=0)))
    return out


def _back(maps: AttentionMaps, cells: Tensor) -> Tensor | None:
    """What some cells (g, g) of the window take from the photo (h, w), in the last block."""
    if not maps.window_to_photo:
        return None
    return _square(cells.flatten() @ maps.window_to_photo[-1][0].double().mean(dim=0))  # (M) @ (M, N)


def _square(row: Tensor) -> Tensor:
    side = math.isqrt(len(row))
    return row.view(side, side)


def _mean(maps: list[Tensor]) -> Map:
    return np.asarray(torch.stack(maps).double().mean(dim=0).numpy(), np.float64)
