"""Retrieval over a set of pairs, all of it: models of several seeds, fields of view, headings, and the controls beside every figure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crossgeo.errors import MismatchError
from crossgeo.training.datasets.published import published_retrieval
from crossgeo.training.evaluation.cells import JudgedCell
from crossgeo.training.evaluation.controls import HEADING_CHANCE, chance_median_m, chance_recalls, chance_within
from crossgeo.training.evaluation.describing import PairModel
from crossgeo.training.evaluation.judging import DescriptorAnswers, HistogramJudge, ModelJudge
from crossgeo.training.evaluation.places import FOVS_DEG, Answered, cells
from crossgeo.training.evaluation.protocols import SAYS, ProtocolName
from crossgeo.training.evaluation.questions import Progress, Questions
from crossgeo.training.evaluation.retrieval import TIE
from crossgeo.training.evaluation.shots import ASSUMED_FOV_DEG
from crossgeo.training.pairs import PairSet

RULES = {
    "tie": f"no credit: a wrong reference whose cosine is not lower by more than {TIE:g} stands before the right one",
    "R@1%": "rank <= N // 100 of N references, ranks from 1; left out below 100 references",
    "metres": "from the best reference's middle to the photo; a best reference that is tied counts as no place",
    "interval": "95 %: Wilson for shares, bootstrap for medians, Student's t over training seeds",
}


@dataclass(frozen=True)
class RetrievalSettings:
    """What is asked."""

    protocols: tuple[ProtocolName, ...]
    fovs_deg: tuple[float, ...] = FOVS_DEG
    headings_known: tuple[bool, ...] = (True, False)
    headings: int = 24  # tried where it is unknown
    controls: bool = True
    seed: int = 0  # of cuts, shifted headings and the untrained network


@dataclass(frozen=True)
class RetrievalReport:
    """Everything that was measured on one split."""

    set_name: str
    layout: str
    split: str
    photos: int
    without_fov: int  # of them: photos whose field of view the set does not say
    references: int
    models: tuple[PairModel, ...]
    against: PairModel | None
    settings: RetrievalSettings
    cells: tuple[JudgedCell, ...]
    back: JudgedCell | None  # aerial to photo
    histograms: str | None  # what that baseline is

    def to_json(self) -> dict[str, Any]:
        """Return plain data (docs/formats.md)."""
        protocols = self.settings.protocols
        lines = [line for name in protocols for line in published_retrieval(self.layout, self.split, name)]
        return {
            "kind": "retrieval",
            "set": {
                "name": self.set_name,
                "layout": self.layout,
                "split": self.split,
                "photos": self.photos,
                "references": self.references,
            },
            "field_of_view": {"not_said": self.without_fov, "assumed_deg": ASSUMED_FOV_DEG},
            "rules": RULES,
            "protocols": {name: SAYS[name] for name in protocols},
            "models": [_model_json(model) for model in self.models],
            "against": None if self.against is None else _model_json(self.against),
            "seed": self.settings.seed,
            "headings_tried": self.settings.headings,
            "cells": [cell.to_json(self.references) for cell in self.cells],
            "place-back": None if self.back is None else self.back.to_json(self.photos),
            "histograms": self.histograms,
            "published": [vars(line) for line in lines],
        }


def evaluate_retrieval(
    pairs: PairSet, models: Sequence[PairModel], settings: RetrievalSettings, progress: Progress, *,
    training: PairSet | None = None, against: PairModel | None = None,
) -> RetrievalReport:  # fmt: skip
    """Judge models of one recipe on a split; `training` pairs teach the histogram baseline, `against` is compared question by question.

    Raises InputError for an empty set or a missing picture, MismatchError where weights or protocols do not fit the set.
    """
    if len({model.kind for model in (*models, *([against] if against else []))}) > 1:
        raise MismatchError("the weights have views of several kinds; evaluate them one after the other")
    for model in (*models, *([against] if against else [])):
        model.check_fits(pairs)
    questions = Questions.of(pairs, settings.protocols, settings.seed, settings.headings)
    judges = [ModelJudge.of(questions, model, progress) for model in models]
    rivals = ModelJudge.of(questions, against, progress) if against is not None else None
    untrained = ModelJudge.of(questions, models[0].untrained(settings.seed), progress) if settings.controls else None
    histograms = HistogramJudge.of(questions, training, progress) if settings.controls else None
    headless = models[0].kind == "drone"
    chance = _chance(questions)
    judged: list[JudgedCell] = []
    for fov_deg in shown_fovs(pairs, settings.fovs_deg):
        colours: tuple[Answered, ...] | None = None  # know no headings: the same for both
        for known in (True,) if headless else settings.headings_known:

            def ask(judge: ModelJudge | HistogramJudge, fov: float = fov_deg, given: bool = known) -> tuple[Answered, ...]:
                return cells(pairs.pairs, DescriptorAnswers(questions, judge), (fov,), (given,))[0].answered

            controls: dict[str, Sequence[Answered]] = {}
            answers = tuple(ask(judge) for judge in judges)
            if untrained is not None and histograms is not None:
                if known and not headless:
                    controls["heading shifted at random"] = ask(judges[0].with_shifted_headings())
                controls["untrained network"] = ask(untrained)
                colours = ask(histograms) if colours is None else colours
                controls["histograms"] = colours
            other = ask(rivals) if rivals is not None else None
            own = {group: values for group, values in chance.items() if group != "heading" or not (known or headless)}
            judged.append(JudgedCell(fov_deg, None if headless else known, answers, controls, other, own))
    back = None
    if "place-back" in questions.matches:
        back_answers = tuple(DescriptorAnswers(questions, judge).back() for judge in judges)
        back_controls = {} if untrained is None else {"untrained network": DescriptorAnswers(questions, untrained).back()}
        by_chance = {"place-back": chance_recalls(questions.matches["place-back"], len(pairs))}
        back_other = DescriptorAnswers(questions, rivals).back() if rivals is not None else None
        back = JudgedCell(360.0, None, back_answers, back_controls, back_other, by_chance)
    split = " and ".join(pairs.splits)
    says = histograms.says if histograms is not None else None
    without_fov = sum(pair.fov_deg is None for pair in pairs)
    return RetrievalReport(
        pairs.name, pairs.layout, split, len(pairs), without_fov, len(questions.gallery), tuple(models), against, settings, tuple(judged),
        back, says,
    )  # fmt: skip


def shown_fovs(pairs: PairSet, wanted: Sequence[float]) -> list[float]:
    """Return the fields of view that a set's photos can show; where they are all narrower than any, their widest alone."""
    widest = max(ASSUMED_FOV_DEG if pair.fov_deg is None else pair.fov_deg for pair in pairs)
    return [fov for fov in wanted if fov <= widest] or [widest]


def _chance(questions: Questions) -> dict[str, dict[str, float]]:
    references = len(questions.gallery)
    chance = {str(name): chance_recalls(right, references) for name, right in questions.matches.items() if name != "place-back"}
    middle = chance_median_m(questions.pairs, questions.gallery, questions.seed)
    if middle is not None:
        chance["metres"] = {"median_m": middle} | chance_within(questions.pairs, questions.gallery)
    return chance | {"heading": HEADING_CHANCE}


def _model_json(model: PairModel) -> dict[str, str]:
    return {"name": model.name, "sha256": model.sha256, "view": model.kind}
