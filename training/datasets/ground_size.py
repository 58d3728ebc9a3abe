"""How much ground CVOGL's satellite pictures show: read from their names, measured where they overlap, and compared."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

from crossgeo import geodesy
from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError
from crossgeo.training.datasets.cvogl import placed
from crossgeo.training.pairs import ObjectPair, ObjectSet, Point

_PATCH = 0.22  # side of what is looked for, as a share of the picture
_LEAST_SHIFT, _MOST_SHIFT = 0.12, 0.7  # of the side, along the longer axis: less measures poorly, more leaves too little overlap
_LEAST_FIT = 0.6
_TOLERANCE = 0.01
_LEAST_SURE = 0.15
_PHOTO_PLACE = re.compile(r".*_(\d{5,7})_(\d{5,8})\.\w+")


@dataclass(frozen=True)
class GroundSize:
    """What overlapping pictures say of their ground."""

    named_m: float  # side in metres that the names say
    measured_m: float | None  # the median over overlaps; None where too few match
    spread_m: float | None  # half of the middle half of them
    overlaps: int  # pairs of pictures that overlap enough and match
    agrees: bool | None  # within 1 %; None where nothing was measured
    north: Literal["true", "grid"] | None  # which is up in the pictures; None where they cannot tell
    photo_to_box_m: float | None  # median distance from a photo's place, where its name has one, to its box, the name being the middle
    photo_to_box_if_corner_m: float | None  # the same if the name were the north-west corner

    @property
    def words(self) -> str:
        """Say it in a sentence."""
        if self.measured_m is None:
            return f"the names say {self.named_m:g} m a side; no pictures overlap well enough to measure it{self._photos}"
        verdict = "as the names say" if self.agrees else f"but the names say {self.named_m:g} m"
        north = f"{self.north} north is up" if self.north else "too little to tell true north from the grid's"
        measured = f"{self.overlaps} overlaps measure {self.measured_m:.1f} m a side (half within {self.spread_m:.1f})"
        return f"{measured}, {verdict}; {north}{self._photos}"

    @property
    def _photos(self) -> str:
        """Say how far photos lie from what was clicked in them, by either reading of the names."""
        if self.photo_to_box_m is None or self.photo_to_box_if_corner_m is None:
            return ""
        middle_m, corner_m = self.photo_to_box_m, self.photo_to_box_if_corner_m
        return f"; photos lie {middle_m:.0f} m from their boxes if a name is its picture's middle, {corner_m:.0f} m if its corner"


def verify_ground_size(data: ObjectSet, most: int = 200) -> GroundSize:
    """Match up to `most` overlapping satellite pictures with each other: the shift in pixels against the shift in the names gives the side.

    Overlaps cannot tell whether a name is the middle or a corner of its picture; the two distances from photos to boxes can.
    Raises InputError when no picture carries its place in its name.
    """
    places = {pair.aerial: found for pair in data if (found := placed(pair.aerial.name)) is not None}
    if not places:
        raise InputError(f"{data.root}: no satellite picture carries its place in its name; there is nothing to verify")
    named_m = float(np.median([side for _, side, _ in places.values()]))
    measured = np.array(list(islice(_measure(places), most)), np.float64).reshape(-1, 3)
    middle, corner = _photo_to_box(data)
    if len(measured) == 0:
        return GroundSize(named_m, None, None, 0, None, None, middle, corner)
    low, median, high = np.percentile(measured[:, 0], (25.0, 50.0, 75.0))
    agrees = bool(abs(median - named_m) <= _TOLERANCE * named_m)
    north = _which_north(measured[:, 1], measured[:, 2])
    return GroundSize(named_m, float(median), float(high - low) / 2, len(measured), agrees, north, middle, corner)


def _which_north(turns_deg: NDArray[np.float64], convergences_deg: NDArray[np.float64]) -> Literal["true", "grid"] | None:
    """Fit turn = share * convergence: the share is 1 where true north is up, 0 where the grid's is."""
    weight = float((convergences_deg**2).sum())
    if len(turns_deg) < 3 or weight == 0.0:
        return None
    share = float((turns_deg * convergences_deg).sum()) / weight
    spread = float(np.std(turns_deg - share * convergences_deg)) / math.sqrt(weight)
    if spread > _LEAST_SURE:
        return None
    return "true" if abs(share - 1.0) < 2 * _LEAST_SURE else "grid" if abs(share) < 2 * _LEAST_SURE else None


