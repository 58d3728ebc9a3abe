"""A plain folder: photos whose places are known from a `truth.geojson` or from their EXIF, and imagery, from which aerials are cut."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pyproj import CRS

from crossgeo import geodesy
from crossgeo.engine.batch import photos_in
from crossgeo.engine.camera import camera_of
from crossgeo.engine.photo import Photo
from crossgeo.errors import GeoError, InputError
from crossgeo.indexer.imagery import Source, open_sources
from crossgeo.indexer.places import carry_bounds
from crossgeo.training.pairs import Pair, PairSet, Point

if TYPE_CHECKING:
    from crossgeo.training.evaluation.engine_places import PlacedPhoto

TRUTH = "truth.geojson"
HEADLESS = "no heading in its EXIF"
MAGNETIC = "its heading is against magnetic north, which is off by more than training bears; write true headings into its EXIF"
_SPOT_M = 1.0  # ground that must hold imagery where a photo was taken
_AROUND_M = 200.0  # on each side of a window: how far from a photo imagery may be asked for


def read_folder(photos: Path, imagery: Path | Sequence[Path], window_m: float = 60.0, split: str = "all") -> PairSet:
    """Pair every photo below a folder with a square of imagery about its place, `window_m` wide, to be cut when it is read.

    Earlier imagery lies over later, and a window shows all there is. A heading against magnetic north is not taken. What a `truth.geojson`
    in the folder says of a photo (docs/formats.md, Judgements) counts before its EXIF. Photos that cannot be read, whose position nothing
    says or that lie off the imagery are in `left_out` with the reason.
    Raises InputError for a missing folder, imagery or a `truth.geojson` that cannot be read, or when no photo is left.
    """
    items = photos_in(photos)
    known = _known(photos)
    sources = open_sources([imagery] if isinstance(imagery, Path) else imagery)
    try:
        grounds = [(source, _metric_crs(source)) for source in sources]
        pairs: list[Pair] = []
        left_out: list[tuple[str, str]] = []
        for item in items:
            found = _pair(item.path, item.name, known.get(item.path), grounds, window_m, split)
            if isinstance(found, Pair):
                pairs.append(found)
            else:
                left_out.append((item.name, found))
    finally:
        for source in sources:
            source.close()
    if not pairs:
        raise InputError(f"{photos}: none of {len(items)} photos can be used; the first, {left_out[0][0]}: {left_out[0][1]}")
    return PairSet(photos.name, "folder", photos, tuple(pairs), left_out=tuple(left_out))


def _known(photos: Path) -> Mapping[Path, PlacedPhoto]:
    """Return what a folder's `truth.geojson` says, by photo; nothing where there is none."""
    from crossgeo.training.evaluation.engine_places import read_truth  # which reads data sets itself

    path = photos / TRUTH
    return {one.photo: one for one in read_truth(path)} if path.is_file() else {}


def _pair(
    path: Path, name: str, known: PlacedPhoto | None, grounds: Sequence[tuple[Source, CRS]], window_m: float, split: str
) -> Pair | str:
    """Return the pair of a photo, or why there is none."""
    try:
        photo = Photo.read(path, long_px=64)
    except GeoError as error:
        return str(error).removeprefix(f"{path}: ")
    lat, lon = (photo.exif.lat, photo.exif.lon) if known is None else (known.lat, known.lon)
    if lat is None or lon is None:
        return "no position in its EXIF"
    heading_deg, fov_deg = (None, None) if known is None else (known.heading_deg, known.fov_deg)
    camera = camera_of(photo, heading_deg, fov_deg, kind="street")  # as a question about the photo takes it
    for source, crs in grounds:
        xy = geodesy.from_lat_lon(crs, lat, lon)
        if _covers(source, crs, xy):
            code = crs.to_epsg()
            around = [other.path for other, _ in grounds if other is source or _near(other, crs, xy, window_m / 2 + _AROUND_M)]
            return Pair(
                id=name,
                photo=path,
                aerial=source.path,
                split=split,
                heading_deg=None if camera.heading_is_magnetic else camera.heading_deg,
                fov_deg=camera.fov_deg,
                xy=xy,
                crs=f"EPSG:{code}" if code else crs.to_wkt(),
                aerial_gsd_m=source.gsd_m,
                aerial_centre_xy=xy,
                window_m=window_m,
                horizon=camera.horizon,
                imagery=tuple(around) if len(around) > 1 else (),
                magnetic_heading=camera.heading_is_magnetic,
            )
    return f"taken at {lat:.6f}, {lon:.6f}, where there is no imagery"


def _metric_crs(source: Source) -> CRS:
    """Return the source's own CRS where it is metric, else the UTM zone of its middle."""
    if geodesy.is_metric(source.crs):
        return source.crs
    x_min, y_min, x_max, y_max = source.bounds
    lat, lon = geodesy.to_lat_lon(source.crs, (x_min + x_max) / 2, (y_min + y_max) / 2)
    return geodesy.metric_crs_at(lat, lon)


def _near(source: Source, crs: CRS, xy: Point, reach_m: float) -> bool:
    """Say whether a source may hold imagery within so many metres, along each axis, of a place."""
    x, y = xy
    try:
        x_min, y_min, x_max, y_max = carry_bounds((x - reach_m, y - reach_m, x + reach_m, y + reach_m), crs, source.crs)
    except InputError:
        return False  # its CRS does not reach there
    west, south, east, north = source.bounds
    return x_min <= east and x_max >= west and y_min <= north and y_max >= south


def _covers(source: Source, crs: CRS, xy: Point) -> bool:
    half = _SPOT_M / 2
    _, valid = source.read(crs, (xy[0] - half, xy[1] - half, xy[0] + half, xy[1] + half), (1, 1))
    return bool(valid.any())
