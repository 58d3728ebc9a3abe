"""What answers depend on beside the photo: as the journal keeps it, and as a worker elsewhere is held against it."""

from __future__ import annotations

import json
from dataclasses import asdict
from hashlib import sha256

from crossgeo.engine.describe import Describer, EgoTRDescriber
from crossgeo.engine.locate import Locator
from crossgeo.engine.output import Record
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import MismatchError
from crossgeo.models.checkpoint import read_card

JOURNAL = 4  # version of its format


def of_journal(search: GeoSearch, options: BatchOptions, judged: bool = True) -> Record:
    """Return what a journal's answers are of; where it does not matter how sure they are said to be, not `judged`, of any calibration."""
    index = search.index
    own = {"journal": JOURNAL, "index": index.manifest.hash, "models": search.models, "query": json.loads(json.dumps(asdict(options)))}
    return own if index.calibration is None or not judged else {**own, "calibration": json.loads(json.dumps(index.calibration))}


def of_search(search: GeoSearch) -> dict[str, str]:
    """Return what two searches must share to answer alike, by what people call it; how they run is told by `runtimes_of`."""
    index = search.index
    calibration = "none" if index.calibration is None else sha256(json.dumps(index.calibration, sort_keys=True).encode()).hexdigest()[:12]
    out = {"index": f"generation {index.manifest.generation}, {index.manifest.hash[:12]}", "calibration": calibration}
    for kind in search.matchers:
        own = search.models[kind]
        out[f"weights for {kind} photos"] = f"{own['name']}, {own['sha256'][:12]}, view {own['view'][:12]}"
        out[f"object weights for {kind} photos"] = _objects(search.locators[kind])
    return out


def runtimes_of(search: GeoSearch) -> str:
    """Return how the models of places run: back ends, precisions and devices."""
    return ", ".join(dict.fromkeys(label for matcher in search.matchers.values() for label in _labels(matcher.describer)))


def check_alike(own: dict[str, str], told: dict[str, str], path: str) -> None:
    """Raise MismatchError where a worker's search is not that of who started it, saying in what and what to do."""
    for what in [*told, *(own.keys() - told.keys())]:
        here, there = own.get(what, "none"), told.get(what, "none")
        if here != there:
            mend = {
                "index": f"let all nodes see the same {path}, and start again once nobody changes it",
                "calibration": f"let all nodes see the same {path}",
            }.get(what.split()[0], "bring the same files to all nodes")
            raise MismatchError(f"the {what} is {here} here, and {there} where the command was started; {mend}")


def _objects(locator: str | Locator | None) -> str:
    if isinstance(locator, str):
        card = read_card(locator)
        return f"{card['name']}, {str(card['digest'])[:12]}"
    return "none" if locator is None else type(locator).__name__


def _labels(describer: Describer) -> tuple[str, ...]:
    return (describer.ground.branch.label, describer.tiles_run_on) if isinstance(describer, EgoTRDescriber) else (describer.tiles_run_on,)
