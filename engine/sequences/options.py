"""What is taken for true of drives."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossgeo.errors import UsageError


@dataclass(frozen=True)
class SequenceOptions:
    """How photos of one drive may follow each other, and how sure a changed answer must be."""

    max_speed_m_s: float = 25.0  # 90 km/h
    max_step_m: float = 50.0  # between two photos whose times are not known
    max_gap: int = 5  # photos from one of a chain to the next; those between have no place that fits
    temperature: float = 0.02  # of scores: a lead of so much is worth one nat
    # Of a photo that takes none of its places. A wrong place lies within reach of the way by chance about once in a hundred where the
    # index is a square kilometre, so -4.6 is even; a little less than that, no more than 0.08 of score are given up for a path.
    none_nats: float = -4.0
    begin_nats: float = -8.0  # for a chain: two photos that agree are as good as none, three count
    turn_sigma_deg: float | None = 45.0  # of the heading from photo to photo; None: cameras are turned freely
    most_turn_nats: float = 2.0  # that a turn costs at most
    sure: float = 0.95  # the probability from which an answer is `located`
    least_anchors: int = 2  # photos of its chain that are `located` by themselves
    most_stray_m: float = 15.0  # of an answer made sure: from where an even pace between its neighbours in the chain has it
    even: float = 0.5  # the probability from which an answer is changed

    def __post_init__(self) -> None:
        """Raise UsageError for what no drive can be."""
        for name, value in (("speed", self.max_speed_m_s), ("step", self.max_step_m)):
            if not (0.0 < value < math.inf):
                raise UsageError(f"the greatest {name} of a drive must be positive, not {value:g}")
