"""Protocols: what is a hit, in float64, and never one for the other."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from crossgeo.errors import InputError, MismatchError
from crossgeo.training.datasets.cvact import read_cvact
from crossgeo.training.evaluation.protocols import SAYS, Gallery, asked_back, matches_of, protocols_of
from crossgeo.training.pairs import Aerial, Pair, PairSet

FAR_X, FAR_Y = 690_000.0, 6_090_000.0


def pair(name: str, east_m: float = 0.0, **more: object) -> Pair:
    at = (FAR_X + east_m, FAR_Y)
    values = {"xy": at, "crs": "EPSG:32755", "aerial_centre_xy": at, **more}
    return Pair(name, Path(f"{name}.jpg"), Path(f"{name}_aerial.jpg"), "test", 0.0, 360.0, **values)


def right_of(name: str, pairs: PairSet) -> list[list[int]]:
    gallery = Gallery.of(pairs)
    found = matches_of(name, pairs, gallery)
    return [sorted(found.indices[found.starts[q] : found.starts[q + 1]].tolist()) for q in range(len(found))]


def make(*pairs: Pair, layout: str = "cvact", distractors: tuple[Aerial, ...] = ()) -> PairSet:
    return PairSet("made", layout, Path("made"), pairs, distractors)


def test_five_metres_are_counted_in_float64() -> None:
    pairs = make(pair("a"), pair("b", 4.999), pair("c", 5.001))
    assert right_of("5m", pairs) == [[0, 1], [0, 1, 2], [1, 2]]  # float32 steps of half a metre would join them all
    assert right_of("id", pairs) == [[0], [1], [2]]


def test_places_of_different_zones_are_never_near() -> None:
    pairs = make(pair("a"), pair("b", crs="EPSG:32756"))
    assert right_of("5m", pairs) == [[0], [1]]


def test_the_dense_test_of_cvact_is_asked_by_both_protocols_and_they_are_named(cvact: Path) -> None:
    test = read_cvact(cvact).split("test")
    assert protocols_of(test) == ("5m", "id")
    assert [len(found) for found in right_of("5m", test)].count(2) == 2  # te00 and te07
    assert all(len(found) == 1 for found in right_of("id", test))
    assert "5 m" in SAYS["5m"] and "own" in SAYS["id"]


def test_semi_positives_are_hits_of_the_hit_rate_alone() -> None:
    pairs = make(pair("a", also=("b_aerial", "elsewhere")), pair("b"), layout="vigor")
    assert protocols_of(pairs) == ("id", "covering")
    assert right_of("covering", pairs) == [[0, 1], [1]]
    assert right_of("id", pairs) == [[0], [1]]


def test_pairs_of_one_picture_share_it_and_distractors_stand_in_the_gallery() -> None:
    twin = replace(pair("b"), aerial=Path("a_aerial.jpg"))
    gallery = Gallery.of(make(pair("a"), twin, distractors=(Aerial("other", Path("other.jpg"), "test"),)))
    assert gallery.own.tolist() == [0, 0]
    assert [reference.id for reference in gallery.references] == ["a_aerial", "other"]


def test_buildings_are_asked_both_ways() -> None:
    photos = [replace(pair(f"{place}/{n}", place=place), aerial=Path(f"{place}.jpg")) for place in ("0001", "0002") for n in range(3)]
    pairs = make(*photos, layout="university1652", distractors=(Aerial("0003", Path("0003.jpg"), "test", place="0003"),))
    assert protocols_of(pairs) == ("place", "place-back")
    assert right_of("place", pairs) == [[0]] * 3 + [[1]] * 3
    assert right_of("place-back", pairs) == [[0, 1, 2], [3, 4, 5]]
    assert asked_back(Gallery.of(pairs)) == [0, 1]


def test_a_protocol_of_other_sets_is_refused() -> None:
    with pytest.raises(MismatchError, match="University-1652"):
        right_of("place", make(pair("a")))
    with pytest.raises(MismatchError, match="where its photos were taken"):
        right_of("5m", make(pair("a", xy=None)))


def test_an_empty_set_is_refused() -> None:
    with pytest.raises(InputError, match="no pairs to evaluate"):
        Gallery.of(make())
