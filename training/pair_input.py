"""How pairs from disk become a model's input: the photo on the view's canvas, the aerial as its tile, as evaluation places them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from crossgeo.errors import MismatchError
from crossgeo.models.panorama import PanoramaView
from crossgeo.models.street_view import StreetView, street_ahead_m
from crossgeo.models.views import DroneView, Image, Mask, normalise, resized
from crossgeo.training.evaluation.describing import middle_of
from crossgeo.training.evaluation.shots import take_shot
from crossgeo.training.pair_batch import Offset
from crossgeo.training.pairs import Pair

Array = NDArray[Any]
Turn = tuple[int, bool]  # quarters counter-clockwise, after a mirror or not
View = PanoramaView | StreetView | DroneView
WHOLE_DEG = 360.0


@dataclass(frozen=True)
class PairInput:
    """Photos and aerials of pairs through a view; also the `PhotoView` that EgoTR's task normalises by."""

    view: View

    @property
    def extent_m(self) -> float:
        """Side of the ground on a canvas, in metres; panoramas have none."""
        return float("nan") if isinstance(self.view, PanoramaView) else self.view.extent_m

    def usable(self, pair: Pair) -> bool:
        """Whether the photo can be placed: only a drone's, which is taken as it comes, needs no heading."""
        return pair.heading_deg is not None or isinstance(self.view, DroneView)

    def check_fits(self, pair: Pair) -> None:
        """Raise MismatchError where the view reads ground at a scale that the data set does not give."""
        if isinstance(self.view, StreetView) and pair.aerial_gsd_m is None:
            raise MismatchError(
                f"{pair.aerial}: nothing says how many metres a pixel covers, which the street view needs; train a preset with panoramas"
            )

    def photo(self, pixels: Image, pair: Pair, fov_deg: float = WHOLE_DEG, towards_deg: float = 0.0) -> tuple[Image, Mask, Offset]:
        """Place an (H, W, 3) photo, cut to a field of view if that is narrower than its own, on the canvas.

        Returns canvas, mask and how far (east_m, north_m) the canvas's middle lies from the camera.
        """
        if isinstance(self.view, DroneView):
            side = self.view.size_px
            return resized(pixels, (side, side)), np.ones((side, side), np.bool_), (0.0, 0.0)
        shot = take_shot(pixels, pair.fov_deg, fov_deg, towards_deg, pair.horizon, pair.tilt_deg)
        assert pair.heading_deg is not None, "pairs without a heading are left out before training"
        heading_deg = pair.heading_deg + shot.turned_deg - pair.convergence_deg
        if isinstance(self.view, PanoramaView):
            return *self.view.canvas(shot.pixels, shot.geometry(heading_deg)), (0.0, 0.0)
        geometry = shot.geometry(heading_deg)
        ahead = street_ahead_m(geometry) if pair.window_m is not None else (0.0, 0.0)  # a picture of its own lies about the camera
        return *self.view.canvas(shot.pixels, geometry, ahead), ahead

    def turned(self, canvas: Image, mask: Mask, turn: Turn) -> tuple[Image, Mask]:
        """Turn the world that a canvas shows, as `turned_aerial` does with what lies below it."""
        panorama = isinstance(self.view, PanoramaView)
        return _turned(canvas, turn, panorama), _turned(mask, turn, panorama)

    def turned_aerial(self, pixels: Image, turn: Turn) -> Image:
        """Turn an aerial, north up, by quarters counter-clockwise, mirrored east and west first if asked."""
        return _turned(pixels, turn, False)

    def aerial(self, pixels: Image, pair: Pair) -> Image:
        """Turn an (S, S, 3) aerial, north up, into the model's tile."""
        if isinstance(self.view, PanoramaView):
            return self.view.aerial_input(pixels)
        if isinstance(self.view, DroneView):
            return resized(pixels, (self.view.size_px, self.view.size_px))
        return middle_of(pixels, pair.aerial_gsd_m, self.view.extent_m, self.view.size_px)

    def normalise(self, images: Image, masks: Mask | None = None) -> Tensor:
        """Turn (B, H, W, 3) canvases into (B, 3, H, W) float32; masked pixels become 0, the mean."""
        return normalise(images, masks, self.view.mean, self.view.std)

    def normalise_tiles(self, tiles: Image) -> Tensor:
        """Turn (B, H, W, 3) tiles into (B, 3, H, W) float32; on the ground's views black is no imagery and becomes the mean."""
        seen = None if isinstance(self.view, PanoramaView) else np.asarray(tiles.any(axis=-1), np.bool_)
        return normalise(tiles, seen, self.view.mean, self.view.std)


def turned_offset(offset_m: Offset, turn: Turn) -> Offset:
    """Turn (east_m, north_m) with its world."""
    (east, north), (quarters, mirrored) = offset_m, turn
    if mirrored:
        east = -east
    for _ in range(quarters % 4):
        east, north = -north, east
    return east, north


def _turned(picture: Array, turn: Turn, around: bool) -> Array:
    """Turn a square from above, or what looks around from its middle, north in the middle column."""
    quarters, mirrored = turn
    if mirrored:
        picture = picture[:, ::-1]
    turned = np.roll(picture, -quarters * (picture.shape[1] // 4), axis=1) if around else np.rot90(picture, quarters)
    return np.ascontiguousarray(turned)
