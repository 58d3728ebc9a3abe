"""Photos of known places through the whole engine: metres, headings and statuses by field of view, with the controls beside them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from crossgeo.engine.search import GeoSearch
from crossgeo.training.evaluation.cells import JudgedCell
from crossgeo.training.evaluation.controls import HEADING_CHANCE
from crossgeo.training.evaluation.engine_places import EngineAnswers, PlacedPhoto, by_fov, chance_places
from crossgeo.training.evaluation.places import Answered, cells
from crossgeo.training.evaluation.questions import Progress
from crossgeo.training.evaluation.shots import WHOLE_DEG

RULES = {
    "tie": "no credit: a best place that scores as high as the next counts as no place",
    "metres": "from the best place to the truth, geodesic; photos without a place count as infinitely far off",
    "interval": "95 %: Wilson for shares, bootstrap for medians, Student's t over training seeds",
}


@dataclass(frozen=True)
class PlacesReport:
    """Everything that was measured of an index."""

    index: str
    tiles: int
    models: tuple[dict[str, dict[str, str]], ...]  # of each training seed the weights by kind of photo (`GeoSearch.models`)
    photos: int
    cells: tuple[JudgedCell, ...]
    seed: int

    def to_json(self) -> dict[str, Any]:
        """Return plain data (docs/formats.md)."""
        return {
            "kind": "places", "index": self.index, "tiles": self.tiles, "photos": self.photos, "rules": RULES, "seed": self.seed,
            "models": [_model_json(weights) for weights in self.models], "cells": [cell.to_json(None) for cell in self.cells],
        }  # fmt: skip


def evaluate_places(
    searches: Sequence[GeoSearch], truths: Sequence[PlacedPhoto], progress: Progress, *,
    fovs_deg: Sequence[float] = (), headings_known: Sequence[bool] = (True, False), controls: bool = True, seed: int = 0,
) -> PlacesReport:  # fmt: skip
    """Ask the engine about photos, grouped by their own field of view; whole panoramas also cut to each of `fovs_deg`.

    `searches` are of one index, each with weights of one recipe from another training seed; controls are of the first. A cell of known
    headings holds the photos whose heading is known.
    """
    search = searches[0]
    judged: list[JudgedCell] = []
    for own_deg, group in by_fov(truths).items():
        cuts = [fov for fov in fovs_deg if fov < own_deg] if own_deg > WHOLE_DEG else []
        for fov_deg in (own_deg, *cuts):
            for known in headings_known:
                asked = [truth for truth in group if truth.heading_deg is not None] if known else group
                if not asked:
                    continue
                answers = tuple(cells(asked, EngineAnswers(one, progress, seed), (fov_deg,), (known,))[0].answered for one in searches)
                beside: dict[str, Sequence[Answered]] = {}
                chance: dict[str, dict[str, float]] = {}
                if controls:
                    chance = {"metres": chance_places(search, asked)} | ({} if known else {"heading": HEADING_CHANCE})
                    if known:
                        shifted = EngineAnswers(search, progress, seed, shifted=True)
                        beside["heading shifted at random"] = cells(asked, shifted, (fov_deg,), (True,))[0].answered
                judged.append(JudgedCell(fov_deg, known, answers, beside, None, chance))
    models = tuple(one.models for one in searches)
    return PlacesReport(search.index.path.name, len(search.index), models, len(truths), tuple(judged), seed)


def _model_json(weights: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    return {
        "name": " and ".join(own["name"] for own in weights.values()),
        "sha256": {kind: own["sha256"] for kind, own in weights.items()},
    }
