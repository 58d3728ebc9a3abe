"""kernels/polar.py against the published formula, pixel by pixel."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo.kernels.polar import polar_definition, polar_transform

Transform = Callable[[torch.Tensor, int, int], torch.Tensor]
SIZES = [(37, 11, 26), (64, 32, 128), (255, 9, 63), (7, 128, 12)]  # S, H, W


def _value(image: NDArray[np.float64], row: int, column: int) -> float:
    side = len(image)
    return float(image[row, column]) if 0 <= row < side and 0 <= column < side else 0.0


def _golden(image: NDArray[np.float64], height: int, width: int) -> NDArray[np.float64]:
    """Sample by x_row = S/2 + S/2/H (H-1-i) cos(2 pi j / W), y_col = S/2 - S/2/H (H-1-i) sin(2 pi j / W), bilinearly, 0 outside."""
    half = len(image) / 2
    panorama = np.empty((height, width))
    for i in range(height):
        for j in range(width):
            row = half + half / height * (height - 1 - i) * math.cos(2 * math.pi * j / width)
            column = half - half / height * (height - 1 - i) * math.sin(2 * math.pi * j / width)
            top, left = math.floor(row), math.floor(column)
            down, right = row - top, column - left
            upper = (1 - right) * _value(image, top, left) + right * _value(image, top, left + 1)
            lower = (1 - right) * _value(image, top + 1, left) + right * _value(image, top + 1, left + 1)
            panorama[i, j] = (1 - down) * upper + down * lower
    return panorama


@pytest.mark.parametrize(("side", "height", "width"), SIZES)
@pytest.mark.parametrize("transform", [polar_definition, polar_transform])
def test_it_is_the_published_formula_at_odd_sizes(transform: Transform, side: int, height: int, width: int) -> None:
    images = np.random.default_rng(side).random((2, 2, side, side))
    given = transform(torch.from_numpy(images), height, width).numpy()
    assert given.shape == (2, 2, height, width)
    for b in range(2):
        for c in range(2):
            assert np.abs(given[b, c] - _golden(images[b, c], height, width)).max() < 1e-11


def test_the_paper_size_agrees_in_float32() -> None:
    image = torch.rand(1, 3, 256, 256, generator=torch.Generator().manual_seed(1))
    given = polar_transform(image)
    assert given.shape == (1, 3, 128, 512) and given.dtype == torch.float32
    assert (given - polar_definition(image.double())).abs().max() < 1e-4


def test_columns_look_south_west_north_and_east() -> None:
    row, column = torch.meshgrid(torch.arange(65.0), torch.arange(65.0), indexing="ij")
    panorama = polar_transform(torch.stack([row, column])[None].double(), 32, 128)[0]
    far = panorama[:, 1]  # second row from the far rim
    assert far[0, 0] > 60 and abs(far[1, 0] - 32.5) < 0.01  # south: large row
    assert far[1, 32] < 5 and abs(far[0, 32] - 32.5) < 0.01  # west: small column
    assert far[0, 64] < 5 and abs(far[1, 64] - 32.5) < 0.01  # north: small row
    assert far[1, 96] > 60 and abs(far[0, 96] - 32.5) < 0.01  # east: large column
    assert torch.allclose(panorama[:, -1], torch.full((2, 128), 32.5, dtype=torch.float64))  # last row: the centre


def test_neighbours_outside_the_square_count_as_zero() -> None:
    panorama = polar_transform(torch.ones(1, 1, 8, 8, dtype=torch.float64), 64, 4)[0, 0]
    assert panorama[0, 0].item() == pytest.approx(8 - (4 + 4 * 63 / 64), abs=1e-12)  # between the last row, 7, and nothing
    assert panorama[-1, 0].item() == pytest.approx(1.0)


def test_gradients_reach_the_aerial_pixels() -> None:
    image = torch.rand(1, 1, 9, 9, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: polar_transform(x, 5, 12), image)
