"""The main job, shown whole: index imagery, locate photos of unknown heading and what was clicked in them, compare all with the truth.

On a simulated town that no weights were trained on, from above and from its streets over one index, and on real drone photos where a folder
of real imagery is at hand.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median
from typing import Any

from crossgeo.engine.build import build_index
from crossgeo.engine.camera import Kind
from crossgeo.engine.describe import EgoTRDescriber
from crossgeo.engine.evaluate import polygon_iou
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Answer
from crossgeo.engine.plot import save_plot
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError
from crossgeo.geodesy import distance_m
from crossgeo.indexer.build import BuildOptions
from crossgeo.models.checkpoint import street_partner
from crossgeo.town.write import write_town

FIRST_HELD_OUT_SEED = 9000  # towns from here on are never trained on
Report = Callable[[str, int, int], None]  # stage, done, total
Click = tuple[tuple[float, float] | None, dict[str, Any] | None]  # a pixel, and the box of what is there as GeoJSON
_NO_CLICK: Click = (None, None)


@dataclass(frozen=True)
class Question:
    """A photo whose place is known and, perhaps, a point on an object whose box is known."""

    photo: Path
    lat: float
    lon: float
    heading_deg: float | None = None  # of the photo's upper edge, clockwise from true north
    point: tuple[float, float] | None = None
    box: dict[str, Any] | None = None  # GeoJSON Polygon
    kind: Kind | None = None  # told to the search; None: it finds out
    compass: bool = False  # whether the search is told the photo's heading


@dataclass(frozen=True)
class Outcome:
    """How far an answer was from the truth."""

    photo: str
    status: str
    error_m: float | None  # of the best place; None when there is no place
    heading_error_deg: float | None
    iou: float | None  # of the object's box, 0 where none was found; None where nothing was clicked
    took_ms: float


@dataclass(frozen=True)
class Trial:
    """One set of photos against one index."""

    title: str
    simulated: bool
    index: Path
    tiles: int
    built_s: float
    outcomes: tuple[Outcome, ...]
    picture: Path | None

    def within(self, metres: float) -> int:
        """Count the photos whose best place is within that distance of the truth."""
        return sum(o.error_m is not None and o.error_m <= metres for o in self.outcomes)

    def boxes(self, iou: float) -> tuple[int, int]:
        """Count the clicked objects whose box has at least that IoU, and all that were clicked."""
        clicked = [o.iou for o in self.outcomes if o.iou is not None]
        return sum(value >= iou for value in clicked), len(clicked)

    @property
    def median_error_m(self) -> float | None:
        """Median distance from the truth, over the photos that have a place."""
        errors = [o.error_m for o in self.outcomes if o.error_m is not None]
        return median(errors) if errors else None

    @property
    def median_ms(self) -> float:
        """Median time of an answer, photo reading included."""
        return median(o.took_ms for o in self.outcomes)

    def to_json(self) -> dict[str, Any]:
        """Return everything as plain data."""
        error = self.median_error_m
        right, clicked = self.boxes(0.5)
        return {
            "title": self.title, "simulated": self.simulated, "index": str(self.index), "tiles": self.tiles,
            "built_s": round(self.built_s, 1),
            "photos": len(self.outcomes), "within_5_m": self.within(5.0), "within_25_m": self.within(25.0),
            "median_error_m": None if error is None else round(error, 2), "clicked": clicked, "iou_at_least_0.5": right,
            "median_ms": round(self.median_ms), "picture": None if self.picture is None else str(self.picture),
            "outcomes": [vars(outcome) for outcome in self.outcomes],
        }  # fmt: skip


def run_town(out: Path, seed: int, size_m: int, photos: int, street: int, weights: tuple[str, str], report: Report) -> list[Trial]:
    """Make a town under `out` and ask about its drone photos, and about `street` panoramas and as many ordinary photos of its streets.

    Without the street photos where no street weights go with `weights`.
    """
    if seed < FIRST_HELD_OUT_SEED:
        raise InputError(f"town {seed} may have been trained on; take a seed of at least {FIRST_HELD_OUT_SEED}")
    describer = EgoTRDescriber.load(weights[0])
    if street_partner(describer.identity.sha256) is None:
        street = 0
    folder = out / f"town-{seed}"
    if (folder / "town.json").is_file():
        shutil.rmtree(folder)  # of an earlier demo, and made again in seconds
    every = photos + 2 * street
    report("making the town", 0, every)

    def made(done: int, total: int) -> None:
        report("making the town", done, total)

    write_town(folder, seed, size_m, photos, objects_per_photo=1, progress=made, panoramas=street, street=street)
    index = _build([folder / "ortho.tif"], out / f"town-{seed}.geo", describer, report)
    trials = [_ask_all(f"town {seed} (simulated)", True, index, town_questions(folder), out / "town.png", weights, report)]
    if street:
        title = f"town {seed}, from the street (simulated)"
        trials.append(_ask_all(title, True, index, street_questions(folder), out / "street.png", weights, report))
    return trials


def town_questions(folder: Path) -> list[Question]:
    """Read the drone photos of a town with their true places, and an object clicked in each where the town names one."""
    places, clicks = _facts(folder / "truth.geojson"), _clicks(folder / "objects.geojson")
    return [
        Question(folder / "photos" / place["file"], place["lat"], place["lon"], place["heading_deg"], *clicks.get(place["file"], _NO_CLICK))
        for place in places
    ]


def street_questions(folder: Path) -> list[Question]:
    """Read the street photos of a town alike; ordinary photos come with their compass heading, panoramas without."""
    places, clicks = _facts(folder / "street.geojson"), _clicks(folder / "street_objects.geojson")
    questions = []
    for place in places:
        point, box = clicks.get(place["file"], _NO_CLICK)
        compass = place["kind_of_photo"] == "street"
        questions.append(Question(folder / place["file"], place["lat"], place["lon"], place["heading_deg"], point, box, "street", compass))
    return questions


def _facts(path: Path) -> list[dict[str, Any]]:
    return [feature["properties"] for feature in json.loads(path.read_text())["features"]]


def _clicks(path: Path) -> dict[str, Click]:
    """The first click in each photo on something that the shipped weights were taught to find, with its box."""
    found: dict[str, Click] = {}
    for fact in (fact for fact in _facts(path) if fact["kind"] != "car"):
        x, y = fact["point_px"]
        found.setdefault(fact["file"], ((x, y), fact["box"]))
    return found


def run_real(data: Path, out: Path, photos: int, weights: tuple[str, str], report: Report) -> Trial:
    """Ask about `photos` of the Brighton Beach drone photos, spread over the flight, in an index of Brighton Beach and Zanzibar.

    The third imagery, Banepa, would take most of the demo's time; `benchmarks/accuracy.py` has it, too.
    """
    sources = [data / "drone_brighton_beach" / "mosaic.tif", data / "oam_zanzibar"]
    for source in sources:
        if not source.exists():
            raise InputError(f"{source}: no such imagery; the folder of real imagery is not the one that this demo knows")
    taken = real_questions(data / "drone_brighton_beach")
    questions = spread_over(taken, photos)
    title = "Brighton Beach (real)" if len(questions) == len(taken) else f"Brighton Beach (real), {len(questions)} of {len(taken)} photos"
    index = _build(sources, out / "real.geo", EgoTRDescriber.load(weights[0]), report)
    return _ask_all(title, False, index, questions, out / "real.png", weights, report)


def real_questions(folder: Path) -> list[Question]:
    """Read the photos and the registered centres of the Brighton Beach flight."""
    facts = _facts(folder / "truth.geojson")
    return [Question(folder / "photos" / fact["file"], fact["center_lat"], fact["center_lon"]) for fact in facts]


def spread_over(questions: Sequence[Question], count: int) -> list[Question]:
    """Return `count` of the questions at even steps, each in the middle of its step; all of them where there are no more."""
    count = min(count, len(questions))
    return [questions[(2 * n + 1) * len(questions) // (2 * count)] for n in range(count)]


@dataclass(frozen=True)
class _Built:
    """An index and how long it took."""

    path: Path
    took_s: float


def _build(sources: Sequence[Path], index: Path, describer: EgoTRDescriber, report: Report) -> _Built:
    began = time.monotonic()
    build_index(sources, index, describer, BuildOptions(overwrite=True), progress=lambda at: report(at.stage, at.done, at.total))
    return _Built(index, time.monotonic() - began)


def _ask_all(
    title: str, simulated: bool, index: _Built, questions: Sequence[Question], picture: Path, weights: tuple[str, str], report: Report
) -> Trial:
    outcomes, shown = [], 0
    with GeoSearch.open(index.path, *weights) as search:
        for number, question in enumerate(questions):
            report("locating photos", number, len(questions))
            photo, answer, outcome = ask(search, question)
            outcomes.append(outcome)
            if (worth := _worth_showing(outcome, question)) > shown:
                save_plot(picture, photo, answer, search.index, question.point)
                shown = worth
        report("locating photos", len(questions), len(questions))
        tiles = len(search.index)
    return Trial(title, simulated, index.path, tiles, index.took_s, tuple(outcomes), picture if shown else None)


def ask(search: GeoSearch, question: Question) -> tuple[Photo, Answer, Outcome]:
    """Ask one question, the photo's heading kept from the search but where it has a compass, and measure the answer."""
    began = time.monotonic()
    read = Photo.read(question.photo)
    photo = read if question.compass else replace(read, exif=replace(read.exif, heading_deg=None))
    answer = search.query(photo, point=question.point, kind=question.kind)
    took_ms = 1000.0 * (time.monotonic() - began)
    best = answer.places[0] if answer.places else None
    error_m = None if best is None else distance_m(question.lat, question.lon, best.lat, best.lon)
    turned = None
    if best is not None and question.heading_deg is not None:
        turned = abs((best.heading_deg - question.heading_deg + 180.0) % 360.0 - 180.0)
    iou = None
    if question.box is not None:
        iou = 0.0 if answer.found is None else polygon_iou(question.box, answer.found.polygon)
    return photo, answer, Outcome(question.photo.name, answer.status, error_m, turned, iou, took_ms)


def _worth_showing(outcome: Outcome, question: Question) -> int:
    """The first good answer is the one to look at, 2 with what was clicked and 1 without; which ones were bad stands in the table."""
    if outcome.status != "located" or outcome.error_m is None or outcome.error_m > 5.0:
        return 0
    return 2 if question.box is None or (outcome.iou or 0.0) >= 0.5 else 1
