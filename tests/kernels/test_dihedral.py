"""kernels/dihedral.py: images, points and boxes turn together."""

import pytest
import torch

from crossgeo.kernels.dihedral import TURNS, turn_images, turn_points, unturn_boxes, unturn_images


@pytest.mark.parametrize("turn", range(TURNS))
def test_a_marked_rectangle_is_found_where_it_was(turn: int) -> None:
    image = torch.zeros(12, 12)
    image[2:5, 1:8] = 1.0  # rows 2-5, columns 1-8
    turned = turn_images(image, turn)
    rows, columns = turned.nonzero().unbind(1)
    box = torch.tensor([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], dtype=torch.float32)
    assert unturn_boxes(box, turn, 12.0).tolist() == [1.0, 2.0, 8.0, 5.0]


@pytest.mark.parametrize("turn", range(TURNS))
def test_a_point_goes_where_its_pixel_goes(turn: int) -> None:
    image = torch.zeros(2, 9, 9)
    image[:, 2, 6] = 1.0
    x, y = turn_points(torch.tensor([6.5, 2.5]), turn, 9.0).tolist()
    assert turn_images(image, turn)[1, int(y), int(x)] == 1.0


def test_the_eight_turns_are_eight() -> None:
    image = torch.arange(9.0).reshape(3, 3)
    assert len({tuple(turn_images(image, turn).flatten().tolist()) for turn in range(TURNS)}) == TURNS


@pytest.mark.parametrize("turn", range(TURNS))
def test_a_turn_is_taken_back(turn: int) -> None:
    image = torch.arange(18.0).reshape(2, 3, 3)
    assert torch.equal(unturn_images(turn_images(image, turn), turn), image)
