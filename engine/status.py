"""Status: whether an answer may be believed. Without a calibration the best score and its lead decide, by thresholds that come with the
weights; with one the chance that the place is right does, by thresholds that come with the index."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from crossgeo.engine.place import Status
from crossgeo.errors import UsageError, WeightsError

NARROW_DEG = 70.0


@dataclass(frozen=True)
class Thresholds:
    """Read from the card of the weights (`thresholds`); these values hold until weights are calibrated."""

    score: float = 0.45  # of the best place (fine.Spot.merit)
    margin: float = 0.03  # its lead over the second place
    temperature: float = 0.02  # of scores, for the radius
    narrow_score: float = 0.0  # the score for a photo narrower than NARROW_DEG, where that is more: little fits in many places by chance

    @classmethod
    def from_card(cls, card: dict[str, Any]) -> Thresholds:
        """Return the card's thresholds over the defaults; raise WeightsError when one is no number."""
        defaults = {"score": cls.score, "margin": cls.margin, "temperature": cls.temperature, "narrow_score": cls.narrow_score}
        known = {name: threshold(card, name, default) for name, default in defaults.items()}
        if known["temperature"] <= 0.0:
            raise WeightsError("the card's threshold temperature must be positive; take the weights from their source again")
        return cls(**known)

    def for_fov(self, fov_deg: float | None) -> Thresholds:
        """Return what holds for a photo of a horizontal field of view; None is unknown."""
        narrow = fov_deg is not None and fov_deg < NARROW_DEG
        return replace(self, score=max(self.score, self.narrow_score)) if narrow else self


@dataclass(frozen=True)
class Sure:
    """How sure a calibrated answer must be to be `located`; kept in the index's manifest."""

    located: float = 0.95  # the least chance that the place is right
    within_m: float = 25.0  # which it is this near the truth: 5, 10, 25 or 50

    def __post_init__(self) -> None:
        """Refuse what no answer could be judged by; raises UsageError."""
        if not 0.0 < self.located < 1.0 or self.within_m not in (5.0, 10.0, 25.0, 50.0):
            asked = f"{self.located} within {self.within_m} m"
            raise UsageError(f"located means a chance above 0 and below 1 of being within 5, 10, 25 or 50 m, not {asked}")


@dataclass(frozen=True)
class Confidence:
    """How far a calibrated answer can be believed."""

    within: Mapping[float, float]  # the chance that the best place lies within so many metres of the truth: 5, 10, 25, 50
    radius_m: float | None  # within which the truth lies in nine of ten cases; None where too few pairs were there to say
    status: Status
    sure: Sure  # by which that was decided


def status_by(within: Mapping[float, float], unrivalled: Mapping[float, float], sure: Sure) -> Status:
    """Judge a place by its chances; `unrivalled` are those it would have were no other place nearly as good.

    What its rivals alone make doubtful is ambiguous.
    """
    if within[sure.within_m] >= sure.located:
        return "located"
    return "ambiguous" if unrivalled[sure.within_m] >= sure.located else "low_confidence"


def threshold(card: dict[str, Any], name: str, default: float) -> float:
    """Return a threshold of a card, or the default where it has none; raise WeightsError when it is no number."""
    value = card.get("thresholds", {}).get(name, default)
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise WeightsError(f"the card's threshold {name} is {value!r}, not a number; take the weights from their source again")
    return float(value)


def status_of(scores: Sequence[float], thresholds: Thresholds) -> Status:
    """Judge places by their scores, best first; no place at all is outside the coverage."""
    if not scores:
        return "outside_coverage"
    if scores[0] < thresholds.score:
        return "low_confidence"
    if margin_of(scores) < thresholds.margin:
        return "ambiguous"
    return "located"


def margin_of(scores: Sequence[float]) -> float:
    """Lead of the best place over the second, best first; infinite for the only one."""
    return scores[0] - scores[1] if len(scores) > 1 else math.inf
