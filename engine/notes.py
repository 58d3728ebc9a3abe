"""Notes: what an answer guessed, left out or cannot vouch for, a line each for people."""

from __future__ import annotations

import math
from collections.abc import Sequence

from crossgeo.engine.camera import STREET_BELOW_M, Camera, Kind, looks_like_panorama
from crossgeo.engine.photo import Photo
from crossgeo.engine.pose import Pose, StreetPose
from crossgeo.indexer.grid import Bounds
from crossgeo.models.street import DEFAULT_STREET_FOV_DEG, street_to_ground

FOV_GUESSED = f"its field of view is not known and was taken for {DEFAULT_STREET_FOV_DEG:g} degrees"
PANORAMA_GUESSED = "it is twice as wide as high and was taken for a panorama of 360 degrees"
COMPASS_DEG = 45.0  # what a compass in a street may err, with the declination
NO_GROUND = (
    "it shows hardly any ground within 40 m of the camera, which is what places are found by; "
    "choose a photo that looks lower, or tell its tilt and field of view if these are not those of its EXIF"
)
NOTHING_THERE = "the point shows nothing that was recognised in the imagery; choose one well inside a building, a tree or a pond"
NOTHING_INSIDE = "nothing inside the area that was asked for fits it; where it fits best, if anywhere, lies outside"
NOT_BELIEVED = "the object was looked for at a place that is not to be relied on"


def camera_notes(photo: Photo, camera: Camera, kind: Kind, fov_deg: float | None, height_m: float | None) -> list[str]:
    """Return what was guessed or ignored of a photo's camera; `fov_deg` and `height_m` are the caller's, None where not given."""
    if kind != "street":
        return []
    notes = []
    if camera.fov_deg is None:
        notes.append(FOV_GUESSED)
    if camera.panorama and fov_deg is None and looks_like_panorama(photo):
        notes.append(PANORAMA_GUESSED)
    written_m = photo.exif.height_m
    if height_m is None and written_m is not None and written_m >= STREET_BELOW_M:
        notes.append(f"the height in its EXIF, {written_m:g} m, is not that of a camera in the street and was ignored")
    return notes


def compass_note(says_deg: float, looks_deg: float) -> str | None:
    """Return what to say of a best place that looks elsewhere than the photo's compass says, degrees from north; None within its error."""
    off_deg = abs((looks_deg - says_deg + 180.0) % 360.0 - 180.0)
    if off_deg <= COMPASS_DEG:
        return None
    return (
        f"its compass says {says_deg % 360.0:.0f} degrees and the best place looks along {looks_deg:.0f}, so that place is not to be "
        "relied on; tell the true heading, if it is known"
    )


def missing_note(missing: Sequence[Bounds], found: bool) -> str:
    """Return what to say of an answer that areas (west, south, east, north) are missing from."""
    west, south, east, north = missing[0]
    first = f"{south:.4f} to {north:.4f} north, {west:.4f} to {east:.4f} east"
    where = f"the area {first}" if len(missing) == 1 else f"{len(missing)} areas, the first {first},"
    so = "a better place may lie there, so the best one is not to be relied on" if found else "its place may lie there"
    return f"nobody who holds {where} answered in time, so that was not looked at; {so}; ask again"


def out_of_reach(photo: Photo, click_px: tuple[float, float], pose: Pose, reach_m: float) -> str | None:
    """Return why no object is looked for at a click (decoded pixels) of a street photo that shows ground past `reach_m`; None elsewhere.

    The foot of a wall within reach may be clicked as low in the photo as ground beyond it; the boxes of such clicks were hardly ever right.
    """
    if not isinstance(pose, StreetPose):
        return None
    try:
        away_m = math.hypot(*street_to_ground(pose.geometry(photo), *click_px))
    except ValueError:  # at the horizon or above it, where it shows no ground
        return None
    if away_m <= reach_m:
        return None
    return (
        f"the point shows ground {away_m:.0f} m away, and objects farther than {reach_m:g} m are not looked for; "
        "if something nearer is meant, choose a point higher up on it"
    )
