"""A calibration as it lies in an index's manifest: for each kind of photo, chances, the radius's level, and whose they are."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from crossgeo.engine.calibrate.chances import TOLD_M, Chances
from crossgeo.engine.calibrate.conformal import COVERAGE, radii_at
from crossgeo.engine.calibrate.features import features_of
from crossgeo.engine.camera import Kind
from crossgeo.engine.evidence import Evidence
from crossgeo.engine.search_settings import SearchSettings
from crossgeo.engine.status import Confidence, Sure, status_by
from crossgeo.errors import StoreError, UsageError

VERSION = 2  # since 2 no radius is less than 2.5 m
KINDS: tuple[Kind, ...] = ("drone", "street")


@dataclass(frozen=True)
class KindCalibration:
    """The calibration of one kind of photo, and what it was fitted to."""

    model: Mapping[str, str]  # name, sha256 and view, as `GeoSearch.models` has them
    settings: str  # `settings_digest` of the search
    chances: Chances
    level: float | None  # of the radius; None: too few pairs for one
    reach_m: float  # no two places of the index are farther apart
    pairs: int
    cells: int
    figures: Mapping[str, Any] = field(default_factory=dict)  # as measured on held-out ground

    def judge(self, evidence: Evidence, sure: Sure) -> Confidence:
        """Return the confidence of an answer by its evidence."""
        alone = replace(evidence, margin=None, rivals=0)
        rows = self.chances.at(features_of([evidence]))
        told, unrivalled = self.chances.told(features_of([evidence, alone])).tolist()
        radius_m = None if self.level is None else float(radii_at(rows, self.level, self.reach_m)[0])
        within = dict(zip(TOLD_M, told, strict=True))
        return Confidence(within, radius_m, status_by(within, dict(zip(TOLD_M, unrivalled, strict=True)), sure), sure)

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "model": dict(self.model), "settings": self.settings, "pairs": self.pairs, "cells": self.cells, "level": self.level,
            "coverage": COVERAGE, "reach_m": self.reach_m, "chances": self.chances.to_json(), "figures": dict(self.figures),
        }  # fmt: skip


@dataclass(frozen=True)
class Calibration:
    """All that one `geo calibrate` fitted."""

    sure: Sure
    kinds: Mapping[Kind, KindCalibration]

    def to_json(self) -> dict[str, Any]:
        """Return the plain data that the manifest keeps (docs/formats.md)."""
        kinds = {str(kind): own.to_json() for kind, own in sorted(self.kinds.items())}
        return {"version": VERSION, "thresholds": asdict(self.sure), "kinds": kinds}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Calibration:
        """Read plain data; raise StoreError where it is none, or of a version that this program does not know."""
        try:
            if data["version"] != VERSION:
                old = "take it away with `geo calibrate INDEX --undo`, and calibrate again"
                again = old if data["version"] == 1 else "update the program"
                raise StoreError(f"the index has a calibration of version {data['version']}, which this program cannot read; {again}")
            kinds: dict[Kind, KindCalibration] = {}
            for kind in KINDS:
                if kind in data["kinds"]:
                    kinds[kind] = _kind(data["kinds"][kind])
            if not kinds or len(kinds) != len(data["kinds"]):
                raise ValueError("kinds of photo")
            asked = data["thresholds"]
            return cls(Sure(float(asked["located"]), float(asked["within_m"])), kinds)
        except (KeyError, TypeError, ValueError, UsageError) as error:
            raise StoreError(
                f"the index's calibration cannot be read ({error!r}); take it away with `geo calibrate INDEX --undo`, and calibrate again"
            ) from error


def settings_digest(settings: SearchSettings, kind: Kind) -> str:
    """Return a hash of how a kind of photo is searched for: scores of other settings are other scores."""
    own = (settings.drone, settings.poses) if kind == "drone" else (settings.street, settings.street_poses)
    text = json.dumps([asdict(part) for part in own], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def _kind(data: Mapping[str, Any]) -> KindCalibration:
    level, reach_m = data["level"], float(data["reach_m"])
    if not (level is None or 0.0 <= float(level) <= 1.0) or not 0.0 < reach_m < 1e9:
        raise ValueError("a level or a reach out of range")
    model = {str(name): str(value) for name, value in data["model"].items()}
    chances = Chances.from_json(data["chances"])
    own = None if level is None else float(level)
    return KindCalibration(
        model, str(data["settings"]), chances, own, reach_m, int(data["pairs"]), int(data["cells"]), dict(data["figures"])
    )
