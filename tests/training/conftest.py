"""A small ground with outlines, drawn from a seed."""

import cv2
import numpy as np
import pytest

from crossgeo.training.grounds import Ground, make_ground


@pytest.fixture
def ground() -> Ground:
    """Return 240 m of coloured patches at 0.25 m/px, one square building outlined in its middle."""
    rng = np.random.default_rng(5)
    small = rng.integers(0, 256, (60, 60, 3), dtype=np.uint8)
    rgb = np.asarray(cv2.resize(small, (960, 960), interpolation=cv2.INTER_CUBIC), np.uint8)
    square = np.array([[460, 470], [500, 470], [500, 510], [460, 510]], np.float32)
    return make_ground("patches", [rgb], np.ones((960, 960), np.bool_), 0.25, [square], real=True)
