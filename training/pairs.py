"""Data sets as rows: a photo with the aerial picture of its place, or a clicked object with its box in the aerial picture."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from crossgeo import geodesy
from crossgeo.errors import InputError

Point = tuple[float, float]
Box = tuple[float, float, float, float]
Size = tuple[int, int]  # width, height in px
Task = Literal["drone", "street"]


@dataclass(frozen=True)
class Pair:
    """A photo and the aerial picture of the place where it was taken; None is what the data set does not say."""

    id: str
    photo: Path
    aerial: Path  # a picture of its own, or imagery to cut a window from (`window_m`)
    split: str
    heading_deg: float | None  # of the photo's middle column, clockwise from true north
    fov_deg: float | None  # horizontal, 360 for panoramas
    xy: Point | None = None  # where the photo was taken, metres in `crs`
    crs: str | None = None
    aerial_gsd_m: float | None = None
    aerial_centre_xy: Point | None = None  # metres in `crs`
    also: tuple[str, ...] = ()  # `aerial_id` of other aerials that show the place, off their middle (VIGOR's semi-positives)
    place: str | None = None  # pairs of one place are right answers to each other (University-1652's buildings)
    window_m: float | None = None  # side of the square about `aerial_centre_xy` that is cut from `aerial`
    horizon: float = 0.5  # where a panorama's horizon lies, as a share of its height
    tilt_deg: tuple[float, float] = (0.0, 0.0)  # pitch above the horizon and clockwise roll of a lens, where they have been measured
    imagery: tuple[Path, ...] = ()  # all that a window is cut from, earlier over later, where `aerial` is not all there is
    magnetic_heading: bool = False  # the photo names a heading against magnetic north, which lies off true north by who knows what

    @property
    def aerial_id(self) -> str:
        """Name the aerial picture: pairs of the same one share it in a gallery."""
        return self.aerial.stem if self.window_m is None else self.id

    @property
    def convergence_deg(self) -> float:
        """Grid north against true north where the aerial is cut from a grid; pictures of their own have true north up."""
        if self.window_m is None or self.crs is None or self.aerial_centre_xy is None:
            return 0.0
        return geodesy.grid_convergence_deg(geodesy.parse_crs(self.crs), *self.aerial_centre_xy)


@dataclass(frozen=True)
class Aerial:
    """An aerial picture that belongs in the gallery and to no photo."""

    id: str
    path: Path
    split: str
    crs: str | None = None
    gsd_m: float | None = None
    centre_xy: Point | None = None
    place: str | None = None


@dataclass(frozen=True)
class PairSet:
    """The pairs of a data set, in its own order."""

    name: str
    layout: str
    root: Path
    pairs: tuple[Pair, ...]
    distractors: tuple[Aerial, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()  # photo and reason
    photo_px: Size | None = None  # what every photo should measure
    aerial_px: Size | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[Pair]:
        return iter(self.pairs)

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits in the order in which they first come up."""
        return tuple(dict.fromkeys(pair.split for pair in self.pairs))

    def split(self, name: str) -> PairSet:
        """Return one split; raise InputError when there is none of that name."""
        if name not in self.splits:
            raise InputError(f"{self.root}: {self.name} has no split {name!r}; it has {', '.join(self.splits)}")
        pairs = tuple(pair for pair in self.pairs if pair.split == name)
        return replace(self, pairs=pairs, distractors=tuple(a for a in self.distractors if a.split == name))


@dataclass(frozen=True)
class ObjectPair:
    """A click on an object in a photo, and the object's box in an aerial picture."""

    id: str
    photo: Path
    aerial: Path
    split: str
    task: Task  # where the photo was taken from
    click_px: Point  # x, y in the photo's own pixels
    box_px: Box  # x0, y0, x1, y1 in the aerial's pixels
    quad_px: tuple[float, ...] | None  # x, y of four corners in the aerial's pixels
    kind: str
    aerial_crs: str | None = None
    aerial_origin_xy: Point | None = None  # of the aerial's north-west corner, metres
    aerial_gsd_m: float | None = None

    def lat_lon_of(self, px: Point) -> tuple[float, float]:
        """Return (lat, lon) of a point (x, y) in the aerial's pixels; raise InputError where the data set does not place the aerial."""
        if self.aerial_crs is None or self.aerial_origin_xy is None or self.aerial_gsd_m is None:
            raise InputError(
                f"{self.aerial}: its name carries no position, so there is no lat/lon; names like 539827_4880079_300_32615.jpg do"
            )
        x = self.aerial_origin_xy[0] + px[0] * self.aerial_gsd_m
        y = self.aerial_origin_xy[1] - px[1] * self.aerial_gsd_m
        return geodesy.to_lat_lon(geodesy.parse_crs(self.aerial_crs), x, y)


@dataclass(frozen=True)
class ObjectSet:
    """The clicked objects of a data set, in its own order."""

    name: str
    layout: str
    root: Path
    pairs: tuple[ObjectPair, ...]
    photo_px: Size | None = None
    aerial_px: Size | None = None

    def __len__(self) -> int:
        return len(self.pairs)

    def __iter__(self) -> Iterator[ObjectPair]:
        return iter(self.pairs)

    @property
    def splits(self) -> tuple[str, ...]:
        """Name the splits in the order in which they first come up."""
        return tuple(dict.fromkeys(pair.split for pair in self.pairs))

    def split(self, name: str) -> ObjectSet:
        """Return one split; raise InputError when there is none of that name."""
        if name not in self.splits:
            raise InputError(f"{self.root}: {self.name} has no split {name!r}; it has {', '.join(self.splits)}")
        return replace(self, pairs=tuple(pair for pair in self.pairs if pair.split == name))
