"""engine/search.py with a model that gives feature maps: rivals are registered, judged by all of the photo, and looked for by parts."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from crossgeo.engine.matcher import MatchSettings
from crossgeo.engine.search import GeoSearch
from crossgeo.geodesy import distance_m, grid_convergence_deg, to_lat_lon

WIDTH_M = 95.0
X, Y = 363_150.0, 3_057_450.0  # the middle of the patchwork


def known(search: GeoSearch, heading_deg: float) -> dict[str, Any]:
    """What a drone knows of its camera, so that few poses are tried."""
    fov_deg = 70.0
    height_m = WIDTH_M / 2.0 / float(np.tan(np.radians(fov_deg / 2.0)))
    turn = grid_convergence_deg(search.index.segments[0].crs, X, Y)
    return {"heading_deg": heading_deg + turn, "fov_deg": fov_deg, "height_m": height_m}


@pytest.mark.parametrize(("heading", "east_m", "north_m"), [(30.0, 0.0, 0.0), (215.0, 41.0, -38.0)])
def test_a_photo_is_found_to_two_metres_and_agrees_with_its_place(
    dense_search: GeoSearch, ground: Any, heading: float, east_m: float, north_m: float
) -> None:
    photo = ground.photo(X + east_m, Y + north_m, heading, WIDTH_M)
    answer = dense_search.query(photo, **known(dense_search, heading))
    best = answer.places[0]
    truth = to_lat_lon(dense_search.index.segments[0].crs, X + east_m, Y + north_m)
    assert answer.status == "located"
    assert distance_m(best.lat, best.lon, *truth) < 2.0
    assert best.radius_m < 8.0
    assert best.score > 0.75


def test_as_many_places_come_back_as_are_asked_for_best_first(dense_search: GeoSearch, ground: Any) -> None:
    answer = dense_search.query(ground.photo(X, Y, 30.0, WIDTH_M), top=8, **known(dense_search, 30.0))
    scores = [place.score for place in answer.places]
    assert len(scores) == 8
    assert scores == sorted(scores, reverse=True)
    assert scores[0] > scores[1] + 0.2


def test_a_convincing_place_spares_the_search_for_parts(dense_search: GeoSearch, ground: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[float, float]] = []
    matcher = dense_search.matchers["drone"]
    assert matcher._parts is not None
    monkeypatch.setattr(matcher._parts, "rivals", lambda photo, part, poses, ids: asked.append(part) or [])
    photo = ground.photo(X, Y, 30.0, WIDTH_M)
    dense_search.query(photo, **known(dense_search, 30.0))
    assert asked == []
    matcher.settings = MatchSettings(sure_merit=2.0)  # nothing convinces
    dense_search.query(photo, **known(dense_search, 30.0))
    assert asked == list(matcher._parts.settings.parts)
