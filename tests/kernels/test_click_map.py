"""kernels/click_map.py against its equation, written out in numpy."""

import numpy as np
import pytest
import torch

from crossgeo.kernels.click_map import click_map


@pytest.mark.parametrize(("height", "width"), [(1, 1), (63, 41), (256, 512)])
def test_the_map_is_the_equation_at_pixel_centres(height: int, width: int) -> None:
    clicks = np.array([[0.5, 0.5], [width - 0.25, height / 3]])
    row, column = np.mgrid[:height, :width] + 0.5
    for got, (x, y) in zip(click_map(torch.tensor(clicks), height, width)[:, 0], clicks, strict=True):
        expected = (1 - np.hypot(column - x, row - y) / np.hypot(height, width)) ** 2
        np.testing.assert_allclose(got.numpy(), expected, atol=2e-6)


def test_the_map_is_one_where_the_click_is() -> None:
    got = click_map(torch.tensor([[7.5, 3.5]]), 9, 17)
    assert got.shape == (1, 1, 9, 17)
    assert got[0, 0, 3, 7] == 1.0
    assert got.flatten().argmax() == 3 * 17 + 7


def test_a_click_far_outside_gives_zero_not_a_rising_square() -> None:
    got = click_map(torch.tensor([[-500.0, 20.0]]), 40, 40)
    assert got.abs().max() == 0.0


def test_a_higher_power_narrows_the_peak() -> None:
    wide, narrow = (click_map(torch.tensor([[20.0, 20.0]]), 40, 40, power) for power in (2.0, 8.0))
    torch.testing.assert_close(narrow, wide**4)


def test_a_line_is_as_near_as_its_nearest_point() -> None:
    line = torch.tensor([[10.5, 10.5, 30.5, 10.5]])
    got = click_map(line, 40, 40)[0, 0]
    assert torch.allclose(got[10, 10:31], torch.ones(21))
    assert torch.allclose(got[:, 10], click_map(torch.tensor([[10.5, 10.5]]), 40, 40)[0, 0][:, 10])  # abreast of its first end
    assert got[25, 20] == got[25, 28] and got[10, 38] < 1.0
    spot = torch.tensor([[12.0, 7.0, 12.0, 7.0]])
    assert torch.allclose(click_map(spot, 40, 40), click_map(spot[:, :2], 40, 40))
