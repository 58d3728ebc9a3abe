"""Pairs that come twice are told by how they look, and a photo that is trained on and asked about by its pixels."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from crossgeo.training.datasets.cvogl import read_cvogl
from crossgeo.training.datasets.cvusa import read_cvusa
from crossgeo.training.datasets.glance import Glance, glance, repeats
from crossgeo.training.datasets.records import ObjectRecord, PanoramaRecord
from crossgeo.training.datasets.write import write_cvogl, write_cvusa
from crossgeo.training.pairs import ObjectSet, PairSet


def seen(data: PairSet | ObjectSet) -> dict[Path, Glance | str]:
    return {path: glance(path) for pair in data.pairs for path in (pair.photo, pair.aerial)}


@pytest.fixture
def unplaced(tmp_path: Path, panoramas: list[PanoramaRecord], blobs: Callable[[int, int, int], NDArray[np.uint8]]) -> PairSet:
    """Return four pairs, two of training and two of validation, whose places are not known."""
    rows = [replace(row, panorama=blobs(n, 128, 256), aerial=blobs(n + 9, 128, 128)) for n, row in enumerate(panoramas)]
    write_cvusa(rows, tmp_path / "set")
    (tmp_path / "set" / "crossgeo.json").unlink()
    return read_cvusa(tmp_path / "set")


def copy(data: PairSet, source: int, target: int, quality: int | None = None) -> None:
    """Put one pair's pictures in another's place, coded anew where a quality is given."""
    for one, other in ((data.pairs[source].photo, data.pairs[target].photo), (data.pairs[source].aerial, data.pairs[target].aerial)):
        if quality is None:
            other.write_bytes(one.read_bytes())
        else:
            Image.open(one).save(other, quality=quality)


def test_different_pictures_are_no_repeats(unplaced: PairSet) -> None:
    assert repeats(unplaced, seen(unplaced)) == ([], [])


def test_a_photo_of_training_that_is_asked_about_is_a_problem(unplaced: PairSet) -> None:
    copy(unplaced, 1, 2)
    (problem,), notes = repeats(unplaced, seen(unplaced))
    assert notes == []
    assert problem == "CVUSA: photos of val that are photos of train, too: 1; the first, pano002, is pano001 there"


def test_what_only_looks_alike_or_comes_twice_in_a_split_is_a_note(unplaced: PairSet) -> None:
    copy(unplaced, 0, 1)
    copy(unplaced, 0, 3, quality=90)
    problems, (note,) = repeats(unplaced, seen(unplaced))
    assert problems == []
    assert "photo and aerial: 2; the first, pano001 of train, looks like pano000 of train" in note


def test_a_pair_listed_in_training_and_elsewhere_is_a_problem_but_not_one_listed_twice_beside_it(unplaced: PairSet) -> None:
    one = unplaced.pairs[0]
    twice = replace(unplaced, pairs=(one, replace(one, split="val")))
    assert len(repeats(twice, seen(twice))[0]) == 1
    beside = replace(unplaced, pairs=(replace(one, split="val"), replace(one, split="test")))
    assert repeats(beside, seen(beside)) == ([], [])


def test_the_same_look_at_another_place_is_no_repeat(tmp_path: Path, panoramas: list[PanoramaRecord]) -> None:
    first = panoramas[0]
    away = replace(panoramas[1], panorama=first.panorama, aerial=first.aerial)
    near = replace(away, id="near", xy=(first.xy[0] + 0.7, first.xy[1]))
    write_cvusa([first, away, near, *panoramas[2:]], tmp_path / "set")
    data = read_cvusa(tmp_path / "set")
    problems, (note,) = repeats(data, seen(data))
    assert problems == []
    assert "photo and aerial: 1; the first, near of train, looks like pano000" in note


def test_another_click_in_one_photo_is_another_question(tmp_path: Path, objects: list[ObjectRecord]) -> None:
    twins = [replace(objects[0], id="200", click_px=(40.0, 31.0)), replace(objects[0], id="201")]
    write_cvogl([*objects, *twins], tmp_path, "drone")
    data = read_cvogl(tmp_path, "drone")
    problems, (note,) = repeats(data, seen(data))
    assert problems == []
    assert "photo and aerial: 1; the first, 201 of train, looks like 100 of train" in note


def test_pictures_that_cannot_be_read_repeat_nothing(unplaced: PairSet) -> None:
    for number in (0, 1):
        unplaced.pairs[number].photo.write_text("no picture")
    assert repeats(unplaced, seen(unplaced)) == ([], [])


def test_a_glance_has_the_size_of_the_whole_picture(tmp_path: Path) -> None:
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (700, 1100, 3), dtype=np.uint8)).save(tmp_path / "a.jpg")
    found = glance(tmp_path / "a.jpg")
    assert isinstance(found, Glance) and found.size == (1100, 700)
    assert "no such file" in str(glance(tmp_path / "b.jpg"))
