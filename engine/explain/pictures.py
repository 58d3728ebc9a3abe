"""Pictures inside pages: arrays as data URLs, heat maps over them, marks upon them."""

from __future__ import annotations

import base64
import io

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossgeo.engine.aerial_map import NO_IMAGERY, YELLOW
from crossgeo.engine.explain.html import Markup, tag
from crossgeo.engine.pen import Pen

Pixels = NDArray[np.uint8]  # (H, W, 3) RGB
Heat = NDArray[np.float64]  # (h, w), any range
_NIGHT = "#10161D"
# Black over violet and orange to pale yellow: light grows with the value throughout, so that it can be read without colours.
_RAMP = np.array(
    [(0, 0, 4), (40, 11, 84), (101, 21, 110), (159, 42, 99), (212, 72, 66), (245, 125, 21), (250, 193, 39), (252, 255, 164)], np.float64
)


def shown(picture: Pixels | Image.Image, alt: str, quality: int = 82, most_bytes: int | None = None) -> Markup:
    """Return a picture as an element that holds it, in WebP; coarser until it takes no more than `most_bytes`, where that is given."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    data = _webp(image, quality)
    while most_bytes is not None and len(data) > most_bytes and quality > 20:
        quality -= 15
        data = _webp(image, quality)
    source = "data:image/webp;base64," + base64.b64encode(data).decode()
    return tag("img", src=source, width=image.width, height=image.height, alt=alt)


def fitted(picture: Pixels, long_px: int) -> Pixels:
    """Bring a picture's longer side to `long_px`, where it is longer."""
    height, width = picture.shape[:2]
    share = long_px / max(height, width)
    if share >= 1.0:
        return picture
    size = max(1, round(width * share)), max(1, round(height * share))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def enlarged(picture: Pixels, side_px: int) -> Pixels:
    """Bring a small square picture to a side, smoothly."""
    return np.asarray(cv2.resize(picture, (side_px, side_px), interpolation=cv2.INTER_CUBIC), np.uint8)


def unseen_as(picture: Pixels, seen: NDArray[np.bool_], colour: tuple[int, int, int] = NO_IMAGERY) -> Pixels:
    """Return a picture with a colour where there is nothing."""
    return np.where(seen[..., None], picture, np.array(colour, np.uint8)).astype(np.uint8)


def warmed(picture: Pixels, heat: Heat) -> Pixels:
    """Lay a heat map over a picture, from its least value to its greatest: the ground goes grey, warm where the value is high."""
    height, width = picture.shape[:2]
    smooth = np.asarray(cv2.resize(heat, (width, height), interpolation=cv2.INTER_CUBIC), np.float64)
    low, high = float(heat.min()), float(heat.max())
    share = np.clip((smooth - low) / max(high - low, 1e-12), 0.0, 1.0)
    grey = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float64)
    at = share * (len(_RAMP) - 1)
    below = np.minimum(at.astype(int), len(_RAMP) - 2)
    colour = _RAMP[below] + (at - below)[..., None] * (_RAMP[below + 1] - _RAMP[below])
    strength = 0.35 + 0.35 * share[..., None]
    mixed = np.clip(grey * (1.0 - strength) + colour * strength, 0, 255)
    return np.asarray(mixed, np.uint8)


def pen_over(picture: Pixels) -> Pen:
    """Return a pen that draws on a picture, in its pixels."""
    height, width = picture.shape[:2]
    pen = Pen(width, height, _NIGHT)
    pen.paste(Image.fromarray(picture), (0, 0, width, height))
    return pen


def box(pen: Pen, edges: tuple[float, float, float, float], sure: bool = True) -> None:
    """Draw a box x0, y0, x1, y1; dashed where it was not believed."""
    x0, y0, x1, y1 = edges
    corners = [(x0, y0), (x1, y0), (x1, y1), (x0, y1)]
    if sure:
        pen.line(corners, YELLOW, 2.6, casing=(12, 18, 26, 200), closed=True)
    else:
        pen.dashes([*corners, corners[0]], YELLOW, 2.2, casing=(12, 18, 26, 200))


def _webp(image: Image.Image, quality: int) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format="WEBP", quality=quality, method=4)
    return buffer.getvalue()
