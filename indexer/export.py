"""An index's tiles for other programs: their centres as GeoJSON or CSV, and their descriptors as one NumPy array."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from crossgeo.disk import replacing
from crossgeo.errors import UsageError
from crossgeo.indexer.files import need_room
from crossgeo.indexer.index import GeoIndex

_PIECE = 4096
COLUMNS = ("tile", "lat", "lon", "crs", "x", "y", "source", "vintage", "licence")
FORMATS = {".geojson": "GeoJSON", ".json": "GeoJSON", ".csv": "CSV"}


def check_formats(out: Path, descriptors: Path | None = None) -> None:
    """Raise UsageError where a suffix names no format that is written."""
    if out.suffix.lower() not in FORMATS:
        raise UsageError(f"{out}: its suffix names no format; give .geojson or .csv")
    if descriptors is not None and descriptors.suffix.lower() != ".npy":
        raise UsageError(f"{descriptors}: descriptors are written as .npy; give such a name")


def export_tiles(index: GeoIndex, out: Path) -> int:
    """Write the centre of every tile, in the order of their ids, as the suffix of `out` says, and return how many.

    A file appears only once it is whole. Raise UsageError for another suffix, LimitError for a full disk.
    """
    check_formats(out)
    with replacing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as stream:
        if FORMATS[out.suffix.lower()] == "CSV":
            table = csv.writer(stream)
            table.writerow(COLUMNS)
            for row in _rows(index):
                table.writerow(["" if row[name] is None else row[name] for name in COLUMNS])
        else:
            stream.write('{"type": "FeatureCollection", "features": [')
            for row in _rows(index):
                point = {"type": "Point", "coordinates": [row.pop("lon"), row.pop("lat")]}
                feature = {"type": "Feature", "geometry": point, "properties": row}
                stream.write((",\n" if row["tile"] else "\n") + json.dumps(feature, ensure_ascii=False, allow_nan=False))
            stream.write("\n]}\n")
    return len(index)


def _rows(index: GeoIndex) -> Iterator[dict[str, Any]]:
    for segment in index.segments:
        crs = segment.crs.to_string()
        for start in range(segment.first_id, segment.first_id + segment.tiles, _PIECE):
            ids = np.arange(start, min(start + _PIECE, segment.first_id + segment.tiles))
            places, centres = index.lat_lon(ids), index.centres[ids]
            for tile, (lat, lon), (x, y), source in zip(ids.tolist(), places, centres, index.sources_of(segment, ids), strict=True):
                yield {
                    "tile": tile, "lat": round(float(lat), 7), "lon": round(float(lon), 7), "crs": crs, "x": float(x), "y": float(y),
                    "source": None if source is None else source.name, "vintage": None if source is None else source.vintage,
                    "licence": None if source is None else source.licence,
                }  # fmt: skip


def export_descriptors(index: GeoIndex, out: Path) -> tuple[int, int]:
    """Write the descriptors (N, D) float32, row n of tile n, as .npy, piece by piece; return their shape. LimitError: a full disk."""
    shape = len(index), index.manifest.dim
    with replacing(out) as temporary:
        need_room(out, shape[0] * shape[1] * 4)
        array = np.lib.format.open_memmap(temporary, mode="w+", dtype=np.float32, shape=shape)
        for start in range(0, shape[0], _PIECE):
            ids = np.arange(start, min(start + _PIECE, shape[0]))
            array[ids] = index.descriptors(ids)
        array.flush()
    return shape
