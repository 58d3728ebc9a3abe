"""Clicked objects of a set, all of them: models of several seeds, figures by kind, and the controls beside them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from crossgeo.training.datasets.published import published_boxes
from crossgeo.training.evaluation.cells import Groups, groups_json, groups_over_seeds
from crossgeo.training.evaluation.objects import (
    IOUS,
    FoundBox,
    ObjectModel,
    by_kind,
    chance_boxes,
    find_objects,
    object_figures,
    other_rows,
)  # fmt: skip
from crossgeo.training.evaluation.places import figures_json
from crossgeo.training.evaluation.questions import Progress
from crossgeo.training.evaluation.statistics import Figure, paired_shares
from crossgeo.training.pairs import ObjectSet

RULES = {
    "box": "the box of highest confidence, in pixels of the aerial picture and clipped to it, against the true box in those pixels",
    "metres": "between the middles of both boxes on the ground, where the picture's name places it",
    "interval": "95 %: Wilson for shares, bootstrap for medians, normal for means, Student's t over training seeds",
}
SWAPPED, UNTRAINED, CHANCE = "photo and click of another question", "untrained network", "chance: true sizes, anywhere"


@dataclass(frozen=True)
class ObjectReport:
    """Everything that was measured on one split."""

    set_name: str
    layout: str
    split: str
    models: tuple[ObjectModel, ...]
    found: tuple[Sequence[FoundBox], ...]  # of each model
    controls: dict[str, Sequence[FoundBox]]
    against: tuple[ObjectModel, Sequence[FoundBox]] | None
    seed: int

    @property
    def figures(self) -> list[Groups]:
        """Return the figures of each model: `all` and each kind."""
        return [{"all": object_figures(own, self.seed), **by_kind(own)} for own in self.found]

    def differences(self) -> dict[str, Figure] | None:
        """Return by how much the first model's shares are above the other's on the same clicks."""
        if self.against is None:
            return None
        ours, theirs = (np.array([one.iou for one in found]) for found in (self.found[0], self.against[1]))
        return {f"accu@{limit:g}": paired_shares(theirs >= limit, ours >= limit) for limit in IOUS}

    def to_json(self) -> dict[str, Any]:
        """Return plain data (docs/formats.md)."""
        every = self.figures
        return {
            "kind": "objects",
            "set": {"name": self.set_name, "layout": self.layout, "split": self.split, "objects": len(self.found[0])},
            "rules": RULES,
            "seed": self.seed,
            "models": [
                {"name": model.name, "sha256": model.sha256, "figures": groups_json(own)}
                for model, own in zip(self.models, every, strict=True)
            ],
            "over_seeds": groups_json(groups_over_seeds(every)) if len(every) > 1 else None,
            "against": None
            if self.against is None
            else {"name": self.against[0].name, "sha256": self.against[0].sha256, "difference": figures_json(self.differences())},
            "controls": {name: figures_json(object_figures(found, self.seed)) for name, found in self.controls.items()},
            "published": [vars(line) for line in published_boxes(self.layout, self.split)],
            "answers": [answer_json(one) for one in self.found[0]],
        }


def answer_json(found: FoundBox) -> dict[str, Any]:
    """Return an answer as plain data, with its true lat and lon where the set places its pictures."""
    lat, lon = (None, None) if found.lat_lon is None else (round(degrees, 7) for degrees in found.lat_lon)
    return {
        "id": found.id, "kind": found.kind, "box_px": [round(edge, 2) for edge in found.box_px], "iou": round(found.iou, 4),
        "metres": None if found.metres is None else round(found.metres, 2), "lat": lat, "lon": lon,
    }  # fmt: skip


def evaluate_objects(
    objects: ObjectSet, models: Sequence[ObjectModel], progress: Progress, *,
    sizes_from: ObjectSet | None = None, against: ObjectModel | None = None, controls: bool = True, seed: int = 0,
) -> ObjectReport:  # fmt: skip
    """Judge models of one recipe on a split; `sizes_from` gives the sizes of chance's boxes (the training split, else the split itself).

    Raises InputError for an empty set or a missing picture, MismatchError where weights do not fit the set.
    """
    for model in (*models, *([against] if against else [])):
        model.check_fits(objects)
    found = tuple(find_objects(objects, model.boxes, progress) for model in models)
    beside: dict[str, Sequence[FoundBox]] = {}
    if controls:
        beside[SWAPPED] = find_objects(objects, models[0].boxes, progress, other_rows(len(objects), seed))
        beside[UNTRAINED] = find_objects(objects, models[0].untrained(seed).boxes, progress)
        beside[CHANCE] = chance_boxes(objects, sizes_from or objects, seed)
    other = (against, find_objects(objects, against.boxes, progress)) if against else None
    split = " and ".join(objects.splits)
    return ObjectReport(objects.name, objects.layout, split, tuple(models), found, beside, other, seed)
