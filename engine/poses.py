"""Poses to try: what is known of a photo's heading, scale and tilt, and the headings and ground widths that this leaves open."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from crossgeo.engine.describe import Pose
from crossgeo.engine.photo import Photo
from crossgeo.errors import UsageError
from crossgeo.models.views import DEFAULT_HFOV_DEG

MAX_TILT_DEG = 60.0  # past it a photo shows too little ground at one scale; it is tried as if its tilt were unknown


@dataclass(frozen=True)
class PoseSettings:
    """Which poses are tried in retrieval; the 5 m step refines the best."""

    headings: int = 24  # around the circle, where the heading is unknown
    # across the photo, where height or field of view is unknown
    ground_widths_m: tuple[float, ...] = (40.0, 48.0, 58.0, 69.0, 83.0, 100.0, 120.0, 144.0)
    known_heading_deg: tuple[float, ...] = (-12.0, 0.0, 12.0)  # around a heading that is given or in EXIF: compasses are this good
    magnetic_heading_deg: tuple[float, ...] = (-30.0, -15.0, 0.0, 15.0, 30.0)  # around one against magnetic north
    known_scale: tuple[float, ...] = (0.85, 1.0, 1.18)  # times a width from height and field of view: take-off is not always level
    unknown_fov_deg: tuple[float, ...] = (55.0, 68.0, 81.0)  # where only the height is known


@dataclass(frozen=True)
class Camera:
    """What is known of a photo's camera; None where nothing is."""

    heading_deg: float | None  # of the photo's upper edge, clockwise from true north
    heading_is_magnetic: bool
    fov_deg: float | None  # horizontal
    height_m: float | None  # above ground
    tilt_deg: float | None  # from straight down


def camera_of(
    photo: Photo, heading_deg: float | None, fov_deg: float | None, height_m: float | None, tilt_deg: float | None
) -> Camera:
    """Join what the caller says with what EXIF says; the caller wins. Raise UsageError for values out of range."""
    for name, value, low, high in (
        ("heading", heading_deg, -360.0, 360.0), ("field of view", fov_deg, 1.0, 170.0), ("height", height_m, 1.0, 10_000.0),
        ("tilt", tilt_deg, 0.0, 90.0),
    ):  # fmt: skip
        if value is not None and not low <= value <= high:
            unit = "m" if name == "height" else "degrees"
            raise UsageError(f"the {name} must be {low:g} to {high:g} {unit}, not {value:g}")
    exif = photo.exif
    return Camera(
        heading_deg if heading_deg is not None else exif.heading_deg,
        heading_deg is None and exif.heading_is_magnetic,
        fov_deg if fov_deg is not None else exif.fov_deg,
        height_m if height_m is not None else exif.height_m,
        tilt_deg if tilt_deg is not None else exif.tilt_deg,
    )


def without_exif(camera: Camera, heading_deg: float | None, height_m: float | None) -> Camera:
    """Return the camera with only the heading and height that the caller gave."""
    return replace(camera, heading_deg=heading_deg, heading_is_magnetic=False, height_m=height_m)


def poses_to_try(camera: Camera, settings: PoseSettings, convergence_deg: float) -> list[Pose]:
    """Return every pose worth describing, headings against grid north (`convergence_deg` as geodesy defines it)."""
    if camera.heading_deg is None:
        headings = [360.0 * k / settings.headings for k in range(settings.headings)]
    else:
        offsets = settings.magnetic_heading_deg if camera.heading_is_magnetic else settings.known_heading_deg
        headings = [(camera.heading_deg - convergence_deg + offset) % 360.0 for offset in offsets]
    tilt = camera.tilt_deg if camera.tilt_deg is not None and camera.tilt_deg <= MAX_TILT_DEG else 0.0
    fov = camera.fov_deg if camera.fov_deg is not None else DEFAULT_HFOV_DEG
    return [Pose(heading, width, tilt, fov) for width in _widths_m(camera, settings, tilt) for heading in headings]


def _widths_m(camera: Camera, settings: PoseSettings, tilt_deg: float) -> list[float]:
    if camera.height_m is None or (camera.tilt_deg is not None and camera.tilt_deg > MAX_TILT_DEG):
        return list(settings.ground_widths_m)
    distance_m = camera.height_m / math.cos(math.radians(tilt_deg))
    if camera.fov_deg is None:
        return [2.0 * distance_m * math.tan(math.radians(fov) / 2.0) for fov in settings.unknown_fov_deg]
    width_m = 2.0 * distance_m * math.tan(math.radians(camera.fov_deg) / 2.0)
    return [width_m * factor for factor in settings.known_scale]
