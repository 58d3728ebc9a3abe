"""Ranks in blocks: those of the whole matrix, ties against us, little memory."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from numpy.typing import NDArray

from crossgeo.errors import InputError
from crossgeo.training.evaluation import retrieval
from crossgeo.training.evaluation.retrieval import Matches, average_precision, first_ranks, nearest, recalls

Rows = NDArray[np.float32]


def units(*shape: int, seed: int = 0) -> Rows:
    rows = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float32)


@pytest.fixture(params=[(256, 4096), (7, 11)])
def blocks(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranks must not depend on how the work is cut."""
    rows, columns = request.param
    monkeypatch.setattr(retrieval, "_ROWS", rows)
    monkeypatch.setattr(retrieval, "_COLUMNS", columns)


@pytest.mark.usefixtures("blocks")
def test_ranks_are_those_of_the_whole_matrix() -> None:
    queries, references = units(20, 8), units(50, 8, seed=1)
    right = np.random.default_rng(2).integers(0, 50, 20)
    scores = queries.astype(np.float64) @ references.astype(np.float64).T
    expected = (scores >= scores[np.arange(20), right][:, None]).sum(axis=1)
    assert first_ranks(queries, references, Matches.single(right)).tolist() == expected.tolist()


@pytest.mark.usefixtures("blocks")
def test_the_best_of_several_right_references_counts_and_they_do_not_stand_in_each_others_way() -> None:
    references = np.eye(5, dtype=np.float32)
    query = np.array([[0.1, 0.7, 0.6, 0.3, 0.2]], np.float32)
    assert first_ranks(query, references, Matches.of([[2, 3]])).tolist() == [2]
    assert first_ranks(query, references, Matches.of([[1, 2]])).tolist() == [1]


@pytest.mark.usefixtures("blocks")
def test_a_model_that_describes_everything_alike_finds_nothing() -> None:
    same = np.repeat(units(1, 96), 120, axis=0)
    ranks = first_ranks(same[:60], same, Matches.single(np.arange(60)))
    assert (ranks == 120).all()
    assert not recalls(ranks, 120)["1%"].any()
    assert nearest(same[:60], same).tied.all()


@pytest.mark.usefixtures("blocks")
def test_a_wrong_twin_takes_the_credit_even_where_float32_rounds_in_our_favour() -> None:
    queries = units(40, 768)
    twins = np.concatenate([queries, queries])  # the same numbers in other columns of another block
    assert (first_ranks(queries, twins, Matches.single(np.arange(40))) == 2).all()
    assert (first_ranks(queries, twins, Matches.of([[n, n + 40] for n in range(40)])) == 1).all()


@pytest.mark.usefixtures("blocks")
def test_the_best_of_several_headings_counts_and_is_named() -> None:
    references = units(30, 16, seed=1)
    queries = units(10, 4, 16, seed=2)
    queries[:, 2] = references[:10]
    assert (first_ranks(queries, references, Matches.single(np.arange(10))) == 1).all()
    best = nearest(queries, references)
    assert best.index.tolist() == list(range(10))
    assert (best.heading == 2).all() and not best.tied.any()
    assert best.score == pytest.approx(np.ones(10), abs=1e-6)


@pytest.mark.usefixtures("blocks")
def test_average_precision_is_the_area_by_trapezia() -> None:
    references = np.eye(6, dtype=np.float32)
    query = np.array([[0.6, 0.5, 0.4, 0.3, 0.2, 0.1]], np.float32)
    # Right ones at places 1 and 3: (1 + 1) / 2 / 2 + (1 / 2 + 2 / 3) / 2 / 2.
    assert average_precision(query, references, Matches.of([[0, 2]])) == pytest.approx([0.5 + 0.25 * (0.5 + 2 / 3)])
    # One right one at place 2: (0 + 1 / 2) / 2. Questions with fewer right ones are not padded into the area.
    both = average_precision(np.repeat(query, 2, axis=0), references, Matches.of([[0, 2], [1]]))
    assert both == pytest.approx([0.5 + 0.25 * (0.5 + 2 / 3), 0.25])


def test_one_percent_is_the_first_hundredth_rounded_down_and_left_out_below_a_hundred() -> None:
    ranks = np.array([1, 2, 3])
    assert recalls(ranks, 299)["1%"].tolist() == [True, True, False]
    assert "1%" not in recalls(ranks, 99)


def test_twenty_thousand_by_twenty_thousand_takes_little_memory() -> None:
    queries, references = units(20_000, 64), units(20_000, 64, seed=1)
    matches = Matches.single(np.arange(20_000))
    tracemalloc.start()
    ranks = first_ranks(queries, references, matches)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 64 << 20  # the whole matrix would take 1.6 GB
    assert 9_000 < np.median(ranks) < 11_000


def test_what_is_no_number_is_refused_rather_than_found() -> None:
    broken = units(3, 8)
    broken[1, 2] = np.nan
    with pytest.raises(InputError, match="no numbers"):
        first_ranks(broken, units(5, 8), Matches.single(np.arange(3)))
    with pytest.raises(InputError, match="no numbers"):
        first_ranks(units(5, 8), broken, Matches.single(np.array([0, 0, 0, 0, 0])))


def test_what_does_not_go_together_is_refused() -> None:
    with pytest.raises(InputError, match="go together"):
        first_ranks(units(3, 8), units(5, 9), Matches.single(np.arange(3)))
    with pytest.raises(InputError, match="3 questions came for 2"):
        first_ranks(units(3, 8), units(5, 8), Matches.single(np.arange(2)))
    with pytest.raises(InputError, match="outside of the gallery"):
        first_ranks(units(3, 8), units(5, 8), Matches.single(np.array([0, 1, 5])))
    with pytest.raises(InputError, match="question 1 has no right reference"):
        Matches.of([[0], []])
