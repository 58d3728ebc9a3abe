"""What `geo index info` says of an index."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossgeo.indexer.index import Segment
    from crossgeo.indexer.manifest import Manifest, SegmentRecord, SourceRecord


def summary(path: Path) -> dict[str, Any]:
    """Return what `geo index info --json` prints."""
    from crossgeo.indexer.index import GeoIndex

    with GeoIndex.open(path) as index:
        manifest = index.manifest
        return {
            "path": str(path),
            "generation": manifest.generation,
            "created": manifest.created,
            "manifest_sha256": manifest.hash,
            "model": {"name": manifest.identity.name, "sha256": manifest.identity.sha256, "view": manifest.identity.view},
            "tiles": len(index),
            "removed_tiles": sum(s.removed.tiles for s in manifest.segments if s.removed is not None),
            "tile_m": index.tile_m,
            "stride_m": index.stride_m,
            "gsd_m": index.gsd_m,
            "segments": [_segment(segment) for segment in index.segments],
            "search": [_search(record, manifest.latency_ms.get(record.name)) for record in manifest.segments if record.tiles],
            "sources": [_source(source) for source in manifest.sources],
            "calibration": _calibration(manifest.calibration),
            "generations": _generations(path, manifest),
            "bytes": disk_bytes(path),
        }


def _calibration(data: Mapping[str, Any] | None) -> list[str]:
    """Return a line for each kind of photo that the index is calibrated for."""
    if data is None:
        return []
    from crossgeo.engine.calibrate import Calibration
    from crossgeo.errors import StoreError

    try:
        found = Calibration.from_json(data)
    except StoreError as error:
        return [str(error)]
    sure = found.sure
    return [
        f"{kind} photos: {own.pairs} pairs on {own.cells} cells of ground, weights {own.model.get('name')}; "
        f"located at {sure.located:g} within {sure.within_m:g} m"
        for kind, own in found.kinds.items()
    ]


def calibration_problems(path: Path) -> list[str]:
    """Return what is wrong with an index's calibration, nothing where it is whole or there is none."""
    from crossgeo.engine.calibrate import Calibration
    from crossgeo.errors import StoreError
    from crossgeo.indexer.manifest import read_manifest

    data = read_manifest(path).calibration
    try:
        if data is not None:
            Calibration.from_json(data)
    except StoreError as error:
        return [f"{path}: {error}"]
    return []


def disk_bytes(path: Path) -> int:
    """Return how many bytes an index takes on disk, older generations included."""
    return sum(file.stat().st_size for file in path.rglob("*") if file.is_file())


def _search(record: SegmentRecord, latency_ms: float | None) -> str:
    took = "" if latency_ms is None else f", {latency_ms:.2g} ms a query where it was built"
    found = record.search
    if found is None:
        return f"{record.tiles} tiles exactly{took}"
    return (
        f"{record.tiles} tiles by {found.structure}: {found.recall_at_1:.1%} of the best and {found.recall_at_10:.1%} of the ten best, "
        f"{found.lists_searched} lists a query, {found.memory_bytes / 1e6:.0f} MB{took}"
    )


def _segment(segment: Segment) -> dict[str, Any]:
    bounds = [round(edge, 7) for edge in segment.bounds_lat_lon]
    return {"name": segment.name, "crs": segment.crs.to_string(), "tiles": segment.tiles, "bounds_lat_lon": bounds}


def _source(source: SourceRecord) -> dict[str, Any]:
    """Return an area: the imagery of one source, with what was said of it."""
    from crossgeo.geodesy import parse_crs
    from crossgeo.indexer.places import LAT_LON, carry_bounds

    west, south, east, north = carry_bounds(source.bounds, parse_crs(source.crs), LAT_LON)
    return {
        "name": source.name,
        "kind": source.kind,
        "crs": source.crs,
        "gsd_m": source.gsd_m,
        "vintage": source.vintage,
        "licence": source.licence,
        "masked": source.mask is not None,
        "layer": source.layer,
        "bounds_lat_lon": [round(edge, 7) for edge in (south, west, north, east)],
    }


def _generations(path: Path, current: Manifest) -> list[dict[str, Any]]:
    """Return the generations that are kept, the oldest first, as far as they can be read."""
    from crossgeo.errors import GeoError
    from crossgeo.indexer.manifest import generations, parse_manifest

    out = []
    for number, where in generations(path).items():
        try:
            found = parse_manifest(where, where.read_bytes())
        except (GeoError, OSError):
            continue  # verify and rollback say what is wrong with it
        about = {"generation": number, "created": found.created, "tiles": found.tiles, "current": number == current.generation}
        out.append(about)
    return out
