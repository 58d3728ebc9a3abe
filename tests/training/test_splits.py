"""Held-out ground stays held out, and repeats are found."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from crossgeo.errors import InputError
from crossgeo.training.pairs import Pair, PairSet
from crossgeo.training.splits import GAP, deduplicate, drawn_share, find_duplicates, overlapping, perceptual_hash, resplit, split_by_area

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}
PLACES = st.lists(st.tuples(st.floats(0, 900), st.floats(0, 900)), min_size=30, max_size=120)


def town(count: int = 2000, seed: int = 0) -> NDArray[np.float64]:
    return np.random.default_rng(seed).uniform(0.0, 2000.0, (count, 2)) + np.array([500_000.0, 4_000_000.0])


def test_a_share_is_drawn_without_repeats_and_smaller_ones_lie_within_larger_ones() -> None:
    shares = [drawn_share(range(1000), share, 3, least=8) for share in (0.001, 0.2, 0.4, 0.6, 1.0)]
    assert [len(rows) for rows in shares] == [8, 200, 400, 600, 1000]
    for smaller, larger in pairwise(shares):
        assert set(smaller) < set(larger) and larger == sorted(set(larger))
    assert 0.35 < np.mean(np.array(shares[2]) < 500) < 0.65  # from all over
    assert drawn_share(range(1000), 0.2, 3, least=8) == shares[1] != drawn_share(range(1000), 0.2, 4, least=8)
    assert drawn_share("abc", 0.1, 3, least=8) == ["a", "b", "c"]


@settings(max_examples=40, deadline=None)
@given(places=PLACES, seed=st.integers(0, 99), gap_m=st.floats(0.0, 200.0))
def test_no_square_of_one_split_overlaps_a_square_of_another(places: list[tuple[float, float]], seed: int, gap_m: float) -> None:
    xy = np.array([*places, (0.0, 0.0), (450.0, 450.0), (899.0, 899.0)])
    names = np.array(split_by_area(xy, SHARES, 150.0, gap_m, seed))
    for one in SHARES:
        for other in SHARES:
            if one != other:
                apart = np.abs(xy[names == one][:, None] - xy[names == other][None]).max(axis=2)
                assert not len(apart.ravel()) or apart.min() >= gap_m - 1e-5


@settings(max_examples=40, deadline=None)
@given(places=PLACES, seed=st.integers(0, 99))
def test_places_of_one_cell_share_a_split_and_without_a_gap_none_is_given_up(places: list[tuple[float, float]], seed: int) -> None:
    xy = np.array([*places, (0.0, 0.0), (450.0, 450.0), (899.0, 899.0)])
    names = split_by_area(xy, SHARES, 150.0, 0.0, seed)
    of_cell: dict[tuple[int, int], str] = {}
    for (x, y), name in zip(xy, names, strict=True):
        assert name != GAP
        assert of_cell.setdefault((int(x // 150.0), int(y // 150.0)), name) == name
    assert set(names) == set(SHARES)


def test_shares_are_met_on_even_ground() -> None:
    names = split_by_area(town(), SHARES, 100.0, 0.0)
    assert [names.count(name) / 2000 for name in SHARES] == pytest.approx(list(SHARES.values()), abs=0.02)


def test_training_gives_way_to_held_out_ground() -> None:
    without, with_gap = (split_by_area(town(), SHARES, 400.0, gap_m, 3) for gap_m in (0.0, 40.0))
    assert [n for n, name in enumerate(with_gap) if name == "test"] == [n for n, name in enumerate(without) if name == "test"]
    given_up = {without[n] for n, name in enumerate(with_gap) if name == GAP}
    assert given_up == {"train", "val"}


def test_the_seed_chooses_the_ground_and_nothing_else_does() -> None:
    assert split_by_area(town(), SHARES, 100.0, 10.0, 1) == split_by_area(town(), SHARES, 100.0, 10.0, 1)
    assert split_by_area(town(), SHARES, 100.0, 10.0, 1) != split_by_area(town(), SHARES, 100.0, 10.0, 2)


@pytest.mark.parametrize(("shares", "cell_m"), [({"a": 1.0, "b": 0.0}, 100.0), ({}, 100.0), (SHARES, 0.0), (SHARES, 1e6)])
def test_shares_and_cells_that_cannot_split_are_refused(shares: dict[str, float], cell_m: float) -> None:
    with pytest.raises(InputError):
        split_by_area(np.full((5, 2), 10.0), shares, cell_m, 0.0)


def test_squares_that_only_touch_do_not_overlap() -> None:
    xy = np.array([[0.0, 0.0], [9.99, 9.99], [10.0, 0.0], [0.0, -10.01]])
    assert overlapping(xy, np.array([[0.0, 0.0]]), 10.0).tolist() == [True, True, False, False]
    assert overlapping(xy, np.zeros((0, 2)), 10.0).tolist() == [False] * 4


def pair(number: int, folder: Path = Path(), xy: tuple[float, float] | None = (0.0, 0.0)) -> Pair:
    return Pair(f"p{number}", folder / f"p{number}.jpg", folder / f"a{number}.jpg", "all", 0.0, 360.0, xy, "EPSG:32631", 0.5, xy)


def test_a_data_set_is_split_anew_and_says_what_it_gave_up() -> None:
    pairs = tuple(pair(n, xy=(float(x), float(y))) for n, (x, y) in enumerate(town(300)))
    found = resplit(PairSet("set", "folder", Path("root"), pairs), SHARES, 400.0, 60.0)
    assert set(found.splits) == set(SHARES)
    assert len(found) + len(found.left_out) == 300
    assert {reason for _, reason in found.left_out} == {"its aerial overlaps held-out ground"}


def test_photos_without_a_place_cannot_be_split_by_area() -> None:
    data = PairSet("set", "folder", Path("root"), (pair(0), pair(1, xy=None)))
    with pytest.raises(InputError, match="like p1"):
        resplit(data, SHARES, 100.0, 0.0)


def test_places_in_several_crs_cannot_be_split_together() -> None:
    data = PairSet("set", "folder", Path("root"), (pair(0), replace(pair(1), crs="EPSG:32632")))
    with pytest.raises(InputError, match="several CRSs"):
        resplit(data, SHARES, 100.0, 0.0)


def blobs(seed: int, height: int = 96, width: int = 128) -> NDArray[np.uint8]:
    small = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


def test_a_hash_survives_scaling_and_jpeg_and_tells_pictures_apart() -> None:
    one = blobs(0)
    coded = cv2.imdecode(cv2.imencode(".jpg", one, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)
    smaller = np.asarray(cv2.resize(np.asarray(coded, np.uint8), (80, 60), interpolation=cv2.INTER_AREA), np.uint8)
    assert (perceptual_hash(one) ^ perceptual_hash(smaller)).bit_count() <= 3
    apart = [(perceptual_hash(one) ^ perceptual_hash(blobs(n))).bit_count() for n in range(1, 20)]
    assert min(apart) > 10


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_every_pair_of_hashes_up_to_three_bits_apart_is_found(seed: int) -> None:
    rng = np.random.default_rng(seed)
    base = [int(v) for v in rng.integers(0, 1 << 62, 12)]
    near = [value ^ sum(1 << int(b) for b in rng.choice(64, 3, replace=False)) for value in base]
    assert find_duplicates(base + near).tolist() == [*range(12), *range(12)]


def test_hashes_four_bits_apart_are_two_pictures() -> None:
    assert find_duplicates([0, 0b1111]).tolist() == [0, 1]


def test_the_same_look_at_another_place_is_no_repeat() -> None:
    xy = np.array([[0.0, 0.0], [0.5, 0.0], [50.0, 0.0], [np.nan, np.nan]])
    assert find_duplicates([7, 7, 7, 7], xy=xy).tolist() == [0, 0, 2, 0]


def test_the_same_photo_over_another_aerial_is_no_repeat() -> None:
    assert find_duplicates([7, 7, 7], aerials=[1, 1, 1 << 60 | 0xFF]).tolist() == [0, 0, 2]


def test_what_repeats_only_a_repeat_is_new() -> None:
    assert find_duplicates([0b111000, 0, 0b111]).tolist() == [0, 0, 2]


@pytest.fixture
def save(tmp_path: Path) -> Callable[[int, int], Pair]:
    """Return a function that saves a pair's pictures, photo and aerial of a seed."""

    def write(number: int, seed: int) -> Pair:
        found = pair(number, tmp_path)
        Image.fromarray(blobs(seed)).save(found.photo, quality=70 + number)
        Image.fromarray(blobs(seed + 100, 96, 96)).save(found.aerial)
        return found

    return write


def test_repeats_and_broken_pairs_leave_a_data_set_by_name(tmp_path: Path, save: Callable[[int, int], Pair]) -> None:
    pairs = (save(0, 1), save(1, 2), save(2, 1), replace(save(3, 1), xy=(30.0, 0.0)), save(4, 3))
    pairs[4].photo.write_bytes(b"broken")
    found = deduplicate(PairSet("set", "folder", tmp_path, pairs))
    assert [p.id for p in found] == ["p0", "p1", "p3"]
    reasons = dict(found.left_out)
    assert reasons["p2"] == "repeats p0"
    assert "not an image" in reasons["p4"]
