"""Poses: how a photo may lie on the ground, from the air or from the street, and what search and registration may do with one."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np

from crossgeo.engine.photo import Photo
from crossgeo.models.street import DEFAULT_HEIGHT_M, Projection, StreetGeometry, directions_to_pixels, street_to_ground
from crossgeo.models.street_view import canvas_directions, street_ahead_m
from crossgeo.models.views import DEFAULT_HFOV_DEG, PhotoGeometry, photo_to_ground

Part = tuple[float, float]  # from the photo's middle, right and down, as shares of its width and height
MIDDLE: Part = (0.0, 0.0)
FARTHEST_WIDTHS = 5.0  # of the ground at a drone photo's centre; a pixel's error is tens of metres beyond
FARTHEST_HEIGHTS = 25.0  # of a street camera: 50 m
SIGHT_M = 30.0  # how far a street photo is taken to show the ground
JUDGED_M, JUDGED_DEG = 9.0, 60.0  # how far before a street camera, and at which bearings at most, ground is compared by itself


class Pose(Protocol):
    """A guess of how a photo lies on the ground; hashable, headings against grid north."""

    @property
    def heading_deg(self) -> float:
        """Of the photo's upper edge, or of what its middle column looks at from the street."""
        ...

    @property
    def scale_m(self) -> float:
        """What the photo's scale on the ground is proportional to: two poses with the same have the same scale."""
        ...

    def turned(self, turn_deg: float) -> Self:
        """Return the pose turned clockwise."""
        ...

    def scaled(self, factor: float) -> Self:
        """Return the pose with the photo's ground `factor` times as large."""
        ...

    def tilted(self, tilt_deg: float) -> Self:
        """Return the pose looking higher, where photos of its kind rarely say how high they look."""
        ...

    def geometry(self, photo: Photo) -> Any:
        """Return what the views of this kind of photo call its geometry: PhotoGeometry or StreetGeometry."""
        ...

    def offset_m(self, photo: Photo, part: Part = MIDDLE) -> tuple[float, float]:
        """Return how far (east_m, north_m) from the photo's place the ground at a part lies; ValueError where it is sky.

        At MIDDLE it is where the canvas that describes the photo is centred.
        """
        ...

    def parts(self, photo: Photo) -> tuple[Part, ...]:
        """Return the parts whose ground, some 30 m around each, is compared by itself where all of a photo is judged."""
        ...

    def outline_m(self, photo: Photo) -> list[tuple[float, float]]:
        """Return the outline of the ground that the photo shows, east and north of its place; empty where it has none."""
        ...

    @property
    def seen_m(self) -> float:
        """About how wide the ground is that the photo shows."""
        ...

    @property
    def words(self) -> str:
        """What a person may want to know of the pose, beside its heading."""
        ...


@dataclass(frozen=True)
class DronePose:
    """A photo from above; its place is the ground at its centre. The tilt is 0 where unknown (the weights are trained to bear it)."""

    heading_deg: float  # of the photo's upper edge, clockwise from grid north
    width_m: float  # of ground along the row through the photo's centre
    tilt_deg: float = 0.0
    fov_deg: float = DEFAULT_HFOV_DEG

    @property
    def scale_m(self) -> float:
        """The ground's width."""
        return self.width_m

    def turned(self, turn_deg: float) -> DronePose:
        """Return the pose turned clockwise."""
        return replace(self, heading_deg=(self.heading_deg + turn_deg) % 360.0)

    def scaled(self, factor: float) -> DronePose:
        """Return the pose over `factor` times the width of ground."""
        return replace(self, width_m=self.width_m * factor)

    def tilted(self, tilt_deg: float) -> DronePose:
        """Return the pose itself: the weights bear tilts."""
        return self

    def geometry(self, photo: Photo) -> PhotoGeometry:
        """Return the view's geometry of the photo as decoded."""
        height_px, width_px = photo.pixels.shape[:2]
        return PhotoGeometry(width_px, height_px, self.width_m, self.heading_deg, self.tilt_deg, self.fov_deg)

    def offset_m(self, photo: Photo, part: Part = MIDDLE) -> tuple[float, float]:
        """Return how far a part's ground lies from the ground at the photo's centre; ValueError where it is sky."""
        if part == MIDDLE:
            return 0.0, 0.0
        return _near(photo_to_ground(self.geometry(photo), *_pixel(photo, part)), FARTHEST_WIDTHS * self.width_m, photo)

    def parts(self, photo: Photo) -> tuple[Part, ...]:
        """Return a grid of three by three."""
        return tuple((x, y) for y in (-0.35, 0.0, 0.35) for x in (-0.35, 0.0, 0.35))

    def outline_m(self, photo: Photo) -> list[tuple[float, float]]:
        """Return the corners of the ground that the photo shows; none where it reaches the horizon."""
        geometry = self.geometry(photo)
        try:
            return [
                photo_to_ground(geometry, x, y)
                for x, y in ((0, 0), (geometry.width_px, 0), (geometry.width_px, geometry.height_px), (0, geometry.height_px))
            ]
        except ValueError:
            return []

    @property
    def seen_m(self) -> float:
        """The ground's width."""
        return self.width_m

    @property
    def words(self) -> str:
        """How much ground the photo shows."""
        return f"photo {self.width_m:.0f} m across"


