"""Cameras: what is known of the one that took a photo, from the caller and from EXIF, and whether it flew or stood in the street."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

from crossgeo.engine.levelling import Level, level_of
from crossgeo.engine.photo import Photo
from crossgeo.errors import UsageError
from crossgeo.models.street import DEFAULT_STREET_FOV_DEG, WIDEST_LENS_DEG

Kind = Literal["drone", "street"]
MAX_TILT_DEG = 60.0  # past it a drone photo shows too little ground at one scale; it is tried as if its tilt were unknown
STREET_BELOW_M = 10.0  # what is higher above the ground does not stand in a street
_NO_DRONE = "which a drone's camera does not take of the ground; ask for it as a street photo"
_PANORAMA_ASPECT = (1.95, 2.05)  # of a whole sphere; no common camera has it


@dataclass(frozen=True)
class Camera:
    """What is known of a photo's camera; None where nothing is."""

    heading_deg: float | None  # of a drone photo's upper edge, of a street photo's middle column, clockwise from true north
    heading_is_magnetic: bool
    fov_deg: float | None  # horizontal
    height_m: float | None  # above ground
    tilt_deg: float | None  # from straight down
    kind: Kind | None = None
    panorama: bool = False  # its columns are azimuths, all the way round or `fov_deg` of it
    horizon: float = 0.5  # where a panorama's horizon lies, as a share of its height
    level: Level | None = None  # how a street camera was held

    def levelled(self, photo: Photo) -> Camera:
        """Return the camera with its level measured in a street photo that says nothing of it, where enough stands upright there."""
        if self.level is not None or self.panorama:
            return self
        fov = self.fov_deg if self.fov_deg is not None else DEFAULT_STREET_FOV_DEG
        return replace(self, level=level_of(photo.pixels, fov))


def check_known(
    heading_deg: float | None = None,
    fov_deg: float | None = None,
    height_m: float | None = None,
    tilt_deg: float | None = None,
    kind: Kind | None = None,
) -> None:
    """Raise UsageError for what a caller can know of no camera: values out of range, or such as do not go together."""
    for name, value, low, high in (
        ("heading", heading_deg, -360.0, 360.0), ("field of view", fov_deg, 1.0, 360.0), ("height", height_m, 0.3, 10_000.0),
        ("tilt", tilt_deg, 0.0, 90.0 if kind != "street" else 180.0),
    ):  # fmt: skip
        if value is not None and not low <= value <= high:
            unit = "m" if name == "height" else "degrees"
            raise UsageError(f"the {name} must be {low:g} to {high:g} {unit}, not {value:g}")
    around = fov_deg is not None and fov_deg > WIDEST_LENS_DEG
    if around and kind == "drone":
        raise UsageError(f"{fov_deg:g} degrees are those of a panorama, {_NO_DRONE}")
    if kind == "street" or around:
        _check_street_height(height_m)


def camera_of(
    photo: Photo,
    heading_deg: float | None = None,
    fov_deg: float | None = None,
    height_m: float | None = None,
    tilt_deg: float | None = None,
    kind: Kind | None = None,
) -> Camera:
    """Join what the caller says with what EXIF says; the caller wins. Raise UsageError where `check_known` does, or for another photo."""
    check_known(heading_deg, fov_deg, height_m, tilt_deg, kind)
    exif = photo.exif
    around = exif.panorama_deg is not None or (fov_deg is not None and fov_deg > WIDEST_LENS_DEG)
    around = around or (kind != "drone" and fov_deg is None and not _flew(height_m) and looks_like_panorama(photo))
    if around and kind == "drone":
        raise UsageError(f"{photo.name} is a panorama, {_NO_DRONE}")
    if around:
        _check_street_height(height_m)
    fov = fov_deg if fov_deg is not None else exif.panorama_deg or (360.0 if around else exif.fov_deg)
    return Camera(
        heading_deg if heading_deg is not None or exif.heading_is_answer else exif.heading_deg,
        heading_deg is None and exif.heading_is_magnetic,
        fov,
        height_m if height_m is not None else exif.height_m,
        tilt_deg if tilt_deg is not None else exif.tilt_deg,
        kind or ("street" if around else _kind_of(photo, height_m, tilt_deg)),
        around,
        exif.horizon,
        _level(photo, tilt_deg, kind, around),
    )


def looks_like_panorama(photo: Photo) -> bool:
    """Whether nothing but its shape says that a photo is a whole panorama."""
    if photo.exif.panorama_deg is not None or photo.exif.fov_deg is not None:
        return False
    return _PANORAMA_ASPECT[0] <= photo.width_px / photo.height_px <= _PANORAMA_ASPECT[1]


def _level(photo: Photo, tilt_deg: float | None, kind: Kind | None, panorama: bool) -> Level | None:
    """What the caller's tilt says of a street camera, which looks level at 90 degrees, or GPano of a panorama's."""
    if tilt_deg is not None and kind == "street":
        return Level(tilt_deg - 90.0, photo.exif.roll_deg)
    return Level(photo.exif.pitch_deg, photo.exif.roll_deg) if panorama else None


def _kind_of(photo: Photo, height_m: float | None, tilt_deg: float | None) -> Kind | None:
    """What a drone alone writes, or the caller alone says of one, tells; nothing tells a street photo for sure."""
    written = photo.exif.tilt_deg is not None or photo.exif.height_m is not None
    return "drone" if written or tilt_deg is not None or _flew(height_m) else None


def _flew(height_m: float | None) -> bool:
    return height_m is not None and height_m >= STREET_BELOW_M


def _check_street_height(height_m: float | None) -> None:
    if _flew(height_m):
        raise UsageError(
            f"a camera in the street stands lower than {STREET_BELOW_M:g} m, not {height_m:g} m up; give its own height, or none"
        )


def without_exif(camera: Camera, heading_deg: float | None, height_m: float | None) -> Camera:
    """Return the camera with only the heading and height that the caller gave."""
    return replace(camera, heading_deg=heading_deg, heading_is_magnetic=False, height_m=height_m)
