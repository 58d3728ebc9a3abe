"""What can be asked of a photo, beside its point, as one value: `GeoSearch.query` takes these fields by name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from crossgeo.engine.camera import Kind
from crossgeo.indexer.filters import Bounds


@dataclass(frozen=True)
class BatchOptions:
    """What is asked of every photo, as `GeoSearch.query` takes it; part of the journal's identity."""

    top: int = 5
    heading_deg: float | None = None
    fov_deg: float | None = None
    height_m: float | None = None
    near: tuple[float, float] | None = None
    radius_m: float | None = None
    use_exif_position: bool = False
    tilt_deg: float | None = None
    kind: Kind | None = None
    anyway: bool = False
    bounds: Bounds | None = None
    polygon: dict[str, Any] | None = None  # GeoJSON
    vintage: str | None = None
