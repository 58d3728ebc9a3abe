"""The paper's own view: a north-aligned panorama and an aerial square, plain or polar-transformed (Yang, Lu and Zhu 2021).

Panoramas are cut as SAFA (Shi et al. 2019) cut CVACT's, whose files are whole spheres: to their middle half, elevations within 45 degrees.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import PIL.Image
import torch
from torch import Tensor

from crossgeo.errors import InputError
from crossgeo.kernels.polar import polar_transform
from crossgeo.kernels.sampling import polar_normalised
from crossgeo.models.egotr import EgoTRConfig
from crossgeo.models.street import Float, StreetGeometry, look_along, pyramid
from crossgeo.models.views import Image, Mask, normalise

SAFA_SPAN_DEG = 90.0


@dataclass(frozen=True)
class PanoramaView:
    """The view of the presets `egotr-b` and `polar-egotr-b`; sizes are (height, width) in px, mean and std those of ImageNet."""

    ground_hw: tuple[int, int] = (128, 512)
    aerial_hw: tuple[int, int] = (256, 256)
    polar: bool = False
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    span_deg: float = 180.0  # of elevation about the horizon, beyond which panoramas are cut

    @classmethod
    def of(cls, config: EgoTRConfig) -> PanoramaView:
        """Return the view that a model of this configuration reads, panoramas cut as the papers cut them."""
        return cls(config.ground_hw, config.aerial_hw, config.polar, span_deg=SAFA_SPAN_DEG)

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for a card."""
        return {"kind": "panorama", **asdict(self)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PanoramaView:
        """Read what `to_dict` gave (JSON turns tuples into lists)."""
        ground_hw, aerial_hw, mean, std = (tuple(values[name]) for name in ("ground_hw", "aerial_hw", "mean", "std"))
        return cls(ground_hw, aerial_hw, bool(values["polar"]), mean, std, float(values.get("span_deg", 180.0)))

    @property
    def digest(self) -> str:
        """A short hash of everything that shapes the model's input."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def canvas(self, photo: Image, geometry: StreetGeometry) -> tuple[Image, Mask]:
        """Place a street photo (H, W, 3) on the canvas `ground_hw`, north in its middle column, with a mask of what it shows.

        It spans a panorama's own elevations, as the published models' do, cut to `span_deg`; a photo through a lens stands in a height of
        `span_deg`.
        """
        height, width = self.ground_hw
        if geometry.projection == "perspective":
            return look_along(pyramid(photo), geometry, sphere_directions(height, width, self.span_deg))
        columns = max(1, min(width, round(width * geometry.hfov_deg / 360.0)))
        small, mask = _resize(self._cut(photo, geometry), (height, columns)), np.zeros((height, width), np.bool_)
        start = (width - columns) // 2 + round(width * geometry.heading_deg / 360.0)
        out, at = np.zeros((height, width, 3), np.uint8), (np.arange(columns) + start) % width
        out[:, at], mask[:, at] = small, True
        return out, mask

    def _cut(self, photo: Image, geometry: StreetGeometry) -> Image:
        """Cut a panorama that shows more than `span_deg` of elevation to the rows of that, about its horizon."""
        rows = int(photo.shape[1] * self.span_deg / geometry.hfov_deg)
        if rows >= photo.shape[0] - 1:
            return photo
        top = min(max(round(geometry.horizon * photo.shape[0] - rows / 2.0), 0), photo.shape[0] - rows)
        return photo[top : top + rows]

    def aerial_input(self, tile: Image) -> Image:
        """Turn an (S, S, 3) north-up tile into `aerial_hw`, resized, or seen from its centre where `polar` is set.

        The polar transform reads the tile at its own size, and what falls outside is black.
        """
        _check_square(tile.shape[0], tile.shape[1])
        if not self.polar:
            return _resize(tile, self.aerial_hw)
        pixels = torch.from_numpy(np.ascontiguousarray(tile)).permute(2, 0, 1)[None].double()  # (1, 3, S, S)
        unrolled = polar_transform(pixels, *self.aerial_hw)[0].permute(1, 2, 0)  # (H, W, 3)
        return np.asarray(unrolled.round().numpy(), np.uint8)

    def polar_inputs(self, tiles: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
        """Unroll (B, S, S, 3) uint8 tiles where they lie, on a GPU in one kernel: what `normalise` makes of each `aerial_input`."""
        _check_square(tiles.shape[1], tiles.shape[2])
        return polar_normalised(tiles, *self.aerial_hw, self.mean, self.std, dtype)

    def normalise(self, images: Image, masks: Mask | None = None) -> Tensor:
        """Turn (B, H, W, 3) uint8 images into (B, 3, H, W) float32; masked pixels become 0, the mean."""
        return normalise(images, masks, self.mean, self.std)


def _check_square(height: int, width: int) -> None:
    if height != width:
        raise InputError(f"the aerial tile is {width} x {height} px; give a square one")


def sphere_directions(height: int, width: int, span_deg: float = 180.0) -> Float:
    """Return the (H, W, 3) directions (east, north, up) of an equirectangular panorama of so much elevation, north in its middle column."""
    azimuth = ((np.arange(width) + 0.5) / width - 0.5) * 2.0 * np.pi
    elevation = (0.5 - (np.arange(height) + 0.5) / height)[:, None] * np.radians(span_deg)
    level = np.cos(elevation)
    return np.stack([np.sin(azimuth) * level, np.cos(azimuth) * level, np.broadcast_to(np.sin(elevation), (height, width))], axis=-1)


def _resize(image: Image, target_hw: tuple[int, int]) -> Image:
    """Resize by Pillow's bilinear filter, which widens when it shrinks, as the published training did."""
    height, width = target_hw
    return np.array(PIL.Image.fromarray(image).resize((width, height), PIL.Image.Resampling.BILINEAR), np.uint8)  # a copy, writable
