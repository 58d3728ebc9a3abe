"""Grounds from files: imagery of any kind, building outlines as GeoJSON, and boxes of ground that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError, LimitError
from crossgeo.indexer.geojson import read_features
from crossgeo.indexer.imagery import Source, open_sources
from crossgeo.training.grounds import Ground, Image, Outline, make_ground

LARGEST_PX = 400_000_000  # 1.2 GB of RGB: larger imagery is given in parts
LatLonBox = tuple[float, float, float, float]  # west, south, east, north in degrees


def load_grounds(
    imagery: Sequence[Path],
    outlines: Sequence[Path] = (),
    *,
    gsd_m: float = 0.2,
    held_out: Sequence[LatLonBox] = (),
    part: Literal["train", "held-out"] = "train",
    real: bool = True,
) -> list[Ground]:
    """Read each source as one ground (clusters of tiles that lie apart become one each), with the outlines that lie on it.

    `part` says which side of the `held_out` boxes may be used. Raises InputError for imagery or outlines that cannot be read, LimitError
    for imagery past 400 Mpx at `gsd_m`.
    """
    shapes = [ring for path in outlines for ring in read_outlines(path)]
    grounds = []
    for source in open_sources(imagery):
        try:
            for number, box in enumerate(_clusters(source)):
                ground = _load(source, box, number, shapes, gsd_m, held_out, part, real)
                if ground.usable.any():
                    grounds.append(ground)
        finally:
            source.close()
    if not grounds:
        raise InputError("no usable imagery is left for training; check the held-out boxes")
    return grounds


def read_outlines(path: Path) -> list[NDArray[np.float64]]:
    """Return the outer rings (V, 2) lon, lat of all polygons of a GeoJSON file."""
    rings = []
    for feature in read_features(path, "outlines of buildings"):
        geometry: dict[str, Any] = feature.get("geometry") or {}
        polygons = {"Polygon": [geometry.get("coordinates")], "MultiPolygon": geometry.get("coordinates")}.get(geometry.get("type", ""), [])
        rings += [np.asarray(polygon[0], np.float64)[:, :2] for polygon in polygons or [] if polygon and len(polygon[0]) >= 4]
    return rings


def _clusters(source: Source) -> list[tuple[float, float, float, float]]:
    """Join the boxes of a source's parts that touch, so that distant parts do not share one large array."""
    left = [tuple(map(float, box)) for box in source.parts()]
    clusters: list[tuple[float, float, float, float]] = []
    while left:
        x0, y0, x1, y1 = left.pop()
        grown = True
        while grown:
            margin = 1e-6 * max(abs(x1 - x0), abs(y1 - y0))
            touching = [b for b in left if b[0] <= x1 + margin and b[2] >= x0 - margin and b[1] <= y1 + margin and b[3] >= y0 - margin]
            grown = bool(touching)
            for b in touching:
                x0, y0, x1, y1 = min(x0, b[0]), min(y0, b[1]), max(x1, b[2]), max(y1, b[3])
                left.remove(b)
        clusters.append((x0, y0, x1, y1))
    return sorted(clusters)


def _load(
    source: Source,
    box: tuple[float, float, float, float],
    number: int,
    shapes: Sequence[NDArray[np.float64]],
    gsd_m: float,
    held_out: Sequence[LatLonBox],
    part: Literal["train", "held-out"],
    real: bool,
) -> Ground:
    wgs84 = CRS.from_epsg(4326)
    edge = np.linspace(0.0, 1.0, 9)
    ring_x = np.concatenate([box[0] + (box[2] - box[0]) * edge] * 2 + [np.full(9, box[0]), np.full(9, box[2])])
    ring_y = np.concatenate([np.full(9, box[1]), np.full(9, box[3]), *([box[1] + (box[3] - box[1]) * edge] * 2)])
    lon, lat = geodesy.transform(source.crs, wgs84, ring_x, ring_y)
    crs = geodesy.metric_crs_at(float(lat.mean()), float(lon.mean()))
    x, y = geodesy.transform(wgs84, crs, lon, lat)
    width, height = int((x.max() - x.min()) / gsd_m), int((y.max() - y.min()) / gsd_m)
    if width * height > LARGEST_PX:
        raise LimitError(f"{source.path}: {width} x {height} px at {gsd_m} m are too many to hold in memory; cut it or raise the GSD")
    left, top = float(x.min()), float(y.max())
    bounds = (left, top - height * gsd_m, left + width * gsd_m, top)
    rgb, valid = source.read(crs, bounds, (height, width))

    def pixels(lon: NDArray[np.float64], lat: NDArray[np.float64]) -> Outline:
        at_x, at_y = geodesy.transform(wgs84, crs, lon, lat)
        return np.stack([(at_x - left) / gsd_m, (top - at_y) / gsd_m], axis=1).astype(np.float32)

    held = np.zeros(valid.shape, np.bool_)
    for west, south, east, north in held_out:
        corners = pixels(np.array([west, east, west, east]), np.array([south, south, north, north]))
        (x0, y0), (x1, y1) = np.clip(corners.min(axis=0), 0, None).astype(int), np.clip(corners.max(axis=0), 0, None).astype(int)
        held[y0:y1, x0:x1] = True
    usable = np.asarray(valid & (held if part == "held-out" else ~held), np.bool_)
    outlines = []
    for ring in shapes:
        outline = pixels(ring[:, 0], ring[:, 1])
        (x0, y0), (x1, y1) = outline.min(axis=0), outline.max(axis=0)
        if x0 >= 0 and y0 >= 0 and x1 < width and y1 < height and usable[int(y0) : int(y1) + 1, int(x0) : int(x1) + 1].all():
            outlines.append(outline)
    pixels_rgb = np.asarray(rgb, np.uint8)
    if part == "train":  # windows and canvases reach past the ground that they are centred on
        pixels_rgb = np.where(held[..., None], np.uint8(0), pixels_rgb)
    scenes: list[Image] = [pixels_rgb]
    return make_ground(f"{source.path.stem}-{number}", scenes, usable, gsd_m, outlines, real=real, crs=crs, origin_xy=(left, top))
