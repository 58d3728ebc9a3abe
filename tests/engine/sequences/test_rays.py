"""Where rays meet, held against float64 least squares on its own terms, and whatever the world is turned or shifted by."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from crossgeo.engine.sequences.rays import TWO_OF_THREE, Rays, meet


def rays_to(
    target: tuple[float, float], cameras: list[tuple[float, float]], off_deg: list[float] | None = None, extent_m: float = 0.5
) -> Rays:
    here, many = np.array(cameras, np.float64), len(cameras)
    to = np.array(target) - here
    bearings = np.degrees(np.arctan2(to[:, 0], to[:, 1])) + np.array(off_deg or [0.0] * many)
    return Rays(here, bearings, np.full(many, 1.7), np.full(many, 1.5), np.full(many, extent_m))


def cost(rays: Rays, sigma: np.ndarray, point: np.ndarray) -> float:
    """The sum of squares of distances from the rays' lines."""
    angle = np.radians(rays.bearings_deg)
    across = (point[0] - rays.cameras[:, 0]) * np.cos(angle) - (point[1] - rays.cameras[:, 1]) * np.sin(angle)
    return float(((across / sigma) ** 2).sum())


def test_exact_rays_meet_in_the_object() -> None:
    met = meet(rays_to((3.0, 20.0), [(0.0, 0.0), (10.0, 0.0), (20.0, 1.0)]))
    assert met is not None
    np.testing.assert_allclose(met.point, (3.0, 20.0), atol=1e-7)
    assert met.chi2 == pytest.approx(0.0, abs=1e-12)


def test_no_point_is_better_than_the_meeting_and_its_covariance_is_the_curvature() -> None:
    rays = rays_to((3.0, 20.0), [(0.0, 0.0), (10.0, 0.0), (20.0, 1.0), (-9.0, 12.0)], [2.0, -1.0, 0.5, 1.5])
    met = meet(rays)
    assert met is not None
    along = np.hypot(*(met.point - rays.cameras).T)
    sigma = np.sqrt(1.7**2 + (np.radians(1.5) * along) ** 2 + 0.5**2)
    best = cost(rays, sigma, met.point)
    assert best == pytest.approx(met.chi2, rel=1e-3)
    step = 1e-3
    grid = [met.point + step * np.array(d) for d in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1))]
    costs = [cost(rays, sigma, point) for point in grid]
    assert min(costs) >= best
    east, north = (costs[0] + costs[1] - 2 * best) / 2 / step**2, (costs[2] + costs[3] - 2 * best) / 2 / step**2
    mixed = (costs[4] - costs[0] - costs[2] + best) / 2 / step**2
    np.testing.assert_allclose(met.covariance_m2, np.linalg.inv([[east, mixed], [mixed, north]]), rtol=2e-2, atol=1e-3)


@pytest.mark.parametrize("cameras", [[(0.0, 0.0)], [(0.0, 0.0), (0.0, -10.0)]])
def test_one_ray_or_parallel_ones_meet_nowhere(cameras: list[tuple[float, float]]) -> None:
    assert meet(rays_to((0.0, 30.0), cameras)) is None


def test_rays_that_meet_behind_a_camera_do_not_meet() -> None:
    rays = rays_to((3.0, 20.0), [(0.0, 0.0), (10.0, 0.0)])
    away = Rays(rays.cameras, rays.bearings_deg + 180.0, rays.camera_sigma_m, rays.bearing_sigma_deg, rays.extent_sigma_m)
    assert meet(away) is None
    assert np.isinf(away.misses(np.array([3.0, 20.0]))).all()


@settings(max_examples=60, deadline=None)
@given(st.floats(-180, 180), st.floats(-1e5, 1e5), st.floats(-1e5, 1e5), st.permutations(range(4)))
def test_a_turned_or_shifted_world_turns_and_shifts_the_meeting(turn_deg: float, east: float, north: float, order: list[int]) -> None:
    plain = rays_to((3.0, 20.0), [(0.0, 0.0), (10.0, 0.0), (20.0, 1.0), (-9.0, 12.0)], [2.0, -1.0, 0.5, 1.5])
    angle = math.radians(turn_deg)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])  # clockwise
    moved = Rays(plain.cameras @ turn.T + (east, north), plain.bearings_deg + turn_deg, *(
        (plain.camera_sigma_m, plain.bearing_sigma_deg, plain.extent_sigma_m)
    )).chosen(np.array(order))  # fmt: skip
    one, two = meet(plain), meet(moved)
    assert one is not None
    assert two is not None
    np.testing.assert_allclose(two.point, turn @ one.point + (east, north), atol=1e-5)
    np.testing.assert_allclose(two.covariance_m2, turn @ one.covariance_m2 @ turn.T, atol=1e-5)
    assert two.chi2 == pytest.approx(one.chi2, abs=1e-6)


def test_two_of_three_meetings_lie_within_the_radius() -> None:
    rng = np.random.default_rng(1)
    cameras, target, inside = [(0.0, 0.0), (12.0, 1.0), (24.0, -1.0)], (8.0, 25.0), []
    for _ in range(600):
        true = rays_to(target, cameras)
        noisy = Rays(
            true.cameras + rng.normal(0.0, 1.7, (3, 2)), true.bearings_deg + rng.normal(0.0, 1.5, 3), *(
                (true.camera_sigma_m, true.bearing_sigma_deg, np.full(3, 1e-3))
            )
        )  # fmt: skip
        met = meet(noisy)
        assert met is not None
        inside.append(np.hypot(*(met.point - target)) <= met.radius_m)
    assert 0.62 <= np.mean(inside) <= 0.76  # the errors are not even in all directions
    assert pytest.approx(1.482, abs=1e-3) == TWO_OF_THREE
