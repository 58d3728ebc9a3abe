"""Cells of a report: the answers of one or several models and of the controls under one field of view, and their figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from crossgeo.training.evaluation.places import Answered, figures_json, heading_figures, place_figures, recall_figures, status_counts
from crossgeo.training.evaluation.statistics import Figure, over_seeds, paired_medians, paired_shares

Groups = dict[str, dict[str, Figure]]  # by protocol, and "metres" and "heading"


@dataclass(frozen=True)
class JudgedCell:
    """One field of view, the heading given or not (None where photos have none): models of several training seeds, and controls."""

    fov_deg: float
    heading_known: bool | None
    models: tuple[Sequence[Answered], ...]
    controls: Mapping[str, Sequence[Answered]] = field(default_factory=dict)
    against: Sequence[Answered] | None = None  # another model's answers to the same questions
    chance: Mapping[str, Mapping[str, float]] = field(default_factory=dict)  # in the groups of the figures

    @property
    def heading(self) -> str:
        """Say what is known of the heading."""
        return "none" if self.heading_known is None else "known" if self.heading_known else "unknown"

    def to_json(self, references: int | None) -> dict[str, Any]:
        """Return all figures as plain data."""
        every = [groups_of(answered, references) for answered in self.models]
        statuses = [status_counts(answered) for answered in self.models]
        return {
            "fov_deg": self.fov_deg,
            "heading": self.heading,
            "questions": len(self.models[0]),
            "models": [
                groups_json(groups) | ({"status": counts} if counts else {}) for groups, counts in zip(every, statuses, strict=True)
            ],
            "over_seeds": groups_json(groups_over_seeds(every)) if len(every) > 1 else None,
            "against": None if self.against is None else groups_json(difference(self.against, self.models[0])),
            "controls": {name: groups_json(groups_of(answered, references)) for name, answered in self.controls.items()},
            "chance": {group: dict(values) for group, values in self.chance.items()},
        }


def groups_of(answered: Sequence[Answered], references: int | None) -> Groups:
    """Return the figures of a model's answers: of each protocol, in metres, of headings, as far as there are any."""
    groups: Groups = {} if references is None else recall_figures(answered, references)
    for name, figures in (("metres", place_figures(answered)), ("heading", heading_figures(answered))):
        if figures is not None:
            groups[name] = figures
    return groups


def groups_over_seeds(every: Sequence[Groups]) -> Groups:
    """Return the mean and Student's interval of each figure over models of several training seeds."""
    shared = {group: [name for name in figures if all(name in own.get(group, {}) for own in every)] for group, figures in every[0].items()}
    return {group: {name: over_seeds([own[group][name].value for own in every]) for name in names} for group, names in shared.items()}


def difference(first: Sequence[Answered], second: Sequence[Answered]) -> Groups:
    """Return by how much the second model does better on the same questions: R@1 by protocol, shares within 25 m, median metres."""
    if [one.id for one in first] != [one.id for one in second]:
        raise ValueError("a paired difference needs the same questions in the same order")
    groups: Groups = {}
    for protocol in second[0].ranks:
        hits = [np.array([one.ranks[protocol] <= 1 for one in answers]) for answers in (first, second)]
        groups[protocol] = {"R@1": paired_shares(*hits)}
    a, b = (np.array([np.inf if one.metres is None else one.metres for one in answers]) for answers in (first, second))
    if np.isfinite(a).any() or np.isfinite(b).any():
        groups["metres"] = {"within_25_m": paired_shares(a <= 25.0, b <= 25.0), "median_m": paired_medians(a, b)}
    return groups


def groups_json(groups: Groups) -> dict[str, Any]:
    """Return figures as plain data."""
    return {group: figures_json(figures) for group, figures in groups.items()}
