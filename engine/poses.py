"""Poses to try: the headings and scales that what is known of a camera leaves open."""

from __future__ import annotations

import math
from dataclasses import dataclass

from crossgeo.engine.camera import MAX_TILT_DEG, STREET_BELOW_M, Camera
from crossgeo.engine.pose import DronePose, StreetPose
from crossgeo.models.street import DEFAULT_STREET_FOV_DEG, Projection
from crossgeo.models.views import DEFAULT_HFOV_DEG


@dataclass(frozen=True)
class PoseSettings:
    """Which poses of drone photos are tried in retrieval; the 5 m step refines the best."""

    headings: int = 24  # around the circle, where the heading is unknown
    # across the photo, where height or field of view is unknown
    ground_widths_m: tuple[float, ...] = (40.0, 48.0, 58.0, 69.0, 83.0, 100.0, 120.0, 144.0)
    known_heading_deg: tuple[float, ...] = (-12.0, 0.0, 12.0)  # around a heading that is given or in EXIF: compasses are this good
    magnetic_heading_deg: tuple[float, ...] = (-30.0, -15.0, 0.0, 15.0, 30.0)  # around one against magnetic north
    known_scale: tuple[float, ...] = (0.85, 1.0, 1.18)  # times a width from height and field of view: take-off is not always level
    unknown_fov_deg: tuple[float, ...] = (55.0, 68.0, 81.0)  # where only the height is known


@dataclass(frozen=True)
class StreetPoseSettings:
    """Which poses of street photos are tried in retrieval."""

    headings: int = 24
    heights_m: tuple[float, ...] = (2.15,)  # registration tries a fifth less and a quarter more: a hand, a car's mast
    known_heading_deg: tuple[float, ...] = (-8.0, 0.0, 8.0)
    magnetic_heading_deg: tuple[float, ...] = (-30.0, -20.0, -10.0, 0.0, 10.0, 20.0, 30.0)
    known_scale: tuple[float, ...] = (1.0,)
    pitches_deg: tuple[float, ...] = (
        -2.0,
        1.0,
        4.0,
        7.0,
    )  # of ordinary photos in which nothing upright tells; people look up rather than down


def poses_to_try(camera: Camera, settings: PoseSettings, convergence_deg: float) -> list[DronePose]:
    """Return every pose of a drone photo worth describing, headings against grid north (`convergence_deg` as geodesy defines it)."""
    tilt = camera.tilt_deg if camera.tilt_deg is not None and camera.tilt_deg <= MAX_TILT_DEG else 0.0
    fov = camera.fov_deg if camera.fov_deg is not None else DEFAULT_HFOV_DEG
    headings = _headings(camera, settings, convergence_deg)
    return [DronePose(heading, width, tilt, fov) for width in _widths_m(camera, settings, tilt) for heading in headings]


def street_poses_to_try(camera: Camera, settings: StreetPoseSettings, convergence_deg: float) -> list[StreetPose]:
    """Return every pose of a street photo worth describing; an unknown field of view is taken for that of a phone."""
    projection: Projection = "panorama" if camera.panorama else "perspective"
    fov = camera.fov_deg if camera.fov_deg is not None else DEFAULT_STREET_FOV_DEG
    known = camera.height_m is not None and camera.height_m < STREET_BELOW_M  # what drones and receivers write is no height in a street
    heights = [camera.height_m * scale for scale in settings.known_scale] if known and camera.height_m else settings.heights_m
    level = camera.level
    tilts = [(level.pitch_deg, level.roll_deg)] if level is not None else [(pitch, 0.0) for pitch in settings.pitches_deg]
    return [
        StreetPose(heading, height, projection, fov, *tilt, camera.horizon, level is not None)
        for height in heights
        for tilt in tilts
        for heading in _headings(camera, settings, convergence_deg)
    ]


def _headings(camera: Camera, settings: PoseSettings | StreetPoseSettings, convergence_deg: float) -> list[float]:
    if camera.heading_deg is None:
        return [360.0 * k / settings.headings for k in range(settings.headings)]
    offsets = settings.magnetic_heading_deg if camera.heading_is_magnetic else settings.known_heading_deg
    return [(camera.heading_deg - convergence_deg + offset) % 360.0 for offset in offsets]


def _widths_m(camera: Camera, settings: PoseSettings, tilt_deg: float) -> list[float]:
    if camera.height_m is None or (camera.tilt_deg is not None and camera.tilt_deg > MAX_TILT_DEG):
        return list(settings.ground_widths_m)
    distance_m = camera.height_m / math.cos(math.radians(tilt_deg))
    if camera.fov_deg is None:
        return [2.0 * distance_m * math.tan(math.radians(fov) / 2.0) for fov in settings.unknown_fov_deg]
    width_m = 2.0 * distance_m * math.tan(math.radians(camera.fov_deg) / 2.0)
    return [width_m * factor for factor in settings.known_scale]
