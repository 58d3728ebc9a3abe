"""The demo measures what it says it measures."""

import json
from pathlib import Path
from typing import Any

import pytest

from crossgeo import demo
from crossgeo.demo import Outcome, Trial
from crossgeo.engine.evaluate import polygon_iou
from crossgeo.errors import InputError


def square(west: float, south: float, side: float) -> dict[str, Any]:
    east, north = west + side, south + side
    return {"type": "Polygon", "coordinates": [[[west, south], [east, south], [east, north], [west, north], [west, south]]]}


def outcome(error_m: float | None, iou: float | None) -> Outcome:
    return Outcome("a.jpg", "located", error_m, 1.0, iou, 100.0)


def test_overlap_is_intersection_over_union() -> None:
    assert polygon_iou(square(85.0, 27.0, 2e-4), square(85.0, 27.0, 2e-4)) == pytest.approx(1.0)
    assert polygon_iou(square(85.0, 27.0, 2e-4), square(85.0001, 27.0, 2e-4)) == pytest.approx(1 / 3, rel=1e-6)
    assert polygon_iou(square(85.0, 27.0, 2e-4), square(85.1, 27.0, 2e-4)) == 0.0


def test_a_photo_without_a_place_counts_as_missed_and_an_object_not_found_as_wrong() -> None:
    trial = Trial("t", True, Path("t.geo"), 9, 1.0, (outcome(3.0, 0.7), outcome(12.0, 0.0), outcome(None, 0.0), outcome(40.0, None)), None)
    assert (trial.within(5.0), trial.within(25.0)) == (1, 2)
    assert trial.boxes(0.5) == (1, 3)
    assert trial.median_error_m == 12.0
    assert json.loads(json.dumps(trial.to_json()))["photos"] == 4


def test_a_town_that_may_have_been_trained_on_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="9000"):
        demo.run_town(tmp_path, 1, 300, 1, 1, ("a", "b"), lambda *_: None)


def test_a_folder_of_other_imagery_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"mosaic\.tif"):
        demo.run_real(tmp_path, tmp_path, 9, ("a", "b"), lambda *_: None)


ALL = list(range(18))


@pytest.mark.parametrize(("count", "asked"), [(1, [9]), (3, [3, 9, 15]), (9, ALL[1::2]), (18, ALL), (50, ALL)])
def test_fewer_real_photos_are_spread_over_the_flight(count: int, asked: list[int]) -> None:
    questions = [demo.Question(Path(f"{n}.jpg"), 0.0, 0.0) for n in ALL]
    assert [int(question.photo.stem) for question in demo.spread_over(questions, count)] == asked


def test_the_real_questions_are_the_eighteen_registered_photos(geo_data: Path) -> None:
    questions = demo.real_questions(geo_data / "drone_brighton_beach")
    assert len(questions) == 18
    assert all(question.photo.is_file() for question in questions)
    assert all(46.8 < question.lat < 46.9 and -92.0 < question.lon < -91.9 for question in questions)


def test_the_picture_shown_is_of_a_right_place_and_rather_with_a_right_box() -> None:
    box = square(85.0, 27.0, 2e-4)
    clicked, plain = demo.Question(Path("a.jpg"), 27.0, 85.0, box=box), demo.Question(Path("a.jpg"), 27.0, 85.0)
    assert demo._worth_showing(outcome(3.0, 0.7), clicked) == 2
    assert demo._worth_showing(outcome(3.0, 0.2), clicked) == 1
    assert demo._worth_showing(outcome(3.0, None), plain) == 2
    assert demo._worth_showing(outcome(30.0, 0.7), clicked) == 0
