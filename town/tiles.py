"""A few squares of a small town from above, for checks that need pictures of ground where there is none yet."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from crossgeo.town.aerial import render_ortho
from crossgeo.town.layout import make_town
from crossgeo.town.scene import draw_scene

_SEED, _SIZE_M, _GSD_M = 9300, 300.0, 0.25


def town_tiles(count: int = 24, side_px: int = 256) -> NDArray[np.uint8]:
    """Return (N, S, S, 3) uint8 RGB squares of 64 m of a simulated town, the same each time."""
    town = make_town(_SEED, _SIZE_M, _GSD_M)
    ortho = render_ortho(town, draw_scene(np.random.default_rng(_SEED)), _GSD_M)
    rng = np.random.default_rng(0)
    corners = rng.integers(0, np.array(ortho.shape[:2]) - side_px + 1, (count, 2))
    return np.stack([ortho[row : row + side_px, column : column + side_px] for row, column in corners]).astype(np.uint8)
