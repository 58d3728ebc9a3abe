"""Status: whether an answer may be believed, from the best score and its lead over the next rival; thresholds come with the weights."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from crossgeo.engine.place import Status
from crossgeo.errors import WeightsError

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
