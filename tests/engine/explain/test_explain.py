"""Explaining an answer: it is the answer that would be given anyway, and the page says what decided it."""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from html import unescape
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from crossgeo.engine.explain import Explanation, explain, page, save_page
from crossgeo.engine.explain.attention import ClickMaps
from crossgeo.engine.explain.why import why, why_calibrated
from crossgeo.engine.photo import Photo
from crossgeo.engine.question import BatchOptions
from crossgeo.engine.search import GeoSearch
from crossgeo.engine.status import Confidence, Sure, Thresholds
from crossgeo.errors import LimitError


def test_the_answer_is_the_one_that_is_given_without_asking_why(searching: GeoSearch, photo: Photo, known: BatchOptions, told: Any) -> None:
    plain = searching.query(photo, point=(120.0, 90.0), **asdict(known)).to_json()
    explained = told.answer.to_json()
    assert {**plain, "timings_ms": None} == {**explained, "timings_ms": None}
    assert plain["status"] == "located"


def test_what_was_compared_is_what_the_scores_are_of(told: Explanation) -> None:
    best = told.compared[0]
    assert len(told.compared) == len(told.answer.places) == 3
    assert best.fit is not None and best.place.score == pytest.approx((best.cosine + 2.0 * best.fit) / 3.0)
    assert (best.away_m, best.lead) == (0.0, 0.0)
    assert all(one.lead > 0.0 and one.away_m >= 24.9 for one in told.compared[1:])
    ground = cv2.resize(best.ground, best.mask.shape, interpolation=cv2.INTER_LINEAR)
    apart = np.abs(best.canvas.astype(int) - ground.astype(int))[best.mask]
    assert best.mask.mean() > 0.8 and apart.mean() < 12.0, "the photo lies on the ground that it shows"


def test_parts_and_poses_speak_for_the_true_place(told: Explanation) -> None:
    assert len(told.parts) == len(told.rival_parts) == 9
    assert np.mean([part.fit for part in told.parts]) > 0.8 > np.mean([part.fit for part in told.rival_parts])
    assert told.best is not None and len(told.tried) == len(told.best.poses) == 9
    best = max(told.tried, key=lambda one: one.cosine)
    assert abs((best.heading_deg - 30.0 + 180.0) % 360.0 - 180.0) < 5.0


def test_a_box_that_was_too_unsure_is_explained_all_the_same(told: Explanation) -> None:
    assert told.answer.found is None and told.click is not None
    assert not told.click.sure and told.click.thing.confidence < told.click.least_confidence == 0.9
    assert told.click.maps is not None and len(told.click.maps.towards) == 2
    assert "the answer has no object" in page(told)


def test_a_network_without_cvcam_or_mhsam_is_said_to_have_none(told: Explanation) -> None:
    assert told.click is not None
    bare = replace(told, click=replace(told.click, maps=ClickMaps((), None, None)))
    assert "This network has no CVCAM and no MHSAM." in page(bare)
    assert "no network to look into" in page(replace(told, click=replace(told.click, maps=None)))


def test_the_page_says_what_decided_and_how_to_ask_again(told: Explanation) -> None:
    html = page(told, "geo query a.jpg --point 1,2")
    scores = [place.score for place in told.answer.places]
    for words in (f"{scores[0]:.3f}", "0.75", f"{scores[0] - scores[1]:.3f}", "geo query a.jpg --point 1,2", "CVCAM", "MHSAM", "in torch"):
        assert words in html
    assert html.count("<img ") == len(re.findall(r'<img src="data:image/webp;base64,[^"]+" width="\d+" height="\d+" alt="[^"]{8,}">', html))
    assert html.count("<article") == 3


def test_a_hostile_name_stays_text_and_the_page_asks_nobody(told: Explanation, hostile: str) -> None:
    html = page(told, f"geo query {hostile}")
    html.encode()
    assert "<script" not in html and "<img src=x" not in html and "\x07" not in html
    assert not re.search(r"""(?:src|href|action|url\()\s*=?\s*["']?(?!data:)(?:https?:)?//""", html)
    assert "default-src 'none'" in unescape(html)


def test_thresholds_are_told_in_words() -> None:
    asked = Thresholds(score=0.5, margin=0.05)
    assert "stays below the 0.5" in why("low_confidence", [0.4, 0.1], asked)
    assert "only 0.010, where 0.05" in why("ambiguous", [0.6, 0.59], asked)
    assert "its lead of 0.300" in why("located", [0.6, 0.3], asked)
    assert "no other place" in why("located", [0.6], asked)
    assert "were it not for what the notes say" in why("ambiguous", [0.6, 0.3], asked)
    assert why("outside_coverage", [], None) == "There is no place to judge."


def test_a_calibrated_index_is_told_by_its_probabilities(told: Explanation) -> None:
    chances = {5.0: 0.5, 10.0: 0.8, 25.0: 0.97, 50.0: 0.99}
    sure = Confidence(chances, 6.5, "located", Sure(0.95, 25.0))
    assert why_calibrated("located", sure).endswith("a probability of 0.970; 0.95 is asked of a place that is located.")
    assert "without its rivals" in why_calibrated("ambiguous", replace(sure, status="ambiguous"))
    assert "what the notes say" in why_calibrated("ambiguous", sure)
    assert told.best is not None and "two of three times" in page(told)
    best = replace(told.answer.places[0], probability=chances)
    calibrated = replace(
        told, best=replace(told.best, confidence=sure), answer=replace(told.answer, places=(best, *told.answer.places[1:]))
    )
    html = page(calibrated)
    assert "nine of ten times" in html and "97 % within 25 m" in html and "probability of 0.970" in html


def test_a_photo_without_a_place_or_a_click_has_a_page_too(searching: GeoSearch, photo: Photo) -> None:
    outside = explain(searching, photo, (120.0, 90.0), BatchOptions(near=(-6.1, 39.2)))
    html = page(outside)
    assert "outside coverage" in html and "there is no place to look at" in html and "<article" not in html
    assert outside.place_map is outside.rival_map is outside.click is None


def test_a_page_is_written_whole_or_not_at_all(told: Explanation, tmp_path: Path, room_for: Any) -> None:
    path = tmp_path / "out.html"
    path.write_text("older")
    with room_for(20_000), pytest.raises(LimitError, match=r"out\.html"):
        save_page(path, told)
    assert path.read_text() == "older" and [each.name for each in tmp_path.iterdir()] == ["out.html"]
    save_page(path, told)
    assert path.read_text() == page(told)
