"""A town over real ground: an orthophoto as ground and roofs, footprints raised to guessed heights, trees where it is dark green."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shapely
from numpy.typing import NDArray
from pyproj import CRS
from shapely import Polygon
from shapely.geometry import shape as geometry_of

from crossgeo import geodesy
from crossgeo.errors import InputError, LimitError, UsageError
from crossgeo.indexer.geojson import read_features
from crossgeo.indexer.imagery import open_sources
from crossgeo.indexer.source import Source
from crossgeo.town.canvas import Layers
from crossgeo.town.geometry import long_axis
from crossgeo.town.layout import Town, TownObject
from crossgeo.town.memory import check_memory
from crossgeo.town.plan import Building, Material, Tree, Wing
from crossgeo.town.real_ground import Cover, cover_of, draw_backdrop, draw_slots, draw_trees

LatLonBox = tuple[float, float, float, float]  # west, south, east, north in degrees
_WALLS = (
    (214.0, 206.0, 190.0), (176.0, 122.0, 98.0), (196.0, 190.0, 180.0), (222.0, 196.0, 150.0), (168.0, 166.0, 160.0), (206.0, 170.0, 160.0),
    (176.0, 190.0, 186.0),
)  # fmt: skip
_AREAS_M2, _FLOORS = (15.0, 40.0, 90.0, 200.0, 500.0, 1500.0), (1.0, 1.9, 3.0, 3.6, 2.6, 1.6)  # mean floors by the footprint's area
_FLOOR_M = 3.0
_LARGEST_M = 3000.0
_LEAST_M2 = 6.0
_AROUND_M = 60.0


def make_real_town(ortho: Sequence[Path], footprints: Path, bounds: LatLonBox | None = None, seed: int = 0, gsd_m: float = 0.15) -> Town:
    """Raise the town of an orthophoto and the building footprints over it (GeoJSON polygons in lon, lat).

    bounds: the part of the ground that is used; nothing of the ground or the buildings outside is in the town, and the land past it is
    invented. Without bounds it reaches 60 m around the footprints. Heights, facades, trees, cars and the houses where no footprint is near
    are guesses drawn from the seed; the buildings of the footprints alone are `objects`.
    Raises InputError for imagery or footprints that cannot be read or do not meet, UsageError for bounds that hold no footprint,
    LimitError for more than 3 km or more than memory takes.
    """
    polygons = _read_footprints(footprints)
    sources = open_sources(ortho)
    try:
        return _raise(sources, polygons, bounds, seed, gsd_m, footprints)
    finally:
        for source in sources:
            source.close()


def _read_footprints(path: Path) -> list[tuple[Polygon, float | None]]:
    """Return the polygons of a GeoJSON file with their number of floors where that is tagged."""
    found: list[tuple[Polygon, float | None]] = []
    for number, feature in enumerate(read_features(path, "polygons of buildings")):
        try:
            geometry = geometry_of(feature["geometry"]) if feature.get("geometry") else Polygon()
            for part in shapely.get_parts(geometry):
                if isinstance(part, Polygon) and not part.is_empty:
                    found.append((part, _floors(feature.get("properties") or {})))
        except (ValueError, KeyError, TypeError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
            raise InputError(f"{path}: feature {number} has no geometry of GeoJSON ({error}); mend it or leave it out") from error
    if not found:
        raise InputError(f"{path}: holds no polygons; give building footprints")
    return found


def _floors(tags: dict[str, Any]) -> float | None:
    try:
        return float(tags["building:levels"])
    except (KeyError, TypeError, ValueError):
        return None


def _raise(
    sources: Sequence[Source], polygons: list[tuple[Polygon, float | None]], bounds: LatLonBox | None, seed: int, gsd_m: float, path: Path
) -> Town:
    wgs84 = CRS.from_epsg(4326)
    if bounds is not None:
        if not (bounds[0] < bounds[2] and bounds[1] < bounds[3]):
            raise UsageError(f"{bounds} is no box; give west, south, east, north in degrees")
        box = shapely.box(*bounds)
        polygons = [(polygon, floors) for polygon, floors in polygons if box.contains(polygon)]
        if not polygons:
            raise UsageError(f"{bounds} holds no footprint of {path}; give west, south, east, north in degrees")
    around = shapely.union_all([polygon.envelope for polygon, _ in polygons]).bounds
    crs = geodesy.metric_crs_at((around[1] + around[3]) / 2.0, (around[0] + around[2]) / 2.0)
    metric = []
    for polygon, floors in polygons:
        lon, lat = np.asarray(polygon.exterior.coords)[:, :2].T
        ring = Polygon(np.stack(geodesy.transform(wgs84, crs, lon, lat), 1)).buffer(0.0)
        metric += [(part, floors) for part in shapely.get_parts(ring) if isinstance(part, Polygon) and part.area >= _LEAST_M2]
    if not metric:
        raise InputError(f"{path}: no footprint is as large as {_LEAST_M2:g} m2; give the outlines of buildings")
    x0, y0, x1, y1 = shapely.union_all([polygon.envelope for polygon, _ in metric]).buffer(_AROUND_M).bounds
    if bounds is not None:
        corner_lon, corner_lat = np.asarray(shapely.box(*bounds).exterior.coords).T
        corners = np.stack(geodesy.transform(wgs84, crs, corner_lon, corner_lat), 1)
        x0, y0 = max(x0, float(corners[:, 0].min())), max(y0, float(corners[:, 1].min()))
        x1, y1 = min(x1, float(corners[:, 0].max())), min(y1, float(corners[:, 1].max()))
    origin = (float(np.floor(x0)), float(np.floor(y0)))
    side = int(np.ceil(max(x1 - origin[0], y1 - origin[1], 100.0) / gsd_m))
    size_m = side * gsd_m
    if size_m > _LARGEST_M:
        raise LimitError(f"{path}: the footprints reach over {size_m:.0f} m; give bounds of at most {_LARGEST_M:.0f} m")
    check_memory(size_m, gsd_m, street=True)  # there is nothing else to take in it
    rgb, valid = _read(sources, crs, (origin[0], origin[1], origin[0] + size_m, origin[1] + size_m), side)
    if bounds is not None:  # a box of degrees lies turned in the town's square: what lies past it stays empty
        px = np.stack([(corners[:, 0] - origin[0]) / gsd_m - 0.5, (origin[1] + size_m - corners[:, 1]) / gsd_m - 0.5], 1)
        part = np.zeros((side, side), np.uint8)
        cv2.fillPoly(part, [np.round(px * 16.0).astype(np.int32)], 1, shift=4)
        valid &= part > 0
    if valid.mean() < 0.02:
        raise InputError(f"{path}: the footprints do not lie on the imagery")
    local = [(shapely.transform(polygon, lambda xy: xy - origin), floors) for polygon, floors in metric]
    return _town(rgb, valid, local, crs, origin, size_m, gsd_m, seed)


def _read(
    sources: Sequence[Source], crs: CRS, bounds: tuple[float, float, float, float], side: int
) -> tuple[NDArray[np.uint8], NDArray[np.bool_]]:
    """Return the imagery of a square; earlier sources lie over later ones."""
    rgb, valid = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.bool_)
    for source in sources:
        pixels, there = source.read(crs, bounds, (side, side))
        fresh = there & ~valid
        rgb[fresh] = pixels[fresh]
        valid |= fresh
    return rgb, valid


def _town(
    rgb: NDArray[np.uint8],
    valid: NDArray[np.bool_],
    polygons: list[tuple[Polygon, float | None]],
    crs: CRS,
    origin: tuple[float, float],
    size_m: float,
    gsd_m: float,
    seed: int,
) -> Town:
    rng = np.random.default_rng([seed, 4242])
    buildings = tuple(_building(polygon, floors, rng) for polygon, floors in polygons)
    number = np.full(valid.shape, -1, np.int32)
    height = np.zeros(valid.shape, np.float32)
    for k, building in enumerate(buildings):
        ring = np.asarray(building.outline.exterior.coords)[:, :2]
        px = np.stack([ring[:, 0] / gsd_m - 0.5, (size_m - ring[:, 1]) / gsd_m - 0.5], 1)
        fixed = [np.round(px * 16.0).astype(np.int32)]
        cv2.fillPoly(number, fixed, k, shift=4)
        cv2.fillPoly(height, fixed, building.height_m, shift=4)
    rgb = rgb.copy()
    rgb[~valid] = np.asarray(rgb[valid].mean(0), np.uint8)
    cover: Cover = cover_of(rgb, valid, number >= 0, gsd_m)
    houses = [shapely.box(x - w / 2.0, y - w / 2.0, x + w / 2.0, y + w / 2.0) for x, y, w in draw_backdrop(cover, size_m, gsd_m, rng)]
    buildings += tuple(_building(house, None, rng) for house in houses)
    trees = draw_trees(rgb, cover, size_m, gsd_m, rng)
    material = cover.material.copy()
    for tree in trees:
        _stand(height, material, tree, size_m, gsd_m)
    layers = Layers(gsd_m, rgb, material, height, number, rgb, cover.material)
    known = enumerate(buildings[: len(polygons)])
    objects = tuple(TownObject("building", b.outline, b.height_m, k) for k, b in known if _within(b.outline, size_m))
    slots = draw_slots(cover, size_m, gsd_m, rng)
    return Town(
        seed, size_m, "real", crs, origin, layers, objects, buildings, slots, (), tuple(trees), (), (), (), (), (), lit=True, valid=valid
    )  # fmt: skip


def _within(outline: Polygon, size_m: float) -> bool:
    x0, y0, x1, y1 = outline.bounds
    return bool(x0 >= 0.0 and y0 >= 0.0 and x1 <= size_m and y1 <= size_m)


def _building(outline: Polygon, floors: float | None, rng: np.random.Generator) -> Building:
    """Return a flat-roofed building over a footprint; its height is tagged or guessed from the footprint's area."""
    outline = shapely.orient_polygons(outline.simplify(0.15))
    if floors is None or not 0.5 <= floors <= 60.0:
        floors = float(max(1.0, round(np.interp(outline.area, _AREAS_M2, _FLOORS) + rng.normal(0.0, 0.7))))
    tall = 0.4 + _FLOOR_M * floors
    angle = long_axis(outline)
    middle = outline.centroid
    reach = max(1.0, np.sqrt(outline.area) / 2.0)
    wing = Wing(middle.x, middle.y, float(reach), float(reach), angle, float(tall), "outline")
    shade = rng.normal(1.0, 0.06) * rng.normal(1.0, 0.02, 3)
    red, green, blue = (float(c) for c in np.clip(np.asarray(_WALLS[int(rng.integers(len(_WALLS)))]) * shade, 30.0, 245.0))
    window_m, seed = float(rng.choice((1.8, 2.2, 2.6, 3.2))), int(rng.integers(1 << 30))
    return Building((wing,), outline, float(tall), "concrete", (150.0, 146.0, 140.0), (red, green, blue), _FLOOR_M, window_m, seed)


def _stand(height: NDArray[np.float32], material: NDArray[np.uint8], tree: Tree, size_m: float, gsd_m: float) -> None:
    """Put a tree into the layers, so that others keep clear of it."""
    at = (round(tree.x / gsd_m), round((size_m - tree.y) / gsd_m))
    mask = np.zeros(height.shape, np.uint8)
    r = max(1, round(tree.radius_m / gsd_m))
    c0, r0 = max(0, at[0] - r), max(0, at[1] - r)
    window = (slice(r0, at[1] + r + 1), slice(c0, at[0] + r + 1))
    cv2.circle(mask[window], (at[0] - c0, at[1] - r0), r, 1, -1)
    free = (mask[window] > 0) & (height[window] < tree.height_m)
    height[window][free] = 0.8 * tree.height_m
    material[window][free] = Material.BROADLEAF
