"""Why an answer has its status: the numbers that decided it, in words."""

from __future__ import annotations

from collections.abc import Sequence

from crossgeo.engine.place import Status
from crossgeo.engine.status import Confidence, Thresholds, margin_of

STAGES = {
    "decode": "reading the photo",
    "level": "levelling it",
    "describe": "describing it",
    "search": "searching the index",
    "register": "comparing maps, judging",
    "fine": "the 5 m step",
    "judge": "judging all of it",
    "object": "finding the object",
}
PARTIAL = "Not all of the ground that was asked about could be looked at, as the notes say, and no place is believed before it has been."


def why_calibrated(status: Status, confidence: Confidence) -> str:
    """Return the sentence that says which probability decided the status in a calibrated index."""
    sure = confidence.sure
    chance = confidence.within[sure.within_m]
    asked = f"{sure.located:g} is asked of a place that is located"
    told = f"The best place lies within {sure.within_m:g} m of the truth with a probability of {chance:.3f}; {asked}."
    if status == "ambiguous":
        rivals = " It would come to that without its rivals."
        told += rivals if confidence.status == status else " It would be located, were it not for what the notes say."
    return told


def why(status: Status, scores: Sequence[float], thresholds: Thresholds | None) -> str:
    """Return the sentence that says which threshold the best score and its lead reached or missed; scores of all rivals, best first."""
    if not scores or thresholds is None:
        return "There is no place to judge."
    lead = margin_of(scores)
    asked = f"the {thresholds.score:g} that these weights ask for"
    if scores[0] < thresholds.score:
        return f"The best score, {scores[0]:.3f}, stays below {asked} before a place is believed."
    told = f"The best score, {scores[0]:.3f}, reaches {asked}"
    if len(scores) < 2:
        told += ", and there is no other place to compare it with."
    elif lead < thresholds.margin:
        told += f", but it leads the next place by only {lead:.3f}, where {thresholds.margin:g} is asked."
    else:
        told += f", and so does its lead of {lead:.3f} over the next place, of which {thresholds.margin:g} is asked."
        if status == "ambiguous":
            told += " It would be located, were it not for what the notes say."
    return told
