"""A pen for pictures: lines, discs, text and panels in logical pixels, drawn twice as large and brought down smooth (Pillow only)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from itertools import pairwise

from PIL import Image, ImageDraw, ImageFont

Point = tuple[float, float]
Colour = str | tuple[int, int, int] | tuple[int, int, int, int]
_SMOOTH = 2


@lru_cache(maxsize=32)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


class Pen:
    """A picture being drawn; all coordinates and sizes are logical pixels of the finished picture."""

    def __init__(self, width: int, height: int, background: Colour) -> None:
        self.width, self.height = width, height
        self._image = Image.new("RGB", (width * _SMOOTH, height * _SMOOTH), background)
        self._draw = ImageDraw.Draw(self._image, "RGBA")

    def finish(self) -> Image.Image:
        """Return the picture at its true size."""
        return self._image.resize((self.width, self.height), Image.Resampling.LANCZOS)

    def paste(self, picture: Image.Image, box: tuple[float, float, float, float]) -> None:
        """Fit a picture into a box, whatever its shape."""
        x0, y0, x1, y1 = (round(edge * _SMOOTH) for edge in box)
        self._image.paste(picture.convert("RGB").resize((x1 - x0, y1 - y0), Image.Resampling.LANCZOS), (x0, y0))

    def inset(self, other: Pen, corner: Point) -> None:
        """Put a whole picture of another pen here, still at drawing size; what it drew past its edges is cut off."""
        self._image.paste(other._image, (round(corner[0] * _SMOOTH), round(corner[1] * _SMOOTH)))

    def line(self, points: Sequence[Point], colour: Colour, width: float, casing: Colour | None = None, closed: bool = False) -> None:
        """Draw a line, with a casing of another colour around it so that it shows on any ground."""
        path = [*points, *points[:2]] if closed else list(points)
        if casing is not None:
            self._stroke(path, casing, width + 2.4)
        self._stroke(path, colour, width)

    def dashes(self, points: Sequence[Point], colour: Colour, width: float, casing: Colour | None = None) -> None:
        """Draw a dashed line through points."""
        pieces, dash, gap = [], 7.0, 5.0
        for (x0, y0), (x1, y1) in pairwise(points):
            length = math.hypot(x1 - x0, y1 - y0)
            for k in range(int(length // (dash + gap)) + 1):
                a, b = k * (dash + gap) / max(length, 1e-9), min((k * (dash + gap) + dash) / max(length, 1e-9), 1.0)
                pieces.append([(x0 + a * (x1 - x0), y0 + a * (y1 - y0)), (x0 + b * (x1 - x0), y0 + b * (y1 - y0))])
        for piece in pieces if casing is not None else ():
            self._stroke(piece, casing or colour, width + 2.0)
        for piece in pieces:
            self._stroke(piece, colour, width)

    def shape(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon; the colour may have an alpha."""
        self._draw.polygon([(x * _SMOOTH, y * _SMOOTH) for x, y in points], fill=colour)

    def disc(self, centre: Point, radius: float, colour: Colour | None, rim: Colour | None = None, rim_width: float = 2.0) -> None:
        """Draw a disc, or only its rim where the colour is None; alpha counts."""
        x, y = centre
        box = [(x - radius) * _SMOOTH, (y - radius) * _SMOOTH, (x + radius) * _SMOOTH, (y + radius) * _SMOOTH]
        self._draw.ellipse(box, fill=colour, outline=rim, width=round(rim_width * _SMOOTH))

    def panel(self, box: tuple[float, float, float, float], colour: Colour | None, radius: float = 6.0, rim: Colour | None = None) -> None:
        """Draw a rounded box."""
        self._draw.rounded_rectangle([edge * _SMOOTH for edge in box], radius * _SMOOTH, fill=colour, outline=rim, width=_SMOOTH)

    def text(self, at: Point, words: str, size: int, colour: Colour, anchor: str = "ls", bold: bool = False) -> None:
        """Write one line, anchored as Pillow names it."""
        where = (at[0] * _SMOOTH, at[1] * _SMOOTH)
        self._draw.text(where, words, colour, _font(size * _SMOOTH), anchor, stroke_width=1 if bold else 0, stroke_fill=colour)

    def text_width(self, words: str, size: int) -> float:
        """Width of a line of text."""
        return float(self._draw.textlength(words, _font(size * _SMOOTH))) / _SMOOTH

    def fitted(self, words: str, size: int, width: float) -> str:
        """Shorten a line to a width, with dots at its end where something was cut."""
        if self.text_width(words, size) <= width:
            return words
        while words and self.text_width(f"{words}...", size) > width:
            words = words[:-1]
        return f"{words.rstrip()}..."

    def _stroke(self, points: Sequence[Point], colour: Colour, width: float) -> None:
        path = [(x * _SMOOTH, y * _SMOOTH) for x, y in points]
        self._draw.line(path, fill=colour, width=max(1, round(width * _SMOOTH)), joint="curve")