@dataclass(frozen=True)
class StreetPose:
    """A photo from the street; its place is the camera."""

    heading_deg: float  # of the middle column, clockwise from grid north
    height_m: float = DEFAULT_HEIGHT_M  # of the camera above the ground
    projection: Projection = "panorama"
    fov_deg: float = 360.0
    pitch_deg: float = 0.0  # of the optical axis above the horizon
    roll_deg: float = 0.0  # clockwise, as seen from behind the camera
    horizon: float = 0.5  # where a panorama's horizon lies, as a share of its height
    level_known: bool = True  # whether pitch and roll are measured and not tried

    @property
    def scale_m(self) -> float:
        """The camera's height: all ground under a horizon grows with it."""
        return self.height_m

    def turned(self, turn_deg: float) -> StreetPose:
        """Return the pose turned clockwise."""
        return replace(self, heading_deg=(self.heading_deg + turn_deg) % 360.0)

    def scaled(self, factor: float) -> StreetPose:
        """Return the pose with the camera `factor` times as high."""
        return replace(self, height_m=self.height_m * factor)

    def tilted(self, tilt_deg: float) -> StreetPose:
        """Return the pose looking higher, or itself where the pitch is measured."""
        return self if self.level_known else replace(self, pitch_deg=self.pitch_deg + tilt_deg)

    def geometry(self, photo: Photo) -> StreetGeometry:
        """Return the view's geometry of the photo as decoded."""
        height_px, width_px = photo.pixels.shape[:2]
        return StreetGeometry(
            width_px, height_px, self.projection, self.heading_deg, self.fov_deg, self.pitch_deg, self.roll_deg, self.height_m, self.horizon
        )

    def offset_m(self, photo: Photo, part: Part = MIDDLE) -> tuple[float, float]:
        """Return how far a part's ground lies from the camera; ValueError where it is sky."""
        geometry = self.geometry(photo)
        if part == MIDDLE:
            return street_ahead_m(geometry)
        return _near(street_to_ground(geometry, *_pixel(photo, part)), FARTHEST_HEIGHTS * self.height_m, photo)

    def parts(self, photo: Photo) -> tuple[Part, ...]:
        """Return where the ground JUDGED_M before the camera is seen, at even bearings that are no farther apart than JUDGED_DEG."""
        count = math.ceil(self.fov_deg / JUDGED_DEG)
        bearings = np.radians(self.heading_deg + self.fov_deg * ((np.arange(count) + 0.5) / count - 0.5))
        ground = np.stack([np.sin(bearings) * JUDGED_M, np.cos(bearings) * JUDGED_M, np.full(count, -self.height_m)], axis=1)
        geometry = self.geometry(photo)
        x, y, shown = directions_to_pixels(geometry, ground)
        return tuple(zip((x[shown] / geometry.width_px - 0.5).tolist(), (y[shown] / geometry.height_px - 0.5).tolist(), strict=True))

    def ground_share(self, photo: Photo) -> float:
        """Return how much of the square of ground that describes the photo it shows; a lens that looks up or far shows little or none."""
        geometry = self.geometry(photo)
        ground = canvas_directions(32, 2.0 * SIGHT_M, self.height_m, street_ahead_m(geometry))
        return float(directions_to_pixels(geometry, ground)[2].mean())

    def outline_m(self, photo: Photo) -> list[tuple[float, float]]:
        """Return the sector, or the circle, of SIGHT_M around the camera that the photo looks at."""
        turns = [math.radians(self.heading_deg + self.fov_deg * (k / 32.0 - 0.5)) for k in range(33)]
        arc = [(SIGHT_M * math.sin(turn), SIGHT_M * math.cos(turn)) for turn in turns]
        return arc if self.fov_deg > 359.0 else [(0.0, 0.0), *arc]

    @property
    def seen_m(self) -> float:
        """Across what is drawn as seen."""
        return 2.0 * SIGHT_M

    @property
    def words(self) -> str:
        """How the camera stood."""
        what = "all round" if self.fov_deg > 359.0 else f"{self.fov_deg:.0f}° wide"
        return f"camera {self.height_m:.1f} m up, {what}"


def part_at(photo: Photo, px: tuple[float, float]) -> Part:
    """Return the part of a photo at a pixel as decoded."""
    height_px, width_px = photo.pixels.shape[:2]
    return px[0] / width_px - 0.5, px[1] / height_px - 0.5


def _pixel(photo: Photo, part: Part) -> tuple[float, float]:
    height_px, width_px = photo.pixels.shape[:2]
    return (0.5 + part[0]) * width_px, (0.5 + part[1]) * height_px


def _near(offset_m: tuple[float, float], most_m: float, photo: Photo) -> tuple[float, float]:
    if math.hypot(*offset_m) > most_m:
        raise ValueError(f"{photo.name}: the part is too near the horizon")
    return offset_m
