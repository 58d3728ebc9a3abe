"""Sun, shadows and seasons over a height field."""

import numpy as np
import pytest

from crossgeo.town.light import season_tables, sky_view, sunlit
from crossgeo.town.light import shade as shade_lit
from crossgeo.town.plan import Material
from crossgeo.town.scene import SEASONS, Scene


def shade(grey: np.ndarray, material: np.ndarray, field: np.ndarray, gsd_m: float, scene: Scene) -> np.ndarray:
    return shade_lit(grey, material, field, sunlit(field, gsd_m, scene), gsd_m, scene)


def _pole(height_m: float) -> np.ndarray:
    field = np.zeros((101, 101), np.float32)
    field[48:53, 48:53] = height_m
    return field


@pytest.mark.parametrize(("azimuth_deg", "step"), [(0.0, (1, 0)), (90.0, (0, -1)), (180.0, (-1, 0)), (270.0, (0, 1))])
def test_a_shadow_falls_away_from_the_sun_as_long_as_its_height_over_the_tangent(azimuth_deg: float, step: tuple[int, int]) -> None:
    lit = sunlit(_pole(10.0), 0.5, Scene(sun_azimuth_deg=azimuth_deg, sun_elevation_deg=45.0))
    length_px = 20  # 10 m at 45 degrees and 0.5 m a pixel
    assert lit[50 + step[0] * (length_px - 2), 50 + step[1] * (length_px - 2)] < 0.1
    assert lit[50 + step[0] * (length_px + 6), 50 + step[1] * (length_px + 6)] > 0.9
    assert lit[50 - step[0] * 8, 50 - step[1] * 8] > 0.9


def test_the_doubling_shadow_agrees_with_the_plain_definition_on_a_rough_field() -> None:
    rng = np.random.default_rng(1)
    field = np.repeat(np.repeat(rng.uniform(0.0, 6.0, (16, 16)), 8, 0), 8, 1).astype(np.float32)
    lit = sunlit(field, 0.5, Scene(sun_azimuth_deg=90.0, sun_elevation_deg=30.0))
    drop = np.tan(np.radians(30.0)) * 0.5
    top = field.copy()
    for k in range(1, 40):  # the sun is east: look right
        top[:, :-k] = np.maximum(top[:, :-k], field[:, k:] - k * drop)
    dark = top - field > 0.6
    bright = top - field < 0.01
    assert lit[:, :80][dark[:, :80]].mean() < 0.12
    assert lit[:, :80][bright[:, :80]].mean() > 0.88


def test_an_overcast_sky_takes_shadows_away() -> None:
    field, grey = _pole(10.0), np.full((101, 101, 3), 120, np.uint8)
    material = np.full((101, 101), Material.PAVING, np.uint8)

    def contrast(overcast: float) -> float:
        look = shade(grey, material, field, 0.5, Scene(sun_azimuth_deg=90.0, sun_elevation_deg=45.0, overcast=overcast)).astype(float)
        return float(look[50, 90].mean() - look[50, 38].mean())

    assert contrast(0.0) > 20.0
    assert contrast(1.0) < 0.4 * contrast(0.0)


def test_a_slope_towards_the_sun_is_brighter() -> None:
    ramp = np.tile(np.linspace(0.0, 20.0, 101, dtype=np.float32), (101, 1))  # rises eastwards
    grey, material = np.full((101, 101, 3), 120, np.uint8), np.full((101, 101), Material.ROOF, np.uint8)
    west = shade(grey, material, ramp, 0.5, Scene(sun_azimuth_deg=270.0, sun_elevation_deg=45.0))
    east = shade(grey, material, ramp, 0.5, Scene(sun_azimuth_deg=90.0, sun_elevation_deg=45.0))
    assert west[50, 50].mean() > east[50, 50].mean() + 20.0


def test_the_sky_is_less_open_at_the_foot_of_a_wall() -> None:
    field = np.zeros((100, 100), np.float32)
    field[:, 50:] = 12.0
    view = sky_view(field, 0.2)
    assert view[50, 45] < 0.9 < view[50, 2]
    assert view[50, 80] > 0.95


def test_every_season_colours_leaves_its_own_way() -> None:
    leaves = {season: tuple(season_tables(season)[0][Material.BROADLEAF]) for season in SEASONS}
    assert len(set(leaves.values())) == len(SEASONS)
    for season in SEASONS:
        assert np.array_equal(season_tables(season)[0][Material.ROAD], np.ones(3, np.float32))  # roads know no season
