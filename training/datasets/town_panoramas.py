"""The panoramas of a made town (docs/formats.md, Towns) as records: north in the middle, with the aerial about each place."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.indexer.imagery import Source, open_source
from crossgeo.models.views import resized
from crossgeo.training.datasets.folder import read_folder
from crossgeo.training.datasets.pictures import Pictures
from crossgeo.training.datasets.records import PanoramaRecord
from crossgeo.training.pairs import Pair, PairSet, Point, Size

Pixels = NDArray[np.uint8]
ORTHO, PANORAMAS, DENSE = "ortho.tif", "panoramas", "dense"  # dense: every 5 m along streets


@dataclass(frozen=True)
class PanoramaShape:
    """How a layout wants its pictures."""

    photo_px: Size  # a band about the horizon of a panorama that is `photo_px[0]` wide and half as high
    aerial_px: int
    aerial_m: float

    @property
    def apart_m(self) -> float:
        """How far apart, along the grid, places are whose aerials share no ground, turned by up to 3 degrees to true north as these are."""
        return 1.055 * self.aerial_m


SHAPES = {
    "cvusa": PanoramaShape((1232, 224), 750, 176.0),  # zoom 19 at 38 degrees north
    "cvact": PanoramaShape((1664, 832), 1200, 144.0),
}


def town_pairs(town: Path, shape: PanoramaShape, folder: str = PANORAMAS) -> PairSet:
    """Return the panoramas of a town that can be written; the others are in `left_out` with the reason.

    Raises InputError for a town without orthophoto or that folder of panoramas, or when none is left.
    """
    if not (town / ORTHO).is_file() or not (town / folder).is_dir():
        raise InputError(f"{town}: no {ORTHO} or no {folder}/; is this a town that `geo town make` wrote, with street photos?")
    found = read_folder(town / folder, town / ORTHO, shape.aerial_m)
    source = open_source(town / ORTHO)
    pairs: list[Pair] = []
    left_out = list(found.left_out)
    for pair in found:
        if pair.fov_deg is None or pair.fov_deg < 359.9 or pair.heading_deg is None:
            left_out.append((pair.id, "no panorama of 360 degrees with a heading"))
        elif not _inside(source, pair, shape.apart_m / 2):
            left_out.append((pair.id, f"{shape.aerial_m:g} m about it leave the imagery"))
        else:
            pairs.append(pair)
    source.close()
    if not pairs:
        raise InputError(f"{town}: none of its panoramas can be written; the first, {left_out[0][0]}: {left_out[0][1]}")
    return replace(found, name=town.name, pairs=tuple(pairs), left_out=tuple(left_out))


def panorama_records(pairs: Sequence[Pair], shape: PanoramaShape, prefix: str = "") -> Iterator[PanoramaRecord]:
    """Yield the record of each pair, its id the photo's name after `prefix`; true north is up in the aerial and in the photo's middle."""
    with Pictures() as pictures:
        sources = {path: open_source(path) for path in dict.fromkeys(pair.aerial for pair in pairs)}
        for pair in pairs:
            assert pair.heading_deg is not None and pair.xy is not None and pair.crs is not None
            yield PanoramaRecord(
                id=prefix + Path(pair.id).stem,
                panorama=to_north(pictures.photo(pair), pair.heading_deg, shape.photo_px),
                aerial=true_north_up(sources[pair.aerial], pair.crs, pair.xy, shape.aerial_m, shape.aerial_px),
                xy=pair.xy,
                crs=pair.crs,
                split=pair.split,
                aerial_gsd_m=shape.aerial_m / shape.aerial_px,
            )
        for source in sources.values():
            source.close()


def to_north(panorama: Pixels, heading_deg: float, size: Size) -> Pixels:
    """Turn an (H, W, 3) panorama whose middle looks along a heading to north, to half a pixel, and keep the band about its horizon.

    It is scaled to `size[0]` x `size[0] / 2` first. Raises InputError for a picture that is not twice as wide as high.
    """
    height, width = panorama.shape[:2]
    if abs(width / height - 2.0) > 0.01:
        raise InputError(f"a panorama of {width} x {height} px is not the whole sphere; it should be twice as wide as high")
    turned = np.roll(panorama, round(heading_deg / 360.0 * width), axis=1)
    whole = (size[0], size[0] // 2)
    scaled = resized(turned, whole)
    top = (whole[1] - size[1]) // 2
    return np.ascontiguousarray(scaled[top : top + size[1]])


def true_north_up(source: Source, crs: str, xy: Point, side_m: float, side_px: int) -> Pixels:
    """Return the square (side_px, side_px, 3) about a place with true north up, as map services give it; grids lie up to 3 degrees off."""
    lat, lon = geodesy.to_lat_lon(geodesy.parse_crs(crs), *xy)
    local = CRS.from_proj4(f"+proj=tmerc +lat_0={lat:.10f} +lon_0={lon:.10f} +k=1 +ellps=WGS84 +units=m")
    half = side_m / 2
    return source.read(local, (-half, -half, half, half), (side_px, side_px))[0]


def _inside(source: Source, pair: Pair, reach_m: float) -> bool:
    """Say whether what lies up to `reach_m` east, west, north and south of a photo is in the imagery's bounds."""
    assert pair.xy is not None
    x_min, y_min, x_max, y_max = source.bounds  # the town's own CRS, in which the pair is
    x, y = pair.xy
    return x - reach_m >= x_min and x + reach_m <= x_max and y - reach_m >= y_min and y + reach_m <= y_max
