"""Calibrating an index: ask, fit, judge on held-out ground, and keep what was fitted in a new generation of the index."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crossgeo import disk
from crossgeo.engine.batch import BatchProgress, answers_of_others, run_batch
from crossgeo.engine.calibrate.calibration import Calibration, KindCalibration, settings_digest
from crossgeo.engine.calibrate.fit import fit_kind
from crossgeo.engine.camera import Kind
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.status import Sure
from crossgeo.errors import InputError
from crossgeo.indexer.calibrated import set_calibration
from crossgeo.training.calibration.held_out import HeldOut, figures, hold_out
from crossgeo.training.calibration.known_photos import answers_in, read_known
from crossgeo.training.calibration.observing import Observations, observe

ANSWERS = "answers.jsonl"


@dataclass(frozen=True)
class Calibrated:
    """What a calibration came to."""

    calibration: Calibration
    held_out: dict[Kind, HeldOut]  # of kinds with enough pairs to hold some out
    too_few: dict[Kind, str]  # kinds that were not calibrated, and why
    left_out: dict[str, int]  # photos that could not be used, by the reason
    generation: int | None  # of the index that holds it now; None for a trial

    def to_json(self) -> dict[str, Any]:
        """Return plain data: what `geo calibrate --json` prints (docs/formats.md)."""
        kinds = self.calibration.to_json()["kinds"]
        for own in kinds.values():
            del own["chances"]["weights"], own["chances"]["knots"]
        return {
            "format": "crossgeo-calibration", "version": 1, "generation": self.generation,
            "thresholds": self.calibration.to_json()["thresholds"], "kinds": kinds,
            "not_calibrated": dict(self.too_few), "left_out": dict(self.left_out),
        }  # fmt: skip


def calibrate(
    search: GeoSearch,
    pairs: str | Path,
    out: str | Path,
    answers: str | Path | None = None,
    sure: Sure | None = None,
    seed: int = 0,
    dry_run: bool = False,
    progress: Callable[[BatchProgress], None] | None = None,
    stop: threading.Event | None = None,
    say: Callable[[str], None] | None = None,
) -> Calibrated:
    """Fit how sure answers are to photos whose places are known, and keep it in the index of a search as a new generation.

    `pairs` is a town's folder, a truth.geojson or a list of photos with lat and lon (`known_photos.read_known`). Every photo is asked
    about, and the answers stay in the folder `out`: the same call after an interruption, with more photos or with another `sure`, asks
    only what is new as long as ground and weights are the same, and else `say`s that it asks anew. One with `answers`, a file of
    `geo batch`, asks nothing. Setting `stop` ends the asking with `Stopped`. `sure` says what is `located`; `dry_run` changes nothing. A
    search that is open already answers as before: open it again.
    Raises InputError for pairs that cannot be used or are too few, MismatchError where the index changes meanwhile.

    ```python
    with GeoSearch.open("city.geo") as search:
        done = calibrate(search, "photos_with_places.csv", "calibration")
    print(done.calibration.kinds["drone"].figures["coverage"])
    ```
    """
    sure = sure or Sure()
    photos = read_known(Path(pairs))
    if answers is None:
        folder = Path(out)
        folder.mkdir(parents=True, exist_ok=True)
        answers = folder / ANSWERS
        if (others := answers_of_others(answers, search, judged=False)) is not None:
            if say is not None:
                say(f"{others}: holds answers of other ground or other weights; all photos are asked about anew")
            disk.unlink(others)
        items = [photo.item for photo in photos]
        run_batch(search, items, answers, overwrite=True, progress=progress, keep_journal=True, stop=stop, judged=False)
    seen = observe(search.index, photos, answers_in(Path(answers)), search.models)
    calibration, held_out, too_few = fit_all(search, seen, sure, seed)
    generation = None
    if not dry_run:
        index = search.index
        generation = set_calibration(index.path, calibration.to_json(), index.manifest.hash).generation
    return Calibrated(calibration, held_out, too_few, seen.left_out, generation)


def fit_all(search: GeoSearch, seen: Observations, sure: Sure, seed: int) -> tuple[Calibration, dict[Kind, HeldOut], dict[Kind, str]]:
    """Fit each kind of photo; raise InputError where there are too few pairs of every kind."""
    kinds: dict[Kind, KindCalibration] = {}
    held_out: dict[Kind, HeldOut] = {}
    too_few: dict[Kind, str] = {}
    for kind, own in seen.kinds.items():
        try:
            fitted = fit_kind(own.seen, seen.reach_m, seed)
        except InputError as error:
            too_few[kind] = str(error)
            continue
        held = hold_out(own, seen.reach_m, search.index.tile_m / 2.0, seed)
        if held is not None:
            held_out[kind] = held
        model, settings = search.models[kind], settings_digest(search.settings, kind)
        measured = {} if held is None else figures(held, sure, seed)
        cells = len(set(own.seen.cells.tolist()))
        kinds[kind] = KindCalibration(model, settings, fitted.chances, fitted.level, seen.reach_m, len(own.seen), cells, measured)
    if not kinds:
        raise InputError("; ".join(f"{kind} photos: {why}" for kind, why in too_few.items()))
    return Calibration(sure, kinds), held_out, too_few
