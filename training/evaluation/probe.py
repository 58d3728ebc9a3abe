"""Which aerial view weights were trained with, found by asking about a few pairs: the tensors of both views have the same shapes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import comb
from typing import Any

import numpy as np
from torch import Tensor

from crossgeo.errors import InputError, WeightsError
from crossgeo.models.egotr import EgoTR, EgoTRConfig
from crossgeo.models.published.importing import AerialView
from crossgeo.training.evaluation.describing import PairModel
from crossgeo.training.evaluation.judging import DescriptorAnswers, ModelJudge
from crossgeo.training.evaluation.questions import Progress, Questions
from crossgeo.training.pairs import PairSet

PAIRS, LEAST_PAIRS = 24, 8
SURE = 0.01  # how often chance alone may make the views as unlike
VIEWS: tuple[AerialView, ...] = ("polar", "plain")

ReadAs = Callable[[AerialView], tuple[Mapping[str, Any], Mapping[str, Tensor]]]  # config and view of a card, and the tensors


@dataclass(frozen=True)
class ViewProbe:
    """At which ranks photos found their own picture among those of all pairs asked about, by view, and the view that this speaks for."""

    set_name: str
    ranks: Mapping[AerialView, Sequence[int]]
    view: AerialView | None  # None: neither

    def to_json(self) -> dict[str, Any]:
        """Return plain data for a card."""
        own: dict[str, Any] = {
            view: {"first": self._first(view), "median_rank": float(np.median(ranks))} for view, ranks in self.ranks.items()
        }
        return {"set": self.set_name, "pairs": self.pairs, **own, "view": self.view}

    @property
    def pairs(self) -> int:
        """How many pairs were asked about."""
        return len(self.ranks["polar"])

    def says(self) -> str:
        """Return what was found in words."""
        found = ", ".join(f"{self._first(view)} with the {view} view" for view in self.ranks)
        return f"of {self.pairs} photos of {self.set_name}, {found} find their own picture first"

    def _first(self, view: AerialView) -> int:
        return sum(rank == 1 for rank in self.ranks[view])


def probe_views(read_as: ReadAs, pairs: PairSet, progress: Progress, count: int = PAIRS, seed: int = 0) -> ViewProbe:
    """Ask weights, read either way, about some pairs with their headings known, and compare the ranks photo by photo (sign test).

    Raises InputError for a set of fewer than `LEAST_PAIRS` pairs with a heading, or with a picture that is missing.
    """
    some = _some(pairs, count, seed)
    questions = Questions.of(some, ("id",), seed)
    ranks: dict[AerialView, list[int]] = {}
    for view in VIEWS:
        card, state = read_as(view)
        module = EgoTR(EgoTRConfig.from_dict(card["config"]))
        module.load_state_dict(state)
        model = PairModel.of({"name": f"these weights, {view}", "digest": "", **card}, module.config, module.ground, module.aerial)
        answers = DescriptorAnswers(questions, ModelJudge.of(questions, model, progress))
        ranks[view] = [one.ranks["id"] for one in answers(some.pairs, 360.0, True)]
    return ViewProbe(pairs.name, ranks, _better(ranks))


def decide(probe: ViewProbe, told: AerialView | None) -> AerialView:
    """Return the view that a probe found; raise WeightsError where it found neither, or another than the one that was `told`."""
    if probe.view is None:
        raise WeightsError(
            f"{probe.says()}, which decides nothing; probe with other pairs, north-aligned as the authors' were, or give --view alone"
        )
    if told is not None and probe.view != told:
        raise WeightsError(f"{probe.says()}: these are weights of the {probe.view} view, not of the {told} one; give --view {probe.view}")
    return probe.view


def _some(pairs: PairSet, count: int, seed: int) -> PairSet:
    """Return some pairs that know their heading, no picture twice."""
    usable = {pair.aerial_id: pair for pair in pairs if pair.heading_deg is not None}
    if len(usable) < LEAST_PAIRS:
        raise InputError(f"{pairs.name}: {len(usable)} pairs know their heading; a probe needs {LEAST_PAIRS} at least")
    kept = list(usable.values())
    chosen = np.random.default_rng(seed).permutation(len(kept))[:count]
    return replace(pairs, pairs=tuple(kept[k] for k in sorted(chosen.tolist())), distractors=())


def _better(ranks: Mapping[AerialView, Sequence[int]]) -> AerialView | None:
    """Return the view whose ranks are better in so many pairs that chance would not bring it about; None where neither is."""
    wins = {
        "polar": sum(a < b for a, b in zip(ranks["polar"], ranks["plain"], strict=True)),
        "plain": sum(a > b for a, b in zip(ranks["polar"], ranks["plain"], strict=True)),
    }
    unlike = sum(wins.values())
    for view in VIEWS:
        tail = sum(comb(unlike, k) for k in range(wins[view], unlike + 1)) / 2.0**unlike
        if 2.0 * tail <= SURE:
            return view
    return None
