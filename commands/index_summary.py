"""What `geo index info` says of an index."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from crossgeo.indexer.index import Segment
    from crossgeo.indexer.manifest import SegmentRecord


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
            "tile_m": index.tile_m,
            "stride_m": index.stride_m,
            "gsd_m": index.gsd_m,
            "segments": [_segment(segment) for segment in index.segments],
            "sources": [{"name": s.name, "kind": s.kind, "crs": s.crs, "gsd_m": s.gsd_m} for s in manifest.sources],
            "search": [_search(record, manifest.latency_ms.get(record.name)) for record in manifest.segments if record.tiles],
            "bytes": disk_bytes(path),
        }


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
