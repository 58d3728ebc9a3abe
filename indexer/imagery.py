"""Opening imagery of any kind: GeoTIFF and COG, a folder of XYZ tiles, a plain image with a world file, a folder of GeoTIFFs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pyproj import CRS

from crossgeo import geodesy
from crossgeo.errors import InputError
from crossgeo.indexer.files import what_is
from crossgeo.indexer.raster import RasterSource, is_placed_tiff
from crossgeo.indexer.source import Source
from crossgeo.indexer.xyz import XyzSource, tile_key

_RASTERS = {".tif", ".tiff", ".jpg", ".jpeg", ".png"}

__all__ = ["Source", "open_source", "open_sources"]


def open_source(path: str | Path, crs: str | CRS | None = None) -> Source:
    """Open one source; `crs` is for a source that names none. Raise InputError for what is missing, unreadable or without a position."""
    sources = open_sources([path], crs)
    if len(sources) > 1:
        for source in sources:
            source.close()
        raise InputError(f"{path} holds {len(sources)} rasters; open them with open_sources, or name one")
    return sources[0]


def open_sources(paths: Sequence[str | Path], crs: str | CRS | None = None) -> list[Source]:
    """Open all sources in the order given; a folder of rasters is as many sources, by name. Raise InputError as `open_source` does."""
    known = geodesy.parse_crs(crs) if isinstance(crs, str) else crs
    sources: list[Source] = []
    try:
        for path in paths:
            sources.extend(_open_one(Path(path), known, file) for file in _files(Path(path)))
    except BaseException:
        for source in sources:
            source.close()
        raise
    return sources


def _files(path: Path) -> list[Path | None]:
    """Return the rasters that a path stands for; [None] for a folder of XYZ tiles, which is one source."""
    there = what_is(path)
    if there is None:
        raise InputError(f"{path}: no such file or folder")
    if there == "file":
        return [path]
    try:
        rasters = sorted(p for p in path.iterdir() if p.is_file() and p.suffix.lower() in _RASTERS | {".webp"})
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}; change its permissions") from error
    tiles = [p for p in rasters if tile_key(p) is not None]
    if any(not is_placed_tiff(p) for p in tiles):
        return [None]
    found: list[Path | None] = [p for p in rasters if p.suffix.lower() in _RASTERS]
    if not found:
        raise InputError(f"{path} holds no imagery; give GeoTIFFs, tiles named x-y-z, or images with a world file")
    return found


def _open_one(path: Path, crs: CRS | None, file: Path | None) -> Source:
    return XyzSource(path) if file is None else RasterSource(file, crs)
