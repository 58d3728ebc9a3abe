"""A north-up piece of an index's imagery as a picture to draw on: metres to pixels, scale bar, north arrow, markers."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from PIL import Image

from crossgeo.engine.pen import Pen, Point
from crossgeo.engine.photo import Photo
from crossgeo.engine.place import Place
from crossgeo.geodesy import from_lat_lon, grid_convergence_deg
from crossgeo.indexer.index import GeoIndex, Segment

NO_IMAGERY = (226, 228, 230)
INK, WHITE, DARK = "#17202B", "#FFFFFF", (12, 18, 26, 200)
BLUE, YELLOW, ROSE = "#2F8CFF", "#FFD60A", "#FF4D6D"
_PIECE_M = 120.0  # imagery is read in squares of this side, so that a wide overview needs little memory


class AerialMap:
    """A map of `width_m` metres across, `width` x `height` logical pixels, centred on (x, y) of a segment."""

    def __init__(self, index: GeoIndex, segment: Segment, x: float, y: float, width_m: float, width: int, height: int) -> None:
        self.segment, self.width, self.height = segment, width, height
        self._west, self._north = x - width_m / 2.0, y + width_m * height / width / 2.0
        self._px_per_m = width / width_m
        self.pen = Pen(width, height, NO_IMAGERY)
        self._lay(index, width_m)

    def _lay(self, index: GeoIndex, width_m: float) -> None:
        height_m = self.height / self._px_per_m
        side_m = min(_PIECE_M, max(width_m, height_m))
        side_px = max(1, math.ceil(2.0 * side_m * self._px_per_m))
        for row in range(math.ceil(height_m / side_m)):
            for column in range(math.ceil(width_m / side_m)):
                x, y = self._west + (column + 0.5) * side_m, self._north - (row + 0.5) * side_m
                rgb, valid = index.read_window(self.segment, x, y, side_m, side_px)
                if valid.any():
                    left, top = self.at(x - side_m / 2.0, y + side_m / 2.0)
                    piece = Image.fromarray(np.where(valid[..., None], rgb, np.array(NO_IMAGERY, np.uint8)))
                    self.pen.paste(piece, (left, top, left + side_m * self._px_per_m, top + side_m * self._px_per_m))

    def at(self, x: float, y: float) -> Point:
        """Return the pixel of a point of the segment's CRS."""
        return (x - self._west) * self._px_per_m, (self._north - y) * self._px_per_m

    def at_lat_lon(self, lat: float, lon: float) -> Point:
        """Return the pixel of a place."""
        return self.at(*from_lat_lon(self.segment.crs, lat, lon))

    def holds(self, point: Point, margin: float = 0.0) -> bool:
        """Say whether a pixel lies on the map, `margin` from its edges."""
        return margin <= point[0] <= self.width - margin and margin <= point[1] <= self.height - margin

    def footprint(self, place: Place, photo: Photo) -> list[Point]:
        """Return the outline of the ground that a photo shows; empty where a drone photo reaches the horizon."""
        x, y = from_lat_lon(self.segment.crs, place.lat, place.lon)
        return [self.at(x + east, y + north) for east, north in place.pose.outline_m(photo)]

    def place(self, place: Place) -> None:
        """Draw a place: its radius, its heading, its centre."""
        centre = self.at_lat_lon(place.lat, place.lon)
        radius = max(place.radius_m * self._px_per_m, 9.0)
        self.pen.disc(centre, radius, (47, 140, 255, 58), rim=(255, 255, 255, 235), rim_width=1.6)
        grid_deg = place.heading_deg - grid_convergence_deg(self.segment.crs, *from_lat_lon(self.segment.crs, place.lat, place.lon))
        angle = math.radians(grid_deg)
        ahead, right = (math.sin(angle), -math.cos(angle)), (math.cos(angle), math.sin(angle))
        tip = radius + 34.0
        end = (centre[0] + tip * ahead[0], centre[1] + tip * ahead[1])
        neck = (centre[0] + (tip - 12.0) * ahead[0], centre[1] + (tip - 12.0) * ahead[1])
        self.pen.line([centre, neck], BLUE, 3.0, casing=WHITE)
        head = [end, (neck[0] + 7.0 * right[0], neck[1] + 7.0 * right[1]), (neck[0] - 7.0 * right[0], neck[1] - 7.0 * right[1])]
        self.pen.line(head, WHITE, 3.0, closed=True)
        self.pen.shape(head, BLUE)
        self.pen.disc(centre, 6.5, BLUE, rim=WHITE, rim_width=2.0)

    def box(self, corners: Sequence[tuple[float, float]], label: str) -> None:
        """Draw an object's outline from (lat, lon) corners, with its label beneath or above."""
        points = [self.at_lat_lon(lat, lon) for lat, lon in corners]
        if not any(self.holds(point) for point in points):
            return
        self.pen.shape(points, (255, 214, 10, 46))
        self.pen.line(points, YELLOW, 2.6, casing=DARK, closed=True)
        width = self.pen.text_width(label, 14) + 18.0
        middle = sum(x for x, _ in points) / len(points)
        left = min(max(middle - width / 2.0, 6.0), self.width - width - 6.0)
        low, high = max(y for _, y in points), min(y for _, y in points)
        top = low + 8.0 if low + 34.0 < self.height - 40.0 else max(high - 34.0, 6.0)
        self.pen.panel((left, top, left + width, top + 25.0), YELLOW, radius=5.0)
        self.pen.text((left + 9.0, top + 12.5), label, 14, INK, "lm")

    def radius(self, place: Place) -> None:
        """Draw the circle within which a place is taken to lie."""
        centre, size = self.at_lat_lon(place.lat, place.lon), max(place.radius_m * self._px_per_m, 3.0)
        self.pen.disc(centre, size, (47, 140, 255, 70), rim=(255, 255, 255, 235), rim_width=1.6)

    def marker(self, centre: Point, number: int, best: bool, radius: float = 11.0) -> None:
        """Draw a numbered disc."""
        self.pen.disc((centre[0], centre[1] + 1.2), radius + 2.0, (0, 0, 0, 70))
        self.pen.disc(centre, radius + 1.4, WHITE)
        self.pen.disc(centre, radius, BLUE if best else "#3A4653")
        self.pen.text(centre, str(number), round(radius * 1.2), WHITE, "mm", bold=True)

    def scale_bar(self) -> None:
        """Draw a bar of a round length in the lower left."""
        scale_bar(self.pen, self._px_per_m)

    def north(self) -> None:
        """Draw a north arrow in the upper right."""
        x, y = self.width - 27.0, 30.0
        self.pen.disc((x, y), 19.0, DARK)
        self.pen.shape([(x, y - 14.0), (x + 6.0, y + 2.0), (x, y - 1.5), (x - 6.0, y + 2.0)], WHITE)
        self.pen.text((x, y + 9.5), "N", 12, WHITE, "mm", bold=True)


def scale_bar(pen: Pen, px_per_m: float) -> None:
    """Draw a bar of a round length in the lower left of a map."""
    longest_m = 0.26 * pen.width / px_per_m
    power = 10.0 ** math.floor(math.log10(longest_m))
    length_m = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= longest_m)
    length = length_m * px_per_m
    words = f"{length_m / 1000:g} km" if length_m >= 1000.0 else f"{length_m:g} m"
    left, base = 14.0, pen.height - 16.0
    pen.panel((left - 7.0, base - 25.0, left + length + 7.0, base + 8.0), DARK, radius=5.0)
    pen.line([(left, base - 5.0), (left, base), (left + length, base), (left + length, base - 5.0)], WHITE, 1.8)
    pen.text((left + length / 2.0, base - 7.0), words, 12, WHITE, "ms")
