"""Paths and probabilities, held against all assignments of small cases counted out one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from crossgeo.engine.sequences.path import NONE, Trellis, best_path, marginals

NATS = st.one_of(st.floats(-9.0, 0.0), st.just(-math.inf))


@st.composite
def trellises(draw: st.DrawFn) -> Trellis:
    many, k, gaps = draw(st.integers(1, 5)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    rivals = draw(hnp.arrays(np.float64, (many, k), elements=NATS))
    links = tuple(draw(hnp.arrays(np.float64, (max(0, many - gap), k, k), elements=NATS)) for gap in range(1, gaps + 1))
    return Trellis(rivals, links, draw(st.floats(-5.0, -0.1)), draw(st.floats(-8.0, -0.1)))


def ways(trellis: Trellis, ranks: tuple[int, ...]) -> list[float]:
    """The nats of all ways to cut an assignment into chains."""
    taken = [t for t, rank in enumerate(ranks) if rank != NONE]
    fixed = sum(trellis.rivals[t, ranks[t]] for t in taken) + trellis.none_nats * (len(ranks) - len(taken))
    choices = []
    for before, t in itertools.pairwise(taken):
        gap = t - before
        linked = [trellis.links[gap - 1][before, ranks[before], ranks[t]]] if gap <= len(trellis.links) else []
        choices.append([trellis.begin_nats, *linked])
    first = trellis.begin_nats if taken else 0.0
    return [float(fixed + first + sum(choice)) for choice in itertools.product(*choices)]


def assignments(trellis: Trellis) -> dict[tuple[int, ...], list[float]]:
    many, k = trellis.rivals.shape
    return {ranks: ways(trellis, ranks) for ranks in itertools.product(range(-1, k), repeat=many)}


@settings(max_examples=120, deadline=None)
@given(trellises())
def test_no_assignment_is_better_than_the_path(trellis: Trellis) -> None:
    ranks, links = best_path(trellis)
    every = assignments(trellis)
    best = max(nats for all_ways in every.values() for nats in all_ways)
    assert max(every[tuple(ranks.tolist())]) == pytest.approx(best, abs=1e-9)
    for t, before in enumerate(links.tolist()):
        if before != NONE:
            assert ranks[t] != NONE
            assert np.isfinite(trellis.links[t - before - 1][before, ranks[before], ranks[t]])
            assert (ranks[before + 1 : t] == NONE).all()


@settings(max_examples=120, deadline=None)
@given(trellises())
def test_probabilities_are_those_of_all_assignments(trellis: Trellis) -> None:
    every = assignments(trellis)
    total = math.fsum(math.exp(nats) for all_ways in every.values() for nats in all_ways)
    wanted = np.zeros(trellis.rivals.shape)
    for ranks, all_ways in every.items():
        for t, rank in enumerate(ranks):
            if rank != NONE:
                wanted[t, rank] += math.fsum(math.exp(nats) for nats in all_ways) / total
    np.testing.assert_allclose(marginals(trellis), wanted, atol=1e-9)


def test_a_long_drive_neither_overflows_nor_underflows() -> None:
    many = 3000
    rivals = np.where(np.arange(4) == 2, 0.0, -700.0) * np.ones((many, 4))
    links = (np.zeros((many - 1, 4, 4)), np.zeros((many - 2, 4, 4)))
    trellis = Trellis(rivals, links, -800.0, -10.0)
    assert (best_path(trellis)[0] == 2).all()
    chance = marginals(trellis)
    np.testing.assert_allclose(chance[:, 2], 1.0, atol=1e-6)


def test_photos_without_any_rival_take_none() -> None:
    trellis = Trellis(np.full((4, 2), -np.inf), (np.zeros((3, 2, 2)),), -1.0, -1.0)
    assert best_path(trellis)[0].tolist() == [NONE] * 4
    assert marginals(trellis).tolist() == [[0.0, 0.0]] * 4
