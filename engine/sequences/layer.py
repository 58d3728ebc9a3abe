"""Merged objects as a layer of their own: GeoJSON, a feature an object."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from crossgeo import disk


def write_objects(path: Path, objects: Sequence[dict[str, Any]]) -> None:
    """Write what `merge_objects` returns as an RFC 7946 FeatureCollection, whole or not at all.

    Raises LimitError for a full disk, InputError where the path cannot be written.
    """
    lines = []
    for thing in objects:
        properties = {key: value for key, value in thing.items() if key != "polygon"}
        lines.append(json.dumps({"type": "Feature", "id": thing["id"], "geometry": thing["polygon"], "properties": properties}))
    disk.write(path, ('{"type": "FeatureCollection", "features": [\n' + ",\n".join(lines) + "\n]}\n").encode())
