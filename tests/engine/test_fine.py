"""The 5 m step: its peaks, its reach, its radius."""

from __future__ import annotations

import math
from typing import Any

import pytest

from crossgeo.engine.fine import FineSettings, FineStep, Spot, peak_of_line, peak_of_surface
from crossgeo.engine.pose import DronePose
from crossgeo.engine.search import GeoSearch

X, Y = 363_147.0, 3_057_452.0


def test_a_parabola_peaks_between_its_scores() -> None:
    assert peak_of_line(0.0, 1.0, 0.0) == 0.0
    assert peak_of_line(0.5, 1.0, 0.9) == pytest.approx(1 / 3)
    assert peak_of_line(0.0, 1.0, 1.0) == 0.5
    assert peak_of_line(1.0, 1.0, 1.0) == 0.0  # flat
    assert peak_of_line(None, 1.0, 0.9) == 0.0


def test_a_surface_peaks_where_its_paraboloid_does() -> None:
    def at(u: float, v: float) -> float:
        return 1.0 - 0.3 * (u - 0.2) ** 2 - 0.2 * (v + 0.3) ** 2 + 0.05 * (u - 0.2) * (v + 0.3)

    ring = {(a, b): at(a, b) for a in (-1, 0, 1) for b in (-1, 0, 1)}
    assert peak_of_surface(ring) == pytest.approx((0.2, -0.3))


def test_a_surface_with_a_hole_still_peaks_along_what_is_there() -> None:
    ring: dict[tuple[int, int], float | None] = {(a, b): 1.0 - 0.1 * (a - 0.25) ** 2 - b * b for a in (-1, 0, 1) for b in (-1, 0, 1)}
    ring[1, 1] = None
    assert peak_of_surface(ring) == pytest.approx((0.25, 0.0))


def spot(search: GeoSearch, x: float, y: float, heading: float, width: float) -> Spot:
    return Spot(search.index.segments[0], x, y, DronePose(heading, width), 0.5, 10.6, 3)


@pytest.mark.parametrize(("east", "north", "turn", "scale"), [(12.0, -9.0, 8.0, 1.12), (-13.0, 13.0, -7.0, 0.9), (3.0, 3.0, 0.0, 1.0)])
def test_a_rival_climbs_to_the_truth_from_up_to_its_reach(
    search: GeoSearch, ground: Any, east: float, north: float, turn: float, scale: float
) -> None:
    photo = ground.photo(X, Y, 40.0, 95.0)
    step = FineStep(search.index, search.matchers["drone"].describer)
    found = step.refine(photo, [spot(search, X + east, Y + north, 40.0 + turn, 95.0 * scale)])[0]
    assert math.hypot(found.x - X, found.y - Y) < 1.5
    assert found.pose.heading_deg == pytest.approx(40.0, abs=2.5)
    assert found.pose.width_m == pytest.approx(95.0, rel=0.05)
    assert found.score > 0.8
    assert found.tile == 3


def test_a_rival_never_leaves_its_reach(search: GeoSearch, ground: Any) -> None:
    settings = FineSettings(reach_m=10.0)
    step = FineStep(search.index, search.matchers["drone"].describer, settings)
    found = step.refine(ground.photo(X, Y, 40.0, 95.0), [spot(search, X + 40.0, Y, 40.0, 95.0)])[0]
    assert abs(found.x - (X + 40.0)) <= 10.0 + 5.0  # the grid's rounding and the place within a cell


def test_rivals_come_back_in_their_order(search: GeoSearch, ground: Any) -> None:
    step = FineStep(search.index, search.matchers["drone"].describer)
    found = step.refine(ground.photo(X, Y, 40.0, 95.0), [spot(search, X + 60.0, Y, 40.0, 95.0), spot(search, X + 3.0, Y, 40.0, 95.0)])
    assert found[0].x > X + 30.0
    assert abs(found[1].x - X) < 2.0


def test_a_rival_without_imagery_around_it_comes_back_as_it_was(search: GeoSearch, ground: Any) -> None:
    nowhere = spot(search, X + 5000.0, Y, 40.0, 95.0)
    assert FineStep(search.index, search.matchers["drone"].describer).refine(ground.photo(X, Y, 40.0, 95.0), [nowhere]) == [nowhere]


def test_a_flat_surface_has_a_wide_radius_and_a_sharp_one_a_narrow(search: GeoSearch) -> None:
    step = FineStep(search.index, search.matchers["drone"].describer)
    cells = [((i, j), (0, 0)) for i in range(-3, 4) for j in range(-3, 4)]
    flat = step._radius_m(dict.fromkeys(cells, 0.6), 0.0, 0.0)
    sharp = step._radius_m({pair: 0.9 if pair[0] == (0, 0) else 0.3 for pair in cells}, 0.0, 0.0)
    assert flat > 10.0
    assert sharp == 2.5
