"""engine/camera.py: what is known of a camera, and whether it flew or stood in the street."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from crossgeo.engine.camera import Camera, camera_of, check_known
from crossgeo.engine.exif import PhotoExif
from crossgeo.engine.photo import Photo
from crossgeo.engine.poses import StreetPoseSettings, street_poses_to_try
from crossgeo.errors import UsageError
from crossgeo.models.street import StreetGeometry, pixels_to_directions

GPANO = (
    '<x:xmpmeta><rdf:Description GPano:ProjectionType="equirectangular" GPano:PoseHeadingDegrees="123.5" '
    'GPano:FullPanoWidthPixels="4000" GPano:FullPanoHeightPixels="2000" GPano:CroppedAreaImageWidthPixels="2000" '
    'GPano:CroppedAreaImageHeightPixels="800" GPano:CroppedAreaTopPixels="700"/></x:xmpmeta>'
)


def photo(
    width_px: int = 120, height_px: int = 80, *, tilt_deg: float | None = None, height_m: float | None = None, fov_deg: float | None = None
) -> Photo:
    exif = PhotoExif(tilt_deg=tilt_deg, height_m=height_m, fov_deg=fov_deg)
    return Photo.from_pixels(np.zeros((height_px, width_px, 3), np.uint8), exif=exif)


def test_a_photo_with_gimbal_or_height_was_taken_by_a_drone() -> None:
    assert camera_of(photo(tilt_deg=10.0)).kind == "drone"
    assert camera_of(photo(height_m=60.0)).kind == "drone"
    assert camera_of(photo(), tilt_deg=5.0).kind == "drone"
    assert camera_of(photo(fov_deg=70.0)).kind is None


def test_a_sphere_is_known_by_its_shape_unless_a_lens_is_known() -> None:
    whole = camera_of(photo(200, 100))
    assert (whole.kind, whole.panorama, whole.fov_deg) == ("street", True, 360.0)
    assert not camera_of(photo(200, 100, fov_deg=80.0)).panorama
    assert camera_of(photo(200, 100), kind="drone").kind == "drone"


def test_a_panorama_says_how_far_round_it_goes_and_where_its_horizon_lies() -> None:
    file = io.BytesIO()
    Image.new("RGB", (200, 80)).save(file, "JPEG", xmp=GPANO.encode())
    exif = Photo.read(file.getvalue()).exif
    assert (exif.panorama_deg, exif.heading_deg, exif.heading_is_magnetic) == (180.0, 123.5, False)
    assert exif.horizon == pytest.approx((1000 - 700) / 800)
    pose = street_poses_to_try(camera_of(Photo.read(file.getvalue())), StreetPoseSettings(), 0.0)[0]
    assert (pose.projection, pose.fov_deg, pose.horizon) == ("panorama", 180.0, exif.horizon)


@pytest.mark.parametrize("left_px", [0, 400, 1000, 2000])
def test_a_tilted_panorama_that_was_cropped_looks_where_the_whole_one_does(left_px: int) -> None:
    said = f'GPano:CroppedAreaLeftPixels="{left_px}" GPano:PosePitchDegrees="2.0" GPano:PoseRollDegrees="-1.5" GPano:CroppedAreaTopPixels='
    file = io.BytesIO()
    Image.new("RGB", (200, 80)).save(file, "JPEG", xmp=GPANO.replace("GPano:CroppedAreaTopPixels=", said).encode())
    pose = street_poses_to_try(camera_of(Photo.read(file.getvalue()), height_m=2.0), StreetPoseSettings(known_heading_deg=(0.0,)), 0.0)[0]
    whole = StreetGeometry(400, 200, "panorama", 123.5, 360.0, 2.0, -1.5)
    east, north, up = pixels_to_directions(whole, np.array((left_px + 1000) / 10.0), np.array(130.0)).tolist()
    column, row = pose.geometry(photo(200, 80)), 1300 - 700
    seen = pixels_to_directions(column, np.array(100.0), np.array(row / 10.0))
    assert seen == pytest.approx((east, north, up), abs=0.002)


def test_what_the_caller_says_of_the_kind_wins_but_no_drone_takes_panoramas() -> None:
    assert camera_of(photo(tilt_deg=10.0), kind="street").kind == "street"
    with pytest.raises(UsageError, match="panorama"):
        camera_of(photo(), fov_deg=360.0, kind="drone")


def test_a_height_above_any_street_is_a_drones_or_refused_of_a_street_photo() -> None:
    assert camera_of(photo(), height_m=57.0).kind == "drone"
    assert camera_of(photo(200, 100), height_m=57.0).kind == "drone"  # its shape alone does not make it a panorama
    assert camera_of(photo(), height_m=2.0).kind is None
    for said in ({"kind": "street"}, {"fov_deg": 360.0}):
        with pytest.raises(UsageError, match="lower than 10 m"):
            check_known(height_m=57.0, **said)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="lower than 10 m"):
        camera_of(Photo.from_pixels(np.zeros((80, 160, 3), np.uint8), exif=PhotoExif(panorama_deg=360.0)), height_m=57.0)
    assert camera_of(photo(height_m=240.0), kind="street").height_m == 240.0  # what EXIF says is never refused


def test_street_poses_leave_open_what_is_not_known() -> None:
    settings = StreetPoseSettings()
    free = street_poses_to_try(Camera(None, False, None, None, None), settings, 0.0)
    assert len(free) == settings.headings * len(settings.heights_m) * len(settings.pitches_deg)
    assert {pose.fov_deg for pose in free} == {67.0} and {pose.projection for pose in free} == {"perspective"}
    known = street_poses_to_try(Camera(10.0, False, 90.0, 1.7, None), settings, 2.0)
    assert {round(pose.heading_deg, 6) for pose in known} == {0.0, 8.0, 16.0}
    assert {pose.height_m for pose in known} == {1.7}
    above = street_poses_to_try(Camera(10.0, False, 90.0, 240.0, None), settings, 0.0)  # a receiver's height above the sea
    assert {pose.height_m for pose in above} == set(settings.heights_m)
