"""Towns as objects and layers."""

import numpy as np
import pytest
import shapely

from crossgeo import geodesy
from crossgeo.errors import LimitError, UsageError
from crossgeo.town import memory
from crossgeo.town.layout import Town, make_town
from crossgeo.town.plan import Material


def test_a_seed_gives_the_same_town_every_time(town: Town) -> None:
    again = make_town(town.seed, town.size_m)
    assert np.array_equal(again.layers.albedo, town.layers.albedo)
    assert np.array_equal(again.layers.height, town.layers.height)
    assert np.array_equal(again.layers.building, town.layers.building)
    assert [o.kind for o in again.objects] == [o.kind for o in town.objects]
    assert all(a.footprint.equals(b.footprint) for a, b in zip(again.objects, town.objects, strict=True))
    assert again.origin_xy == town.origin_xy
    assert again.crs == town.crs


def test_another_seed_gives_another_town_elsewhere(town: Town) -> None:
    other = make_town(town.seed + 1, town.size_m)
    assert other.origin_xy != town.origin_xy
    assert np.mean(np.abs(other.layers.albedo.astype(int) - town.layers.albedo)) > 10.0


def test_the_layers_cannot_be_painted_over_by_mistake(town: Town) -> None:
    with pytest.raises(ValueError, match="read-only"):
        town.layers.height[0, 0] = 1.0


def test_building_pixels_lie_under_their_outlines(town: Town) -> None:
    gsd, seen = town.layers.gsd_m, 0
    for index, building in enumerate(town.buildings):
        rows, cols = np.nonzero(town.layers.building == index)
        if len(rows) == 0:
            continue
        x, y = (cols + 0.5) * gsd, town.size_m - (rows + 0.5) * gsd
        assert shapely.contains_xy(building.outline.buffer(gsd), x, y).all()
        if len(rows) * gsd * gsd > 0.9 * building.outline.area:
            seen += 1
            assert town.layers.height[rows, cols].max() <= building.height_m + 3.5  # chimneys and stair heads stand above the ridge
    assert seen > 5


def test_objects_are_what_stands_still_wholly_inside(town: Town) -> None:
    kinds = {item.kind for item in town.objects}
    assert {"building", "tree"} <= kinds <= {"building", "tree", "car", "pond"}
    for item in town.objects:
        assert item.footprint.is_valid
        assert 0.0 <= item.corners.min() <= item.corners.max() <= town.size_m


def test_no_two_sixty_metre_patches_look_the_same(town: Town) -> None:
    side = round(40.0 / town.layers.gsd_m)
    patches = [town.layers.albedo[r : r + side, c : c + side].astype(float) for r in range(0, 601, side) for c in range(0, 601, side)]
    for i, a in enumerate(patches):
        for b in patches[:i]:
            assert np.abs(a - b).mean() > 4.0


def test_roads_roofs_and_plants_are_all_there(town: Town) -> None:
    counts = np.bincount(town.layers.material.ravel(), minlength=len(Material)) / town.layers.material.size
    assert counts[Material.ROOF] > 0.03
    assert counts[Material.ROAD] + counts[Material.PAVING] > 0.03
    assert counts[Material.GRASS] + counts[Material.CROP] + counts[Material.SOIL] + counts[Material.BROADLEAF] > 0.1


def test_local_metres_are_grid_metres_of_a_utm_zone(town: Town) -> None:
    lat, lon = town.to_lat_lon(12.5, 30.0)
    assert geodesy.metric_crs_at(lat, lon) == town.crs
    assert geodesy.from_lat_lon(town.crs, lat, lon) == pytest.approx((town.origin_xy[0] + 12.5, town.origin_xy[1] + 30.0), abs=1e-3)


def test_a_town_that_would_not_fit_in_memory_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "free_bytes", lambda: 3.2e9)
    with pytest.raises(LimitError, match="at most 1550 m"):
        make_town(1, 4000.0, 0.2)


@pytest.mark.parametrize(("seed", "size_m", "gsd_m"), [(-1, 200.0, 0.2), (1, 50.0, 0.2), (1, 6000.0, 0.2), (1, 200.0, 0.01)])
def test_a_town_out_of_range_is_refused(seed: int, size_m: float, gsd_m: float) -> None:
    with pytest.raises(UsageError):
        make_town(seed, size_m, gsd_m)
