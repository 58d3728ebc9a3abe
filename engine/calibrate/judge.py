"""Judging answers by an index's calibration, where it is of the models and settings that answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from crossgeo.engine.calibrate.calibration import Calibration, settings_digest
from crossgeo.engine.camera import Kind
from crossgeo.engine.evidence import Evidence
from crossgeo.engine.evidence_of import evidence_of
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Place
from crossgeo.engine.search_settings import SearchSettings
from crossgeo.engine.status import Confidence
from crossgeo.engine.trace import Found
from crossgeo.indexer.index import GeoIndex


@dataclass(frozen=True)
class Judge:
    """What of a calibration holds for a search; without one, nobody is judged."""

    calibration: Calibration | None = None
    refused: Mapping[Kind, str] = field(default_factory=dict)  # why the calibration of a kind is not used

    @classmethod
    def of(cls, data: Mapping[str, Any] | None, models: Mapping[str, Mapping[str, str]], settings: SearchSettings) -> Judge:
        """Read an index's calibration (None: there is none) for a search's models and settings; raise StoreError where it is damaged."""
        if data is None:
            return cls()
        calibration, refused = Calibration.from_json(data), {}
        for kind, own in calibration.kinds.items():
            if kind in models and dict(own.model) != dict(models[kind]):
                refused[kind] = f"the index is calibrated for {own.model.get('name')}, not for these weights: `geo calibrate` again"
            elif kind in models and own.settings != settings_digest(settings, kind):
                refused[kind] = "the index is calibrated for other settings of the search: `geo calibrate` again"
        return cls(calibration, refused)

    def judge(self, evidence: Evidence | None) -> Confidence | None:
        """Return the confidence of an answer; None where nothing is calibrated for its kind of photo."""
        if evidence is None or self.calibration is None or evidence.kind in self.refused or evidence.kind not in self.calibration.kinds:
            return None
        return self.calibration.kinds[evidence.kind].judge(evidence, self.calibration.sure)

    def judged(self, index: GeoIndex, photo: Photo, found: Found) -> Found:
        """Return what was found with its evidence, and with the status that the calibration gives it.

        The search itself goes by the thresholds of the weights alone: a calibration says how far its answers hold, and changes none.
        """
        evidence = evidence_of(index, photo, found.kind, found.spots, len(found.poses))
        confidence = self.judge(evidence)
        return replace(found, evidence=evidence, confidence=confidence, status=found.status if confidence is None else confidence.status)

    def note(self, kind: Kind) -> str | None:
        """Return what to say where there is a calibration that is not used."""
        return f"not calibrated: {self.refused[kind]}" if kind in self.refused else None


def as_judged(places: Iterable[Place], confidence: Confidence | None) -> tuple[Place, ...]:
    """Return places, best first, the best one with its probabilities and its radius where it was judged."""
    out = list(places)
    if out and confidence is not None:
        radius_m = out[0].radius_m if confidence.radius_m is None else confidence.radius_m
        out[0] = replace(out[0], radius_m=radius_m, probability=confidence.within)
    return tuple(out)
