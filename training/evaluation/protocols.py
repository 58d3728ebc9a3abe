"""Which references are hits, by the protocols that were published; each has a name that goes with its figures, and none are mixed."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import shapely
from numpy.typing import NDArray

from crossgeo.errors import InputError, MismatchError
from crossgeo.training.datasets.university1652 import LAYOUTS as UNIVERSITY1652
from crossgeo.training.datasets.vigor import LAYOUTS as VIGOR
from crossgeo.training.evaluation.retrieval import Matches
from crossgeo.training.pairs import Pair, PairSet, Point

ProtocolName = Literal["id", "5m", "covering", "place", "place-back"]
HIT_M = 5.0

SAYS: dict[ProtocolName, str] = {
    "id": "a hit is the photo's own aerial picture",
    "5m": "a hit is any aerial picture whose middle lies within 5 m of the photo (float64)",
    "covering": "a hit is any aerial picture that shows the photo's place, positive or semi-positive (VIGOR's hit rate)",
    "place": "photo to aerial: a hit is the aerial picture of the photo's building",
    "place-back": "aerial to photo: a hit is any photo of the aerial picture's building; galleries hold the photos of this set alone",
}


@dataclass(frozen=True)
class Reference:
    """An aerial picture of the gallery."""

    id: str
    path: Path
    crs: str | None
    gsd_m: float | None
    centre_xy: Point | None
    place: str | None
    pair: Pair | None = None  # whose window of imagery it is


@dataclass(frozen=True)
class Gallery:
    """Every aerial picture once, with the one of each pair; those of no photo come last."""

    references: tuple[Reference, ...]
    own: NDArray[np.int64]  # (Q,)

    def __len__(self) -> int:
        return len(self.references)

    @classmethod
    def of(cls, pairs: PairSet) -> Gallery:
        """Collect the aerial pictures of a set; raise InputError for an empty one."""
        if not len(pairs):
            raise InputError(f"{pairs.root}: {pairs.name} holds no pairs to evaluate; choose another split")
        numbers: dict[str, int] = {}
        references: list[Reference] = []
        own = np.empty(len(pairs), np.int64)
        for row, pair in enumerate(pairs):
            if pair.aerial_id not in numbers:
                numbers[pair.aerial_id] = len(references)
                references.append(_reference(pair))
            own[row] = numbers[pair.aerial_id]
        for extra in pairs.distractors:
            if extra.id not in numbers:
                numbers[extra.id] = len(references)
                references.append(Reference(extra.id, extra.path, extra.crs, extra.gsd_m, extra.centre_xy, extra.place))
        return cls(tuple(references), own)


def protocols_of(pairs: PairSet) -> tuple[ProtocolName, ...]:
    """Return what is asked of a set unless told: what was published for it."""
    if pairs.layout == "cvact" and "test" in pairs.splits:
        return ("5m", "id")
    if pairs.layout in VIGOR.values():
        return ("id", "covering")
    if pairs.layout in UNIVERSITY1652.values():
        return ("place", "place-back")
    return ("id",)


def matches_of(protocol: ProtocolName, pairs: PairSet, gallery: Gallery) -> Matches:
    """Return the right references of each question; raise MismatchError when the set does not say what the protocol needs.

    Questions are the photos, in the set's order; of `place-back` the aerial pictures that have photos, and photos are the references.
    """
    if protocol == "id":
        return Matches.single(gallery.own)
    if protocol == "5m":
        return Matches.of(within_m(pairs, gallery, HIT_M))
    if protocol == "covering":
        return Matches.of(_covering(pairs, gallery))
    places = [pair.place for pair in pairs]
    if None in places:
        raise MismatchError(f"{pairs.name} has no places that photos share; protocol {protocol!r} is University-1652's, take id")
    if protocol == "place":
        by_place = _grouped([reference.place for reference in gallery.references])
        return Matches.of([by_place[place] for place in places])
    by_place = _grouped(places)
    return Matches.of([by_place[gallery.references[number].place] for number in asked_back(gallery)])


def asked_back(gallery: Gallery) -> list[int]:
    """Return the references that are questions in `place-back`: one for each building that has photos."""
    return sorted(set(gallery.own.tolist()))


def within_m(pairs: PairSet, gallery: Gallery, radius_m: float) -> list[list[int]]:
    """Return the references within `radius_m` of each photo, in float64 and by CRS; raise MismatchError where places are not known."""
    photos = [(pair.crs, pair.xy) for pair in pairs]
    middles = [(reference.crs, reference.centre_xy) for reference in gallery.references]
    if any(crs is None or xy is None for crs, xy in photos):
        raise MismatchError(f"{pairs.name} does not say where its photos were taken, so metres cannot be measured; take protocol id")
    found: list[list[int]] = [[] for _ in photos]
    for crs in dict.fromkeys(crs for crs, _ in photos):
        rows = [row for row, (own, _) in enumerate(photos) if own == crs]
        columns = [column for column, (own, xy) in enumerate(middles) if own == crs and xy is not None]
        tree = shapely.STRtree(shapely.points([_xy(middles[column][1]) for column in columns]))
        asked = shapely.points([_xy(photos[row][1]) for row in rows])
        for row, column in tree.query(asked, predicate="dwithin", distance=radius_m).T:
            found[rows[row]].append(columns[column])
    return found


def offsets_m(pairs: Sequence[Pair], references: Sequence[Reference]) -> NDArray[np.float64]:
    """Return the (Q,) metres from each photo to a reference of its own, infinite where they lie in different CRSs; NaN where unknown."""
    out = np.empty(len(pairs))
    for row, (pair, reference) in enumerate(zip(pairs, references, strict=True)):
        if pair.xy is None or reference.centre_xy is None:
            out[row] = np.nan
        else:
            away = np.hypot(pair.xy[0] - reference.centre_xy[0], pair.xy[1] - reference.centre_xy[1])
            out[row] = away if pair.crs == reference.crs else np.inf
    return out


def _covering(pairs: PairSet, gallery: Gallery) -> list[list[int]]:
    numbers = {reference.id: number for number, reference in enumerate(gallery.references)}
    # A semi-positive that the split's gallery does not hold cannot be an answer.
    return [[int(own), *(numbers[other] for other in pair.also if other in numbers)] for own, pair in zip(gallery.own, pairs, strict=True)]


def _grouped(places: Sequence[str | None]) -> dict[str | None, list[int]]:
    groups: dict[str | None, list[int]] = defaultdict(list)
    for number, place in enumerate(places):
        groups[place].append(number)
    return groups


def _reference(pair: Pair) -> Reference:
    window = pair if pair.window_m is not None else None
    return Reference(pair.aerial_id, pair.aerial, pair.crs, pair.aerial_gsd_m, pair.aerial_centre_xy, pair.place, window)


def _xy(point: Point | None) -> Point:
    assert point is not None
    return point