def _measure(places: dict[Path, tuple[Point, float, str]]) -> Iterator[tuple[float, float, float]]:
    """Yield what each pair of neighbours that match gives: side in metres, turn of the pictures against the names, grid convergence."""
    pictures: dict[Path, NDArray[np.uint8]] = {}
    for one, other in _neighbours(places):
        for path in (one, other):
            if path not in pictures:
                if len(pictures) > 64:
                    pictures.pop(next(iter(pictures)))
                pictures[path] = np.asarray(cv2.cvtColor(Photo.read(path).pixels, cv2.COLOR_RGB2GRAY), np.uint8)
        found = _match(pictures[one], pictures[other], places[one], places[other])
        if found is not None:
            yield *found, geodesy.grid_convergence_deg(geodesy.parse_crs(places[one][2]), *places[one][0])


def _neighbours(places: dict[Path, tuple[Point, float, str]]) -> Iterator[tuple[Path, Path]]:
    """Yield pairs of pictures whose names say that they overlap by enough."""
    for crs in dict.fromkeys(found[2] for found in places.values()):
        paths = [path for path, found in places.items() if found[2] == crs]
        xy = np.array([places[path][0] for path in paths])
        for number, path in enumerate(paths):
            shift = np.abs(xy[number + 1 :] - xy[number]).max(axis=1) / places[path][1]
            for other in np.flatnonzero((shift >= _LEAST_SHIFT) & (shift <= _MOST_SHIFT)):
                yield path, paths[number + 1 + int(other)]


def _match(
    one: NDArray[np.uint8], other: NDArray[np.uint8], at_one: tuple[Point, float, str], at_other: tuple[Point, float, str]
) -> tuple[float, float] | None:
    """Find a patch of one picture in the whole of the other; return metres a side and degrees of turn, None without a clear match."""
    side_px = one.shape[0]
    if one.shape != other.shape or one.shape[1] != side_px:
        return None
    east, south = at_other[0][0] - at_one[0][0], at_one[0][1] - at_other[0][1]
    shift_px = np.array([east, south]) / at_one[1] * side_px  # where the other's corner should lie in this picture
    low, high = np.maximum(shift_px, 0.0), np.minimum(shift_px, 0.0) + side_px  # the overlap, in this picture
    half = int(side_px * _PATCH / 2)
    middle = np.clip((low + high) / 2, half, side_px - half).astype(int)
    patch = one[middle[1] - half : middle[1] + half, middle[0] - half : middle[0] + half]
    if patch.std() < 4.0:
        return None
    fit = cv2.matchTemplate(other, patch, cv2.TM_CCOEFF_NORMED)
    _, best, _, corner = cv2.minMaxLoc(fit)
    if best < _LEAST_FIT:
        return None
    seen = middle - half - np.array(corner)
    if np.abs(seen).max() < _LEAST_SHIFT / 2 * side_px:
        return None
    turn_deg = math.degrees(math.atan2(seen[1], seen[0]) - math.atan2(south, east))  # clockwise, as rows grow southwards
    return float(np.hypot(east, south) / np.hypot(*seen) * side_px), (turn_deg + 180.0) % 360.0 - 180.0


def _photo_to_box(data: Iterable[ObjectPair]) -> tuple[float | None, float | None]:
    distances: list[tuple[float, float]] = []
    for pair in data:
        name, where = _PHOTO_PLACE.fullmatch(pair.photo.name), placed(pair.aerial.name)
        if name is None or where is None or pair.aerial_gsd_m is None or pair.aerial_origin_xy is None:
            continue
        x = pair.aerial_origin_xy[0] + (pair.box_px[0] + pair.box_px[2]) / 2 * pair.aerial_gsd_m
        y = pair.aerial_origin_xy[1] - (pair.box_px[1] + pair.box_px[3]) / 2 * pair.aerial_gsd_m
        east, north, half = float(name[1]) - x, float(name[2]) - y, where[1] / 2
        distances.append((float(np.hypot(east, north)), float(np.hypot(east - half, north + half))))
    if not distances:
        return None, None
    middle, corner = np.median(np.array(distances), axis=0)
    return float(middle), float(corner)
