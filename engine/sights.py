"""Sights: places as answers tell them, where cameras stood, and along which bearing a click lies; what rays to objects are made of."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from crossgeo.engine.camera import MAX_TILT_DEG, Camera
from crossgeo.engine.fine import Spot
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Place
from crossgeo.engine.pose import StreetPose
from crossgeo.geodesy import grid_convergence_deg, to_lat_lon
from crossgeo.indexer.index import GeoIndex
from crossgeo.models.street import pixels_to_directions
from crossgeo.models.views import photo_to_ground

_STEEPEST = math.sin(math.radians(5.0))  # a click nearer to straight up or down than 5 degrees has no bearing to speak of


def place_of(index: GeoIndex, spot: Spot, camera: Camera) -> Place:
    """Return a spot as a place, with the imagery that answered."""
    lat, lon = to_lat_lon(spot.segment.crs, spot.x, spot.y)
    stood = camera_lat_lon(spot, camera)
    place = Place(lat, lon, spot.radius_m, true_heading_deg(spot), spot.merit, spot.tile, spot.pose, stood)
    source = index.source_behind(spot.segment, spot.x, spot.y, spot.tile)
    return place if source is None else replace(place, source=source.name, vintage=source.vintage)


def true_heading_deg(spot: Spot) -> float:
    """Return the heading of a spot's pose against true north."""
    return (spot.pose.heading_deg + grid_convergence_deg(spot.segment.crs, spot.x, spot.y)) % 360.0


def camera_offset_m(spot: Spot, camera: Camera) -> tuple[float, float] | None:
    """Return how far (east_m, north_m, along the grid) the camera stood from a spot; None of a drone of unknown tilt or height."""
    if isinstance(spot.pose, StreetPose):
        return 0.0, 0.0
    if camera.tilt_deg is None or camera.height_m is None or camera.tilt_deg > MAX_TILT_DEG:
        return None
    back_m = camera.height_m * math.tan(math.radians(camera.tilt_deg))  # the camera stands behind the ground it looks at
    angle = math.radians(spot.pose.heading_deg)
    return -back_m * math.sin(angle), -back_m * math.cos(angle)


def camera_lat_lon(spot: Spot, camera: Camera) -> tuple[float, float] | None:
    """Return where the camera stood; None where `camera_offset_m` does."""
    offset = camera_offset_m(spot, camera)
    return None if offset is None else to_lat_lon(spot.segment.crs, spot.x + offset[0], spot.y + offset[1])


def bearing_deg(photo: Photo, click_px: tuple[float, float], spot: Spot, camera: Camera) -> float | None:
    """Return the bearing of a click (decoded pixels) from the camera, degrees clockwise from true north, 0 to 360.

    None where the camera's place is not known, or the click lies straight above or below it.
    """
    pose = spot.pose
    if isinstance(pose, StreetPose):
        east, north, _ = pixels_to_directions(pose.geometry(photo), np.array(click_px[0]), np.array(click_px[1])).tolist()
        level = math.hypot(east, north)  # of a unit vector
    else:
        offset = camera_offset_m(spot, camera)
        if offset is None or camera.height_m is None:
            return None
        try:
            ground = photo_to_ground(pose.geometry(photo), *click_px)
        except ValueError:  # sky
            return None
        east, north = ground[0] - offset[0], ground[1] - offset[1]
        level = math.hypot(east, north) / math.hypot(east, north, camera.height_m)
    if level < _STEEPEST:
        return None
    return (math.degrees(math.atan2(east, north)) + grid_convergence_deg(spot.segment.crs, spot.x, spot.y)) % 360.0
