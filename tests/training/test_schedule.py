"""training/schedule.py: the learning rate rises, then falls as a cosine or in drops."""

import pytest

from crossgeo.training.schedule import Schedule


def test_a_cosine_rises_over_its_warm_up_and_ends_at_zero() -> None:
    schedule = Schedule(warmup_share=0.1)
    assert schedule.factor(0.0, 0.01) == pytest.approx(0.1)
    assert schedule.factor(0.5) == pytest.approx(0.5)
    assert schedule.factor(1.0) == pytest.approx(0.0)


def test_drops_divide_a_run_evenly() -> None:
    schedule = Schedule(warmup_share=0.0, drops=2, drop_factor=0.1)
    assert [schedule.factor(epoch / 30) for epoch in (0, 9.9, 10, 19.9, 20, 29)] == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
