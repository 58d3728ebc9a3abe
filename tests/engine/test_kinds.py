"""engine/kinds.py: street photos told from what was taken from above, by the picture alone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from crossgeo.engine.kinds import looks_like_street
from crossgeo.models.views import Image


def ground(height_px: int = 480, width_px: int = 640, seed: int = 1) -> Image:
    """Rough ground: patches of all sizes, no direction of its own."""
    rng, total = np.random.default_rng(seed), np.zeros((height_px, width_px, 3), np.float32)
    for size in (4, 16, 64):
        coarse = rng.uniform(-1.0, 1.0, (height_px // size + 1, width_px // size + 1, 3)).astype(np.float32)
        total += cv2.resize(coarse, (width_px, height_px), interpolation=cv2.INTER_NEAREST)
    return np.clip(cv2.warpAffine(total, np.array([[0.8, 0.6, -60.0], [-0.6, 0.8, 180.0]]), (width_px, height_px),
                                  borderMode=cv2.BORDER_REFLECT) * 40.0 + 120.0, 0.0, 255.0).astype(np.uint8)  # fmt: skip


def test_rough_ground_is_no_street() -> None:
    assert not looks_like_street(ground())


@pytest.mark.parametrize("size", [(480, 640), (1200, 1600), (300, 200)])
def test_sky_along_the_upper_edge_is_a_streets(size: tuple[int, int]) -> None:
    photo = ground(*size)
    sky = np.linspace(235, 190, size[0] // 3)[:, None, None] * np.array([0.8, 0.9, 1.0])
    photo[: size[0] // 3] = sky.astype(np.uint8)
    assert looks_like_street(photo)
    assert not looks_like_street(photo[::-1])  # what is smooth along the lower edge is no sky


def test_water_from_edge_to_edge_is_no_sky() -> None:
    photo = ground()
    photo[:, :250] = 90
    assert not looks_like_street(photo)


def test_walls_that_fill_the_view_are_a_streets_but_the_same_lines_askew_are_not() -> None:
    photo = ground()
    for x in range(20, 640, 25):
        photo[40:440, x : x + 8] = 30
    assert looks_like_street(photo)
    askew = cv2.warpAffine(photo, cv2.getRotationMatrix2D((320, 240), 40.0, 1.0), (640, 480), borderMode=cv2.BORDER_REFLECT)
    assert not looks_like_street(askew)


def test_a_picture_without_any_edge_is_no_street() -> None:
    assert not looks_like_street(np.full((480, 640, 3), 128, np.uint8))
