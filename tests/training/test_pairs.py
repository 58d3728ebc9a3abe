"""Pairs and sets of pairs."""

from dataclasses import replace
from pathlib import Path

import pytest

from crossgeo.errors import InputError
from crossgeo.training.pairs import Aerial, ObjectPair, ObjectSet, Pair, PairSet

PAIR = Pair("a", Path("a.jpg"), Path("sat/a_sat.jpg"), "train", 0.0, 360.0)
OBJECT = ObjectPair("a", Path("a.jpg"), Path("b.jpg"), "val", "drone", (1.0, 2.0), (0.0, 0.0, 9.0, 9.0), None, "building")


def test_a_split_keeps_its_pairs_and_its_distractors() -> None:
    distractors = (Aerial("x", Path("x.jpg"), "train"), Aerial("y", Path("y.jpg"), "test"))
    data = PairSet("set", "cvusa", Path("root"), (PAIR, replace(PAIR, id="b", split="test")), distractors)
    test = data.split("test")
    assert [pair.id for pair in test] == ["b"]
    assert [aerial.id for aerial in test.distractors] == ["y"]
    assert (test.name, test.layout, test.root) == (data.name, data.layout, data.root)
    assert (len(data), len(test)) == (2, 1)


def test_splits_are_named_in_their_order() -> None:
    data = PairSet("set", "cvusa", Path("root"), tuple(replace(PAIR, split=name) for name in ("val", "train", "val")))
    assert data.splits == ("val", "train")


def test_an_unknown_split_is_refused_with_those_there_are() -> None:
    with pytest.raises(InputError, match=r"no split 'test'; it has train"):
        PairSet("set", "cvusa", Path("root"), (PAIR,)).split("test")
    with pytest.raises(InputError, match=r"no split 'test'; it has val"):
        ObjectSet("set", "cvogl-drone", Path("root"), (OBJECT,)).split("test")


def test_an_aerial_is_named_by_its_file_and_a_window_by_its_photo() -> None:
    assert PAIR.aerial_id == "a_sat"
    assert replace(PAIR, window_m=60.0).aerial_id == "a"


def test_only_a_window_of_imagery_lies_along_a_grid_that_is_off_true_north() -> None:
    pair = replace(PAIR, crs="EPSG:32631", aerial_centre_xy=(700_000.0, 5_500_000.0))  # east of the zone's middle meridian
    assert pair.convergence_deg == 0.0
    assert replace(pair, window_m=60.0).convergence_deg == pytest.approx(2.1, abs=0.1)


def test_pixels_of_a_placed_aerial_have_a_lat_lon() -> None:
    pair = replace(OBJECT, aerial_crs="EPSG:32631", aerial_origin_xy=(500_000.0, 0.0), aerial_gsd_m=0.5)
    lat, lon = pair.lat_lon_of((0.0, 2000.0))
    assert lon == pytest.approx(3.0, abs=1e-9)  # the zone's middle meridian
    assert lat == pytest.approx(-0.00905, abs=1e-4)  # 1 km south of the equator
    assert pair.lat_lon_of((2000.0, 0.0))[1] > lon
