"""Answers in metres: median, spread, shares within distances, heading errors; in a table of fields of view by heading known or not."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np

from crossgeo.errors import InputError
from crossgeo.training.evaluation.retrieval import recalls
from crossgeo.training.evaluation.statistics import Figure, median, share

WITHIN_M = (1.0, 5.0, 25.0, 50.0)
NEAR_M = 25.0  # headings are asked about where the place is this right, too
WITHIN_DEG = 10.0
FOVS_DEG = (360.0, 180.0, 90.0, 70.0)

Truth = TypeVar("Truth")


@dataclass(frozen=True)
class Answered:
    """How one question was answered."""

    id: str
    metres: float | None = None  # from the best place to the truth; None without a place, and where the best place is tied with another
    heading_error_deg: float | None = None  # None where it was given, or where there is no truth
    ranks: Mapping[str, int] = field(default_factory=dict)  # of the best right reference, from 1, by protocol
    precision: Mapping[str, float] = field(default_factory=dict)  # average precision by protocol
    status: str | None = None  # of the whole engine's answers


# Fills a cell: truths, field of view in degrees, whether the heading is given -> an answer for each truth.
Answers = Callable[[Sequence[Truth], float, bool], Sequence[Answered]]


@dataclass(frozen=True)
class Cell:
    """All answers under one field of view, the heading given or not."""

    fov_deg: float
    heading_known: bool
    answered: tuple[Answered, ...]


def cells(
    truths: Sequence[Truth], answers: Callable[[Sequence[Truth], float, bool], Sequence[Answered]], fovs_deg: Iterable[float],
    headings_known: Iterable[bool],
) -> list[Cell]:  # fmt: skip
    """Ask all truths under each field of view and heading; raise InputError for no truths, ValueError when answers are left out."""
    if not truths:
        raise InputError("there is nothing to evaluate: the set is empty")
    table = []
    headings = tuple(headings_known)
    for fov_deg in fovs_deg:
        for known in headings:
            answered = tuple(answers(truths, fov_deg, known))
            if len(answered) != len(truths):
                raise ValueError(f"{len(answered)} answers came for {len(truths)} truths")
            table.append(Cell(fov_deg, known, answered))
    return table


def place_figures(answered: Sequence[Answered], seed: int = 0) -> dict[str, Figure] | None:
    """Return the figures in metres, None where no truth has a place; a question without a place counts as infinitely far off.

    `median_m` with its interval, `quartile_1_m` and `quartile_3_m` (its spread), `within_1_m` and so on.
    """
    metres = np.array([np.inf if one.metres is None else one.metres for one in answered])
    if len(metres) == 0 or np.isinf(metres).all():
        return None
    ordered = np.sort(metres)
    quartiles = {f"quartile_{n}_m": float(ordered[min(len(ordered) - 1, (n * len(ordered)) // 4)]) for n in (1, 3)}
    figures = {"median_m": median(metres, seed)}
    figures |= {name: Figure(value, None, None, len(metres)) for name, value in quartiles.items()}
    return figures | {f"within_{limit:g}_m": share(metres <= limit) for limit in WITHIN_M}


def heading_figures(answered: Sequence[Answered], seed: int = 0) -> dict[str, Figure] | None:
    """Return the median heading error and the share within 10 degrees, of all and of those within 25 m; None where none was found."""
    found = [(one.heading_error_deg, one.metres) for one in answered if one.heading_error_deg is not None]
    if not found:
        return None
    errors = np.array([error for error, _ in found])
    near = np.array([metres is not None and metres <= NEAR_M for _, metres in found])
    figures = {"median_deg": median(errors, seed), f"within_{WITHIN_DEG:g}_deg": share(errors <= WITHIN_DEG)}
    if near.any():
        figures[f"within_{WITHIN_DEG:g}_deg_of_those_within_{NEAR_M:g}_m"] = share(errors[near] <= WITHIN_DEG)
    return figures


def recall_figures(answered: Sequence[Answered], references: int) -> dict[str, dict[str, Figure]]:
    """Return R@1, R@5, R@10, R@1 % and AP by protocol."""
    out: dict[str, dict[str, Figure]] = {}
    for protocol in answered[0].ranks if answered else ():
        ranks = np.array([one.ranks[protocol] for one in answered], np.int64)
        out[protocol] = {f"R@{k}": share(hits) for k, hits in recalls(ranks, references).items()}
        if protocol in answered[0].precision:
            values = [one.precision[protocol] for one in answered]
            out[protocol]["AP"] = Figure(float(np.mean(values)), None, None, len(values))
    return out


def status_counts(answered: Sequence[Answered]) -> dict[str, int]:
    """Return how many answers have each status, and how many of them were within 25 m."""
    names = sorted({one.status for one in answered if one.status is not None})
    counts = {name: sum(one.status == name for one in answered) for name in names}
    right = {f"{name}_within_25_m": sum(one.status == name and _near(one) for one in answered) for name in names}
    return counts | right


def figures_json(figures: Mapping[str, Figure] | None) -> dict[str, Any] | None:
    """Return figures as plain data."""
    return None if figures is None else {name: figure.to_json() for name, figure in figures.items()}


def turned_deg(answered_deg: float, true_deg: float) -> float:
    """Return the angle between two headings, 0 to 180."""
    return abs((answered_deg - true_deg + 180.0) % 360.0 - 180.0)


def _near(one: Answered) -> bool:
    return one.metres is not None and one.metres <= NEAR_M
