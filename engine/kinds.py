"""Telling a street photo from a drone's by what it shows, where nothing in the file does.

A street photo has sky along its upper edge, or many edges that stand upright; ground seen from above has neither.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo.engine.levelling import shrunken, upright_lines
from crossgeo.models.views import Image

_SIDE_PX = 512  # photos are looked at no larger than this
_SMOOTH, _SMOOTH_SHARE, _PATCH_PX = 12.0, 0.8, 9  # Sobel gradient of open sky, and how much of a patch must be as smooth
_RIM = slice(2, 4)  # rows next to the upper edge, clear of what filters make of it
# None of 58 drone photos (18 of Brighton, 40 simulated) reached either, of 120 simulated street photos all and of 12 real ones 9.
_SKY_SHARE = 0.09  # of the upper edge, more than of the lower one
_UPRIGHT = 8.0  # photo heights of upright edges
_LEAN_DEG = 10.0


def looks_like_street(photo: Image) -> bool:
    """Whether an (H, W, 3) photo was more likely taken in a street than from above."""
    uprights = float(upright_lines(photo, _LEAN_DEG, _SIDE_PX)[1].sum())
    return uprights >= _UPRIGHT or _sky_share(shrunken(photo, _SIDE_PX)) >= _SKY_SHARE


def _sky_share(photo: Image) -> float:
    """Return how much more of the upper edge than of the lower one lies in smooth regions; those that reach both are water or fields."""
    light = cv2.cvtColor(photo, cv2.COLOR_RGB2LAB)[..., 0].astype(np.float32)
    gradient = np.hypot(cv2.Sobel(light, cv2.CV_32F, 1, 0), cv2.Sobel(light, cv2.CV_32F, 0, 1))
    smooth = cv2.blur((gradient < _SMOOTH).astype(np.float32), (_PATCH_PX, _PATCH_PX)) > _SMOOTH_SHARE
    regions = np.asarray(cv2.connectedComponents(smooth.astype(np.uint8))[1], np.int32)
    top, foot = regions[_RIM], regions[::-1][_RIM]

    def of_its_own(edge: NDArray[np.int32], other: NDArray[np.int32]) -> float:
        return float((np.isin(edge, np.setdiff1d(edge, other)) & (edge > 0)).mean())

    return of_its_own(top, foot) - of_its_own(foot, top)
