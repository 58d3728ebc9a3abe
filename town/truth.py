"""The truth of a town's photos as it is written: GeoJSON features of their places and of clicked objects (docs/formats.md)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossgeo import geodesy
from crossgeo.town.layout import Town, TownObject

Json = dict[str, Any]


def place_feature(facts: Json) -> Json:
    """Return the GeoJSON feature of a photo's place, which `facts` hold as `lat` and `lon`."""
    return {"type": "Feature", "properties": facts, "geometry": {"type": "Point", "coordinates": [facts["lon"], facts["lat"]]}}


def object_feature(town: Town, item: TownObject, point_px: tuple[float, float], name: str, gsd_m: float) -> Json:
    """Return the GeoJSON feature of an object that was clicked in a photo: its outline from above, its box, the click."""
    x0, y0, x1, y1 = item.footprint.bounds
    corners = [town.to_crs(x, y) for x, y in ((x0, y0), (x1, y0), (x1, y1), (x0, y1))]
    lat, lon = town.to_lat_lon((x0 + x1) / 2.0, (y0 + y1) / 2.0)
    box_px = (x0 / gsd_m, (town.size_m - y1) / gsd_m, x1 / gsd_m, (town.size_m - y0) / gsd_m)
    facts = {
        "file": name, "kind": item.kind, "point_px": [round(v, 1) for v in point_px],
        "lat": round(lat, 8), "lon": round(lon, 8), "height_m": round(item.height_m, 2),
        "box": geodesy.geojson_polygon(town.crs, corners), "box_px": [round(v, 2) for v in box_px],
    }  # fmt: skip
    outline = [town.to_crs(float(x), float(y)) for x, y in item.corners]
    return {"type": "Feature", "properties": facts, "geometry": geodesy.geojson_polygon(town.crs, outline)}


def write_features(path: Path, features: Sequence[Json]) -> None:
    """Write features as a GeoJSON collection."""
    write_json(path, {"type": "FeatureCollection", "features": list(features)})


def write_json(path: Path, value: Json) -> None:
    """Write JSON as people read it."""
    path.write_text(json.dumps(value, indent=1) + "\n", encoding="utf-8")
