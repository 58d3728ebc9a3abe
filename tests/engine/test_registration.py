"""engine/registration.py with plain colours as feature maps: photos and clicks are moved to where they fit."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from crossgeo.engine.fine import Spot
from crossgeo.engine.photo_maps import DenseDescriber
from crossgeo.engine.pose import DronePose
from crossgeo.engine.registration import Registration
from crossgeo.indexer.index import GeoIndex
from crossgeo.kernels.correlation import seen_cells
from crossgeo.models.views import PhotoGeometry, photo_to_ground

X, Y = 363_150.0, 3_057_450.0  # the middle of the patchwork


@pytest.fixture
def index(index_path: Path) -> Any:
    """The patchwork's index."""
    with GeoIndex.open(index_path) as opened:
        yield opened


def spot(index: GeoIndex, east_m: float, north_m: float, pose: DronePose) -> Spot:
    """Return a rival that far from the truth."""
    return Spot(index.segments[0], X + east_m, Y + north_m, pose, 0.8, 10.6, 0)


def test_colours_are_a_dense_describer(dense: Any) -> None:
    assert isinstance(dense, DenseDescriber)


@pytest.mark.parametrize(("east_m", "north_m"), [(0.0, 0.0), (9.0, -7.0), (-14.0, 12.0)])
def test_a_photo_is_moved_to_where_it_fits(index: GeoIndex, ground: Any, dense: Any, east_m: float, north_m: float) -> None:
    photo = ground.photo(X, Y, 40.0, 80.0)
    registration = Registration(index, dense)
    found = registration.register(registration.open(photo), [spot(index, east_m, north_m, DronePose(40.0, 80.0))])[0]
    assert np.hypot(found.x - X, found.y - Y) < 1.5
    assert found.fit is not None and found.fit > 0.9
    assert found.merit == pytest.approx((found.score + 2 * found.fit) / 3)


def test_the_pose_comes_from_the_maps_of_all_poses_tried(index: GeoIndex, ground: Any, dense: Any) -> None:
    photo, registration = ground.photo(X, Y, 130.0, 80.0), Registration(index, dense)
    wrong = spot(index, 6.0, 4.0, DronePose(10.0, 80.0))
    maps = registration.open(photo)
    swept = registration.sweep(maps, [wrong], [DronePose(float(turn), 80.0) for turn in range(0, 360, 15)])[0]
    assert abs(swept.pose.heading_deg - 130.0) < 10.0
    assert np.hypot(swept.x - X, swept.y - Y) < 4.0
    found = registration.register(maps, [swept])[0]
    assert abs(found.pose.heading_deg - 130.0) < 10.0
    assert np.hypot(found.x - X, found.y - Y) < 2.0
    alone = registration.register(maps, [wrong])[0]
    assert found.fit is not None and alone.fit is not None and found.fit > alone.fit + 0.2


def test_a_heading_is_settled_between_the_steps_it_was_tried_at(index: GeoIndex, ground: Any, dense: Any) -> None:
    true = 70.0
    registration, photo = Registration(index, dense), ground.photo(X, Y, true, 80.0)
    begun = replace(spot(index, 2.0, -3.0, DronePose(true - 3.7, 80.0)), fit=0.5, score=0.25)
    found = registration.settle_heading(registration.open(photo), begun)
    assert abs(found.pose.heading_deg - true) < 1.5 and np.hypot(found.x - X, found.y - Y) < 1.5
    assert (found.fit, found.score) == (0.5, 0.25)  # the place was judged, not the turn
    held = registration.settle_heading(registration.open(photo), begun, believed_deg=true - 6.0)
    assert true - 6.0 < held.pose.heading_deg < found.pose.heading_deg  # a heading that was given holds it back
    nowhere = spot(index, 5000.0, 0.0, DronePose(true, 80.0))
    assert registration.settle_heading(registration.open(photo), nowhere) == nowhere


def test_another_place_fits_less(index: GeoIndex, ground: Any, dense: Any) -> None:
    photo, registration = ground.photo(X, Y, 40.0, 80.0), Registration(index, dense)
    spots = [spot(index, 0, 0, DronePose(40.0, 80.0)), spot(index, 70, 50, DronePose(40.0, 80.0))]
    here, there = registration.register(registration.open(photo), spots)
    assert here.fit is not None and there.fit is not None and here.fit > there.fit + 0.3


def test_a_click_is_put_right_where_the_tilt_is_unknown(index: GeoIndex, ground: Any, dense: Any) -> None:
    photo, registration = ground.photo(X, Y, 0.0, 90.0, tilt_deg=20.0), Registration(index, dense)
    flat = spot(index, 0.0, 0.0, DronePose(0.0, 90.0))
    click = (100.0, 25.0)  # far ahead, where flat ground would lie nearer than it is
    true_east, true_north = photo_to_ground(PhotoGeometry(200, 150, 90.0, 0.0, 20.0, 70.0), *click)

    def error(at: Spot) -> float:
        east, north = photo_to_ground(at.pose.geometry(photo), *click)
        return float(np.hypot(at.x + east - X - true_east, at.y + north - Y - true_north))

    assert error(flat) > 3.0
    assert error(registration.register_click(photo, click, flat)) < 0.5 * error(flat)


def test_a_click_into_the_sky_moves_nothing(index: GeoIndex, ground: Any, dense: Any) -> None:
    photo = ground.photo(X, Y, 0.0, 90.0)
    tilted = spot(index, 0.0, 0.0, DronePose(0.0, 90.0, tilt_deg=58.0, fov_deg=100.0))
    assert Registration(index, dense).register_click(photo, (100.0, 0.0), tilted) == tilted


def test_where_there_is_no_imagery_nothing_fits(index: GeoIndex, ground: Any, dense: Any) -> None:
    photo = ground.photo(X, Y, 0.0, 80.0)
    far = replace(spot(index, 0, 0, DronePose(0.0, 80.0)), x=X + 5_000.0)
    registration = Registration(index, dense)
    found = registration.register(registration.open(photo), [far])[0]
    assert found.fit == 0.0
    assert (found.x, found.y) == (far.x, far.y)


def test_spots_registered_together_are_as_by_themselves(index: GeoIndex, ground: Any, dense: Any) -> None:
    photo, registration = ground.photo(X, Y, 40.0, 80.0), Registration(index, dense)
    poses = [DronePose(float(turn), 80.0) for turn in range(0, 360, 30)]
    rim = spot(index, -120.0, 118.0, DronePose(10.0, 80.0))  # half of its scene is no imagery
    spots = [spot(index, 9.0 * k, -7.0 * k, DronePose(40.0, 80.0)) for k in range(5)] + [rim]
    maps = registration.open(photo)
    together = registration.register(maps, registration.sweep(maps, spots, poses))
    for at, found in zip(spots, together, strict=True):
        own = registration.open(photo)
        alone = registration.register(own, registration.sweep(own, [at], poses))[0]
        assert (found.x, found.y, found.fit) == pytest.approx((alone.x, alone.y, alone.fit), abs=1e-4)
        assert found.pose == alone.pose


def test_no_spots_need_no_maps(index: GeoIndex, ground: Any, dense: Any) -> None:
    registration = Registration(index, dense)
    assert registration.register(registration.open(ground.photo(X, Y, 40.0, 80.0)), []) == []


def test_cells_beside_unseen_ground_do_not_count() -> None:
    mask = np.ones((1, 80, 80), np.bool_)
    mask[:, :, 40:] = False
    cells = seen_cells(mask, 8)[0]
    assert cells[:, :4].all()
    assert not cells[:, 4:].any()
