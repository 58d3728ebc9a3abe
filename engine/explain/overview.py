"""A small map of all answers of a batch over the imagery and the coverage of one segment of the index."""

from __future__ import annotations

from array import array
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from crossgeo.engine.aerial_map import NO_IMAGERY, scale_bar
from crossgeo.engine.mosaic import Mosaic, SmallBlocks, mosaic_over
from crossgeo.engine.pen import Pen, Point
from crossgeo.indexer.index import GeoIndex, Segment

WIDTH, HEIGHT = 720, 480
COLOURS = {"located": "#1FA353", "ambiguous": "#F08C00", "low_confidence": "#E03131"}
_LEAST_M, _WHOLE_M = 240.0, 2000.0  # across; a segment no wider than this is shown whole
_COVERED = (176, 184, 192)


class Marks:
    """Where answers lie in metres of one segment, by status; of a million they take 16 MB."""

    def __init__(self) -> None:
        self._at: dict[str, array[float]] = {}

    def add(self, x: float, y: float, status: str) -> None:
        """Take one answer."""
        self._at.setdefault(status, array("d")).extend((x, y))

    def __len__(self) -> int:
        """Return how many there are."""
        return sum(len(own) for own in self._at.values()) // 2

    def of(self, status: str) -> NDArray[np.float64]:
        """Return those of a status, (n, 2)."""
        return np.array(self._at.get(status, array("d")), np.float64).reshape(-1, 2)

    def bounds(self) -> tuple[float, float, float, float]:
        """Return x_min, y_min, x_max, y_max."""
        every = np.concatenate([self.of(status) for status in self._at])
        low, high = every.min(axis=0).tolist(), every.max(axis=0).tolist()
        return low[0], low[1], high[0], high[1]


def overview(index: GeoIndex, segment: Segment, marks: Marks) -> Image.Image:
    """Draw all marks over the imagery around them, or over the whole segment where that is small; with a bar of a round length."""
    view = _View(*_frame(segment, marks))
    ground = _imagery(index, segment, view)
    pen = Pen(WIDTH, HEIGHT, NO_IMAGERY)
    pen.paste(Image.fromarray(ground), (0, 0, WIDTH, HEIGHT))
    for status in reversed(COLOURS):  # the surest on top
        own = (marks.of(status) - (view.west, view.north)) / (view.m_per_px, -view.m_per_px)
        for x, y in np.unique(np.round(2.0 * own), axis=0).tolist():  # what lies on one spot is drawn once
            draw_mark(pen, (x / 2.0, y / 2.0), status)
    scale_bar(pen, 1.0 / view.m_per_px)
    return pen.finish()


def draw_mark(pen: Pen, at: Point, status: str) -> None:
    """A disc where a photo is located, a diamond where places rival, a triangle where the place is doubtful."""
    x, y = at
    shapes = {
        "ambiguous": [(x, y - 7), (x + 7, y), (x, y + 7), (x - 7, y)],
        "low_confidence": [(x, y - 7), (x + 7, y + 5), (x - 7, y + 5)],
    }
    if status == "located":
        pen.disc(at, 6.0, COLOURS[status], rim="#FFFFFF", rim_width=1.6)
    else:
        pen.shape(shapes[status], COLOURS[status])
        pen.line(shapes[status], "#FFFFFF", 1.4, closed=True)


@dataclass(frozen=True)
class _View:
    west: float
    north: float
    m_per_px: float

    def at(self, x: float, y: float) -> Point:
        return (x - self.west) / self.m_per_px, (self.north - y) / self.m_per_px


def _frame(segment: Segment, marks: Marks) -> tuple[float, float, float]:
    """Western and northern edge and metres a pixel."""
    west, south, east, north = segment.bounds
    if max(east - west, north - south) > _WHOLE_M:
        x_min, y_min, x_max, y_max = marks.bounds()
        margin = max(0.08 * max(x_max - x_min, y_max - y_min), 60.0)
        west, east, south, north = x_min - margin, x_max + margin, y_min - margin, y_max + margin
    m_per_px = 1.04 * max((east - west) / WIDTH, (north - south) / HEIGHT, _LEAST_M / WIDTH)
    return (west + east - WIDTH * m_per_px) / 2.0, (south + north + HEIGHT * m_per_px) / 2.0, m_per_px


def _imagery(index: GeoIndex, segment: Segment, view: _View) -> NDArray[np.uint8]:
    """The ground (HEIGHT, WIDTH, 3): imagery where it is read, grey where tiles lie beyond it, paper elsewhere."""
    canvas = np.full((HEIGHT, WIDTH, 3), NO_IMAGERY, np.uint8)
    canvas[_covered(index, segment, view)] = _COVERED
    corners = np.array([view.west, view.west + WIDTH * view.m_per_px]), np.array([view.north - HEIGHT * view.m_per_px, view.north])
    mosaic = mosaic_over(index, segment, *corners, view.m_per_px, SmallBlocks(kept=0))
    if mosaic is not None:
        rgb, valid = _warped(mosaic, view)
        canvas[valid] = rgb[valid]
    return canvas


def _warped(mosaic: Mosaic, view: _View) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    scale = mosaic.gsd_m / view.m_per_px
    left, top = view.at(mosaic.x_min, mosaic.y_max)
    move = np.array([[scale, 0.0, left + 0.5 * scale - 0.5], [0.0, scale, top + 0.5 * scale - 0.5]])
    how = cv2.INTER_AREA if scale < 1.0 else cv2.INTER_LINEAR
    rgb = np.asarray(cv2.warpAffine(mosaic.rgb, move, (WIDTH, HEIGHT), flags=how), np.uint8)
    return rgb, np.asarray(cv2.warpAffine(mosaic.valid.astype(np.uint8), move, (WIDTH, HEIGHT), flags=cv2.INTER_NEAREST) > 0)


def _covered(index: GeoIndex, segment: Segment, view: _View) -> NDArray[np.bool_]:
    """Where tiles lie (HEIGHT, WIDTH)."""
    own = index.centres[segment.first_id : segment.first_id + segment.tiles]
    x = np.floor((own[:, 0] - view.west) / view.m_per_px).astype(np.int64)
    y = np.floor((view.north - own[:, 1]) / view.m_per_px).astype(np.int64)
    seen = (x >= 0) & (x < WIDTH) & (y >= 0) & (y < HEIGHT)
    dots = np.zeros((HEIGHT, WIDTH), np.uint8)
    dots[y[seen], x[seen]] = 1
    side = max(1, round(index.tile_m / view.m_per_px))
    return np.asarray(cv2.dilate(dots, np.ones((side, side), np.uint8)) > 0)
