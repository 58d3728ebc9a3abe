"""Street photos on the ground: a north-up canvas around the camera at the scale of the imagery, as drone photos are placed.

The panorama's lower half is rolled out over flat ground (a bird's-eye view by inverse perspective), so that streets, kerbs and the feet of
buildings lie where the aerial tile shows them; what stands up is smeared outwards from its foot. One aerial branch then serves both kinds.
AttenGeo, which is asked about what stands up, sees the photo turned towards the click instead.
"""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from torch import Tensor

from crossgeo.models.street import Float, StreetGeometry, look_along, pixels_to_directions, pyramid
from crossgeo.models.views import Image, Mask, ObjectQuery, ObjectView, canvas_to_ground, normalise

AHEAD_M = 12.0
RIM_M = 4.0  # objects whose middle is nearer to a window's rim are not looked for


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
    """The view of AttenGeo's street preset: what is seen around the click, and the imagery ahead of the camera with its line of sight.

    A click on a wall or a crown says a direction, not a place. The photo is shown as a level camera turned towards the click takes it, so
    that columns are azimuths beside the click and rows are heights; the window is north up and centred `ahead_m` along the click.
    """

    window_px: int = 288
    gsd_m: float = 0.25  # of the window
    ahead_m: float = 30.0
    look_deg: float = 64.0  # across the photo's square crop

    @property
    def reach_m(self) -> float:
        """How far from the camera the middle of an object may lie and still be mostly inside the window."""
        return self.ahead_m + self.window_extent_m / 2.0 - RIM_M

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return {**super().to_dict(), "kind": "street-object"}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> StreetObjectView:
        """Read what `to_dict` gave."""
        own = {"ahead_m": float(values["ahead_m"]), "look_deg": float(values["look_deg"])}
        return cls(**{**vars(ObjectView.from_dict(values)), **own})

    def query(self, photo: Image, geometry: StreetGeometry, point_px: tuple[float, float]) -> ObjectQuery:  # type: ignore[override]
        """Turn the photo towards a click."""
        towards = pixels_to_directions(geometry, np.array(point_px[0]), np.array(point_px[1]))
        canvas, mask = look_along(pyramid(photo), geometry, self.directions(towards))
        return ObjectQuery(canvas, mask, self.click_px(towards), self.centre_m(towards), self.sight_m(towards, geometry.height_m))

    def directions(self, towards: Float, size_px: int | None = None) -> Float:
        """Return the (S, S, 3) directions of the pixels of the crop around a click along `towards` (3,); S is `photo_px` unless given."""
        size = size_px or self.photo_px
        east, north = _level(towards)
        steps = ((np.arange(size) + 0.5) / size * 2.0 - 1.0) * math.tan(math.radians(self.look_deg) / 2.0)
        right, down = np.meshgrid(steps, steps)
        return np.stack([east + north * right, north - east * right, -down], axis=-1)

    def click_px(self, towards: Float) -> tuple[float, float]:
        """Return where (x, y) on the crop a click lies: in its middle column, on its rim where it looks steeper than the crop shows."""
        level = max(math.hypot(*towards[:2]), 1e-9)
        share = float(np.clip(-towards[2] / level / math.tan(math.radians(self.look_deg) / 2.0), -1.0, 1.0))
        return self.photo_px / 2.0, (1.0 + share) * self.photo_px / 2.0

    def centre_m(self, towards: Float) -> tuple[float, float]:
        """Return how far (east_m, north_m) from the camera the window of a click along `towards` (3,) is centred."""
        east, north = _level(towards)
        return east * self.ahead_m, north * self.ahead_m

    def sight_m(self, towards: Float, height_m: float) -> tuple[float, float]:
        """Return where (east_m, north_m) from a camera `height_m` up a line of sight (3,) ends: on the ground, or at `reach_m`."""
        away_m = self.reach_m
        if towards[2] < 0.0:
            away_m = min(away_m, height_m * math.hypot(*towards[:2]) / float(-towards[2]))
        east, north = _level(towards)
        return east * away_m, north * away_m

    def sight_px(self, sight_m: tuple[float, float], centre_m: tuple[float, float]) -> tuple[float, float, float, float]:
        """Return the line x0, y0, x1, y1 (px) from the camera to `sight_m` on a window centred at `centre_m` (east, north) from it."""
        middle = self.window_px / 2.0
        x0, y0 = middle - centre_m[0] / self.gsd_m, middle + centre_m[1] / self.gsd_m
        return x0, y0, x0 + sight_m[0] / self.gsd_m, y0 - sight_m[1] / self.gsd_m


def _level(towards: Float) -> tuple[float, float]:
    """The unit (east, north) of a direction; north where it looks straight up or down."""
    east, north = float(towards[0]), float(towards[1])
    length = math.hypot(east, north)
    return (east / length, north / length) if length > 1e-9 else (0.0, 1.0)


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
