"""Answers of one drive made to agree: each photo takes the place of its rivals that lies on the drive's likeliest path, if any."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from numpy.typing import NDArray

from crossgeo.engine.sequences.drives import Drive, Record, drives_of, points_of, strays_m, trellis_of
from crossgeo.engine.sequences.options import SequenceOptions
from crossgeo.engine.sequences.path import NONE, best_path, marginals

MOVED = "its drive leads past its place number {rank}, which scored less than the first and is now that"
CONFIRMED = "its place was not sure by itself and lies on the way of its drive"
UNFIT = "its place does not fit the way of its drive"
ASKED_ELSEWHERE = "the object was looked for at the place that was the first, and is left out; ask again with --near"


def smooth(records: Sequence[Record], options: SequenceOptions | None = None) -> list[Record]:
    """Return the records (answers' JSON) with `sequence`, and with places, status and notes changed where their drive says so.

    Photos of one `group` are a drive, in order of `taken` where all say that, else in the given order. What fits on no path stays as it
    was, and so do records of errors.
    """
    options = options or SequenceOptions()
    out = list(records)
    for drive in drives_of(records):
        for number, record in zip(drive.numbers, _smoothed(records, drive, options), strict=True):
            out[number] = record
    return out


def _smoothed(records: Sequence[Record], drive: Drive, options: SequenceOptions) -> list[Record]:
    trellis = trellis_of(records, drive, options)
    ranks, links = best_path(trellis)
    chance = marginals(trellis)
    strays = strays_m(points_of(records, drive), ranks, links, drive.times_s)
    chains = _chains(ranks, links)
    own = [records[number] for number in drive.numbers]
    anchors = dict.fromkeys(chains, 0)
    for record, chain, rank in zip(own, chains, ranks.tolist(), strict=True):
        anchors[chain] += record["status"] == "located" and rank == 0
    lengths = {chain: chains.count(chain) for chain in anchors}
    out = []
    for t, record in enumerate(own):
        rank, chain = int(ranks[t]), chains[t]
        likely = float(chance[t, rank]) if rank != NONE else float(1.0 - chance[t].sum())
        sure = anchors[chain] >= options.least_anchors and likely >= options.sure and strays[t] <= options.most_stray_m
        sure = sure and not record.get("partial")  # a place that fits better may lie where nobody looked
        if rank == NONE:
            new = _left_out(record, t, chains, lengths, chance, options)
        elif likely >= options.even:
            new = _taken(record, rank, sure)
        else:
            new, rank = dict(record), NONE
        told: dict[str, Any] = {"group": drive.group, "rank": None if rank == NONE else rank + 1, "probability": round(likely, 4)}
        told |= {"photos": lengths[chain] if rank != NONE else 0, "changed": new != record}
        if rank > 0:
            told["bearing_deg"] = _bearing(record, rank)
        out.append({**new, "sequence": told})
    return out


def _chains(ranks: NDArray[Any], links: NDArray[Any]) -> list[int]:
    """The number of each photo's chain; NONE of those that take no place."""
    chains: list[int] = []
    for t, (rank, before) in enumerate(zip(ranks.tolist(), links.tolist(), strict=True)):
        chains.append(NONE if rank == NONE else t if before == NONE else chains[before])
    return chains


def _taken(record: Record, rank: int, sure: bool) -> Record:
    """The record with its place of a rank first."""
    places = record["places"]
    status = "located" if sure else "ambiguous" if rank > 0 and record["status"] == "located" else record["status"]
    new = {**record, "status": status}
    if rank > 0:
        new["places"] = [places[rank], *places[:rank], *places[rank + 1 :]]
        lost = [ASKED_ELSEWHERE] if record.get("object") or any(row.get("object") for row in record.get("objects", ())) else []
        new["object"] = None
        if "objects" in record:
            new["objects"] = [{**row, "object": None} for row in record["objects"]]
        new["notes"] = [*record["notes"], MOVED.format(rank=rank + 1), *lost]
    elif status != record["status"]:
        new["notes"] = [*record["notes"], CONFIRMED]
    return new


def _left_out(record: Record, t: int, chains: list[int], lengths: dict[int, int], chance: NDArray[Any], options: SequenceOptions) -> Record:
    """The record of a photo that takes no place: as it was, unless it was believed and the way passes on both of its sides."""
    before, after = chains[max(0, t - options.max_gap) : t], chains[t + 1 : t + 1 + options.max_gap]
    passed = {chain for chain in {*before} & {*after} if chain != NONE and lengths[chain] > 2}
    if record["status"] != "located" or not passed or float(chance[t, 0]) > 1.0 - options.sure:
        return dict(record)
    return {**record, "status": "low_confidence", "notes": [*record["notes"], UNFIT]}


def _bearing(record: Record, rank: int) -> float | None:
    """The bearing of the click from another place: it turns with the photo."""
    thing, places = record.get("object"), record["places"]
    if not thing or thing.get("bearing_deg") is None or places[rank].get("camera") is None:
        return None
    return round(float(thing["bearing_deg"] + places[rank]["heading_deg"] - places[0]["heading_deg"]) % 360.0, 2)
