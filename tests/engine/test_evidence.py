"""What confidence is judged from: overlap with the imagery, rivals, the same whatever is asked to be shown."""

from __future__ import annotations

import json
from typing import Any

import pytest

from crossgeo.engine.search import GeoSearch


def test_evidence_does_not_depend_on_how_many_places_are_shown(dense_search: GeoSearch, ground: Any) -> None:
    photo = ground.photo(363_150.0, 3_057_450.0, 30.0, 60.0)
    one, five = (dense_search.query(photo, top=top, kind="drone", height_m=43.0) for top in (1, 5))
    assert one.evidence == five.evidence is not None
    assert five.evidence.score == pytest.approx(five.places[0].score, abs=1e-4)
    assert five.evidence.margin == pytest.approx(five.places[0].score - five.places[1].score, abs=1e-4)
    assert five.evidence.spread_m == pytest.approx(five.places[0].radius_m, abs=0.01)
    assert json.loads(json.dumps(one.to_json()))["evidence"] == one.evidence.to_json()


def test_overlap_is_all_inside_the_imagery_and_half_on_its_rim(dense_search: GeoSearch, ground: Any) -> None:
    known: dict[str, Any] = {"kind": "drone", "heading_deg": 0.0, "height_m": 43.0, "fov_deg": 70.0, "tilt_deg": 0.0}
    inside = dense_search.query(ground.photo(363_150.0, 3_057_450.0, 0.0, 60.0), **known).evidence
    rim = dense_search.query(ground.photo(363_003.0, 3_057_450.0, 0.0, 60.0), **known).evidence
    assert inside is not None
    assert inside.overlap == 1.0
    assert rim is not None
    assert 0.4 < rim.overlap < 0.75


def test_more_guesses_are_counted(dense_search: GeoSearch, ground: Any) -> None:
    photo = ground.photo(363_150.0, 3_057_450.0, 30.0, 60.0)
    told = dense_search.query(photo, kind="drone", heading_deg=30.0, height_m=43.0).evidence
    untold = dense_search.query(photo, kind="drone").evidence
    assert told is not None
    assert untold is not None
    assert untold.poses > told.poses >= 1
