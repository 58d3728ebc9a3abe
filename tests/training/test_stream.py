"""training/stream.py: the batch of a step is the same whoever draws it and wherever a run starts."""

from itertools import islice

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from crossgeo.errors import InputError
from crossgeo.training.stream import batches, drawn


class Numbers:
    """A source of three numbers a batch."""

    def batch(self, rng: np.random.Generator) -> NDArray[np.float64]:
        return rng.random(3)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_steps_come_in_order_with_their_own_seeds_from_any_number_of_workers(workers: int) -> None:
    for first in (0, 5):
        found = list(islice(batches(Numbers(), 7, first, workers), 8))
        wanted = [np.random.default_rng([7, step]).random(3) for step in range(first, first + 8)]
        np.testing.assert_array_equal(found, wanted)


def fail(number: int) -> int:
    raise InputError(f"picture {number} cannot be read")


@pytest.mark.parametrize("workers", [0, 1])
def test_what_a_worker_cannot_read_is_said_in_the_workers_own_words(workers: int) -> None:
    with pytest.raises(InputError) as raised:
        next(drawn(fail, range(3, 5), workers))
    assert str(raised.value) == "picture 3 cannot be read"


def test_drawing_leaves_the_models_own_random_numbers_alone() -> None:
    torch.manual_seed(0)
    wanted = torch.rand(2)
    torch.manual_seed(0)
    next(batches(Numbers(), 1, 0, 1))
    assert torch.equal(torch.rand(2), wanted)
