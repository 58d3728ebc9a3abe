"""What a client is told of an index: its summary, and the outline of its ground as GeoJSON (RFC 7946)."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import numpy as np
import shapely

from crossgeo import geodesy
from crossgeo.engine.search import GeoSearch
from crossgeo.indexer.index import GeoIndex, Segment
from crossgeo.indexer.places import LAT_LON, edges_in
from crossgeo.web.mercator import zoom_for

CELLS = 96  # the outline of a segment is drawn on so many cells along its longer side, or on its stride where that is wider
DIGITS = 7


def summary(name: str, search: GeoSearch) -> dict[str, Any]:
    """Return what a client needs to know of an open index."""
    index = search.index
    manifest = index.manifest
    west, south, east, north = box_of(index)
    middle = [(west + (east + 360.0 if east < west else east)) / 2, (south + north) / 2]
    middle[0] = (middle[0] + 180.0) % 360.0 - 180.0
    zoom = zoom_for(index.gsd_m, middle[1])
    return {
        "name": name,
        "generation": manifest.generation,
        "hash": manifest.hash,
        "created": manifest.created,
        "model": manifest.identity.name,
        "kinds": sorted(str(kind) for kind in search.matchers),
        "tiles": len(index),
        "gsd_m": index.gsd_m,
        "tile_m": index.tile_m,
        "stride_m": index.stride_m,
        "bounds": [round(edge, DIGITS) for edge in (west, south, east, north)],
        "centre": [round(part, DIGITS) for part in middle],
        "min_zoom": 0,
        "max_zoom": zoom,
        "tiles_url": f"/v1/tiles/{{z}}/{{x}}/{{y}}.jpg?index={quote(name, safe='')}&v={manifest.hash[:16]}",
        "sources": [
            {"name": source.name, "vintage": source.vintage, "licence": source.licence, "gsd_m": source.gsd_m}
            for source in manifest.sources
        ],
    }


def box_of(index: GeoIndex) -> tuple[float, float, float, float]:
    """Return west, south, east, north of all segments; west > east where the shorter way round goes across the antimeridian."""
    boxes = [segment.bounds_lat_lon for segment in index.segments]
    south, north = min(box[0] for box in boxes), max(box[2] for box in boxes)
    spans = []
    for segment in index.segments:
        lon, _ = edges_in(segment.bounds, segment.crs, LAT_LON)
        west, east = (float(edge) for edge in (_unbroken(lon, lon[0]).min(), _unbroken(lon, lon[0]).max()))
        turned = (west + 180.0) % 360.0 - 180.0
        spans.append((turned, east + turned - west))
    starts = sorted(west for west, _ in spans)
    best = None
    for start in starts:  # one of the western edges begins the shortest span that holds them all
        end = max((east - west) + (west - start) % 360.0 for west, east in spans)
        if best is None or end < best[1]:
            best = start, end
    assert best is not None  # an index has a segment
    east = best[0] + min(best[1], 360.0)
    return best[0], south, east - 360.0 if east > 180.0 else east, north


def coverage(name: str, search: GeoSearch) -> dict[str, Any]:
    """Return a FeatureCollection: for each segment the ground on which its tiles are centred, cut where it crosses the antimeridian."""
    index = search.index
    features = [
        {
            "type": "Feature",
            "properties": {"index": name, "segment": segment.name, "crs": segment.crs.name, "tiles": segment.tiles},
            "geometry": _outline(index, segment),
        }
        for segment in index.segments
    ]
    return {"type": "FeatureCollection", "features": features}


def _outline(index: GeoIndex, segment: Segment) -> dict[str, Any] | None:
    if segment.tiles == 0:
        return None
    centres = index.centres[segment.first_id : segment.first_id + segment.tiles]
    stride_m = index.widest_stride_m
    extent_m = float(np.ptp(centres, axis=0).max())
    cell_m = stride_m * max(1, int(np.ceil(extent_m / CELLS / stride_m)))
    corners = np.unique(np.floor((centres + stride_m / 2) / cell_m), axis=0) * cell_m - stride_m / 2
    cells = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + cell_m, corners[:, 1] + cell_m)
    outline = shapely.segmentize(shapely.union_all(cells), 1000.0 if cell_m < 1000.0 else cell_m)

    middle = geodesy.transform(segment.crs, LAT_LON, *(np.array([value]) for value in centres.mean(axis=0)))[0][0]

    def carried(xy: Any) -> Any:
        lon, lat = geodesy.transform(segment.crs, LAT_LON, xy[:, 0], xy[:, 1])
        return np.stack([_unbroken(lon, middle), lat], axis=1)

    shape = _cut(shapely.transform(outline, carried))
    geometry: dict[str, Any] = shapely.geometry.mapping(shapely.orient_polygons(shapely.transform(shape, lambda xy: np.round(xy, DIGITS))))
    return geometry


def _unbroken(lon: Any, middle: float) -> Any:
    """Return longitudes within half a turn of one in the middle: they go on beyond 180 degrees where the ground does."""
    return middle + (lon - middle + 180.0) % 360.0 - 180.0


def _cut(shape: Any) -> Any:
    """Return a shape whose longitudes may go on beyond 180 degrees, cut at the antimeridian (RFC 7946, section 3.1.9)."""
    west, _, east, _ = shape.bounds
    if west >= -180.0 and east <= 180.0:
        return shape
    parts = []
    for turn in (-360.0, 0.0, 360.0):
        part = shapely.intersection(shape, shapely.box(turn - 180.0, -90.0, turn + 180.0, 90.0))
        kept = [one for one in shapely.get_parts(part) if one.geom_type == "Polygon"]
        parts += [shapely.transform(one, lambda xy, by=turn: xy - [by, 0.0]) for one in kept]
    return shapely.MultiPolygon(parts)
