"""The geometry of the drone's camera."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crossgeo.errors import UsageError
from crossgeo.town.camera import Camera, Pose, footprint, ground_at, project

poses = st.builds(
    Pose,
    x=st.floats(-1000.0, 1000.0), y=st.floats(-1000.0, 1000.0), height_m=st.floats(5.0, 300.0), heading_deg=st.floats(-720.0, 720.0),
    tilt_deg=st.floats(0.0, 35.0),
)  # fmt: skip


@given(poses, st.floats(0.0, 640.0), st.floats(0.0, 480.0), st.floats(0.0, 4.0))
def test_a_pixel_carried_to_any_level_and_back_returns_to_itself(pose: Pose, column: float, row: float, height_m: float) -> None:
    camera = Camera(60.0, 640, 480)
    x, y = ground_at(pose, camera, [[column, row]], height_m)[0]
    np.testing.assert_allclose(project(pose, camera, [[x, y, height_m]]), [[column, row]], atol=1e-6)


@given(poses)
def test_the_ground_at_the_middle_of_the_photo_is_the_centre_of_the_pose(pose: Pose) -> None:
    camera = Camera(70.0, 1024, 768)
    np.testing.assert_allclose(ground_at(pose, camera, [[512.0, 384.0]])[0], pose.centre, atol=1e-6)


def test_a_level_camera_sees_its_heading_at_the_top_and_ninety_degrees_more_at_the_right() -> None:
    camera = Camera(90.0, 100, 100)  # half the width is the height
    pose = Pose(0.0, 0.0, 50.0, 90.0)
    top, right = ground_at(pose, camera, [[50.0, 0.0], [100.0, 50.0]])
    np.testing.assert_allclose(top, (50.0, 0.0), atol=1e-9)  # heading east
    np.testing.assert_allclose(right, (0.0, -50.0), atol=1e-9)  # south


def test_tilt_moves_the_view_forward_and_leaves_the_camera_behind() -> None:
    pose = Pose(10.0, 20.0, 60.0, 0.0, 30.0)
    assert pose.centre == pytest.approx((10.0, 20.0 + 60.0 * np.tan(np.pi / 6)))
    below = project(pose, Camera(), [[10.0, 20.0, 0.0]])[0]
    assert below[0] == pytest.approx(512.0)
    assert below[1] > 384.0  # straight below lies in the lower half


def test_a_roof_leans_away_from_the_middle() -> None:
    pose, camera = Pose(0.0, 0.0, 50.0, 0.0), Camera()
    foot, roof = project(pose, camera, [[20.0, 0.0, 0.0], [20.0, 0.0, 10.0]])
    assert roof[0] > foot[0] > 512.0


def test_points_behind_the_camera_and_rays_above_the_horizon_have_no_answer() -> None:
    pose = Pose(0.0, 0.0, 50.0, 0.0, 35.0)
    assert np.isnan(project(pose, Camera(), [[0.0, 0.0, 200.0]])).all()
    assert np.isnan(ground_at(pose, Camera(120.0, 400, 1600), [[200.0, 0.0]])).all()


def test_the_footprint_runs_clockwise_from_the_top_left() -> None:
    corners = footprint(Pose(0.0, 0.0, 40.0, 0.0), Camera(60.0, 800, 600))
    assert corners[0][0] < 0 < corners[0][1]
    area = np.sum(corners[:, 0] * np.roll(corners[:, 1], -1) - np.roll(corners[:, 0], -1) * corners[:, 1])
    assert area < 0.0


@pytest.mark.parametrize("tilt_deg", [-1.0, 36.0])
def test_a_pose_out_of_the_drones_range_is_refused(tilt_deg: float) -> None:
    with pytest.raises(UsageError, match="tilts 0 to 35"):
        Pose(0.0, 0.0, 50.0, 0.0, tilt_deg)


def test_a_camera_of_no_pixels_is_refused() -> None:
    with pytest.raises(UsageError, match="no camera"):
        Camera(70.0, 0, 100)
