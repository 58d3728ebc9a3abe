"""Street photos on the ground: a north-up canvas around the camera at the scale of the imagery, as drone photos are placed.

The panorama's lower half is rolled out over flat ground (a bird's-eye view by inverse perspective), so that streets, kerbs and the feet of
buildings lie where the aerial tile shows them; what stands up is smeared outwards from its foot. One aerial branch then serves both kinds.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from torch import Tensor

from crossgeo.models.street import Float, StreetGeometry, look_along, pixels_to_directions, pyramid
from crossgeo.models.views import Image, Mask, ObjectView, canvas_to_ground, normalise

AHEAD_M = 12.0
REACH_M = 30.0  # objects farther than this from the middle of a window are not looked for


@dataclass(frozen=True)
class StreetView:
    """The view of EgoTR's street branch: a square canvas on the ground, north up; tiles are seen as the drone's view sees them."""

    size_px: int = 160
    extent_m: float = 60.0
    mean: tuple[float, float, float] = (0.498, 0.498, 0.498)
    std: tuple[float, float, float] = (0.502, 0.502, 0.502)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return {"kind": "street", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StreetView:
        """Read what `to_dict` gave."""
        return cls(int(values["size_px"]), float(values["extent_m"]), tuple(values["mean"]), tuple(values["std"]))

    @property
    def digest(self) -> str:
        """A short hash of everything that shapes the model's input."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def canvas(self, photo: Image, geometry: StreetGeometry, centre_m: tuple[float, float] = (0.0, 0.0)) -> tuple[Image, Mask]:
        """Place an (H, W, 3) photo on the (size_px, size_px) canvas around an offset from the camera; returns it and its mask."""
        return roll_out(photo, geometry, self.size_px, self.extent_m, centre_m)

    def normalise(self, images: Image, masks: Mask | None = None) -> Tensor:
        """Turn (B, S, S, 3) uint8 images into (B, 3, S, S) float32; masked pixels become 0, the mean."""
        return normalise(images, masks, self.mean, self.std)


@dataclass(frozen=True)
class StreetObjectView(ObjectView):
    """The view of AttenGeo's street preset: photo and imagery of the same square around the camera, or ahead of it along the click.

    A click on a wall or a crown says a direction, not a place: it is the line from the camera to the ground under it, or to `reach_m`.
    """

    gsd_m: float = 0.25  # of the window; the photo's canvas shows the same ground
    ahead_m: float = 0.0  # of the camera, along the click, where both are centred

    @property
    def reach_m(self) -> float:
        """How far from the camera objects are looked for."""
        return REACH_M + self.ahead_m

    @property
    def photo_extent_m(self) -> float:
        """Side of the photo's canvas on the ground, in metres."""
        return self.window_extent_m

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return {**super().to_dict(), "kind": "street-object"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StreetObjectView:
        """Read what `to_dict` gave."""
        return replace(cls(**vars(ObjectView.from_dict(values))), ahead_m=float(values.get("ahead_m", 0.0)))

    def query(  # type: ignore[override]
        self, photo: Image, geometry: StreetGeometry, point_px: tuple[float, float]
    ) -> tuple[Image, Mask, tuple[float, ...], tuple[float, float]]:
        """Roll the photo out: canvas (S, S, 3), mask (S, S), click as a line x0, y0, x1, y1 px, and the middle's offset in metres."""
        direction = pixels_to_directions(geometry, np.array(point_px[0]), np.array(point_px[1]))
        centre_m = self.centre_m(direction)
        canvas, mask = roll_out(photo, geometry, self.photo_px, self.photo_extent_m, centre_m)
        return canvas, mask, self.line(direction, geometry.height_m), centre_m

    def centre_m(self, direction: Float) -> tuple[float, float]:
        """Return how far (east_m, north_m) from the camera the window of a click along a direction (3,) is centred."""
        east, north, _ = direction.tolist()
        level = max(math.hypot(east, north), 1e-9)
        return east / level * self.ahead_m, north / level * self.ahead_m

    def line(self, direction: Float, height_m: float) -> tuple[float, float, float, float]:
        """Return the line on the canvas of a click along a direction (3,) from a camera `height_m` up."""
        east, north, up = direction.tolist()
        level = max(math.hypot(east, north), 1e-9)
        away_m = min(self.reach_m, height_m * level / -up) if up < 0.0 else self.reach_m
        middle, px_per_m = self.photo_px / 2.0, self.photo_px / self.photo_extent_m
        # From the canvas's middle the camera lies `ahead_m` back, and the line runs away from it.
        ends = [(east / level * (along_m - self.ahead_m), north / level * (along_m - self.ahead_m)) for along_m in (0.0, away_m)]
        (x0, y0), (x1, y1) = ((middle + a * px_per_m, middle - b * px_per_m) for a, b in ends)
        return x0, y0, x1, y1


def street_ahead_m(geometry: StreetGeometry) -> tuple[float, float]:
    """Return how far (east_m, north_m) before the camera its canvas is centred: nearer to what a photo of less than half a turn shows."""
    if geometry.hfov_deg > 180.0:
        return 0.0, 0.0
    heading = math.radians(geometry.heading_deg)
    return AHEAD_M * math.sin(heading), AHEAD_M * math.cos(heading)


def canvas_directions(size_px: int, extent_m: float, height_m: float, centre_m: tuple[float, float] = (0.0, 0.0)) -> Float:
    """Return the (S, S, 3) directions from a camera `height_m` up to the ground under each pixel of a canvas around `centre_m`."""
    to_ground = canvas_to_ground(size_px, extent_m, centre_m)
    steps = np.arange(size_px) + 0.5
    east, north = np.meshgrid(to_ground[0, 0] * steps + to_ground[0, 2], to_ground[1, 1] * steps + to_ground[1, 2])
    return np.stack([east, north, np.full_like(east, -height_m)], axis=-1)


def roll_out(
    photo: Image, geometry: StreetGeometry, size_px: int, extent_m: float, centre_m: tuple[float, float] = (0.0, 0.0)
) -> tuple[Image, Mask]:
    """Roll a street photo out over flat ground: a north-up canvas (S, S, 3) of `extent_m` metres and its mask (S, S)."""
    return look_along(pyramid(photo), geometry, canvas_directions(size_px, extent_m, geometry.height_m, centre_m))
