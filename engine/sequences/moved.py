"""Objects of photos that their drive has put somewhere else: which ones to ask about again, and what becomes of the records then."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from crossgeo.engine.sequences.smooth import ASKED_ELSEWHERE

Record = dict[str, Any]
LEAST_M = 10.0  # around a place that is asked about again
RADII = 1.5  # two of three places lie within one
MOST_TURN_DEG = 20.0  # of a photo that is found there again: turned farther, it shows another thing under the click
FOUND_AGAIN = "the object was looked for again at the place that is now the first"
NOT_AGAIN = "the object was looked for at the place that was the first, and is left out: asked again around the place that is now, {why}"


class Around(NamedTuple):
    """Where a photo is to be looked for again."""

    lat: float
    lon: float
    radius_m: float


def to_ask_again(before: Sequence[Record], after: Sequence[Record]) -> dict[int, Around]:
    """Return where to ask again about records (by number) whose objects, if they were pointed at, are not those of their place.

    `after` is what `smooth` made of `before`: another place stands first now, or the first is believed now and was not, so that nothing
    was looked for there.
    """
    out = {}
    for number, (old, new) in enumerate(zip(before, after, strict=True)):
        told = new.get("sequence") or {}
        moved = (told.get("rank") or 0) > 1
        believed = told.get("rank") == 1 and new["status"] != old["status"] and not _objects(old)
        if moved or believed:
            place = new["places"][0]
            out[number] = Around(place["lat"], place["lon"], max(LEAST_M, RADII * place["radius_m"]))
    return out


def with_objects(records: Sequence[Record], again: Mapping[int, Record]) -> list[Record]:
    """Return records with the objects of the answers that came when they were asked `again`, or with why there are none."""
    return [_joined(record, again[number]) if number in again else record for number, record in enumerate(records)]


def _joined(record: Record, answer: Record) -> Record:
    why = _unfit(record, answer)
    others = [note for note in record["notes"] if note != ASKED_ELSEWHERE]
    if why is not None:
        lost = len(others) < len(record["notes"])  # something was left out, which is to be said
        return {**record, "notes": [*others, NOT_AGAIN.format(why=why)]} if lost else record
    own: Record = {key: answer[key] for key in ("object", "objects") if key in answer}
    sequence = {key: value for key, value in record["sequence"].items() if key != "bearing_deg"}  # the object has its own
    return {**record, **own, "notes": [*others, FOUND_AGAIN], "sequence": sequence}


def _unfit(record: Record, answer: Record) -> str | None:
    """Say why an answer's objects are not this record's; None where they are."""
    if "error" in answer:
        return f"the search failed ({answer['error']['message']})"
    if not answer["places"]:
        return "the search found no place"
    turn = abs((answer["places"][0]["heading_deg"] - record["places"][0]["heading_deg"] + 180.0) % 360.0 - 180.0)
    if turn > MOST_TURN_DEG:
        return f"the photo fits best turned by {turn:.0f} degrees"
    return None if _objects(answer) else "none was found"


def _objects(record: Record) -> bool:
    return bool(record.get("object") or any(row.get("object") for row in record.get("objects", ())))
