"""Reading GeoJSON files (RFC 7946): what lies over imagery, and ground that users name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossgeo.errors import InputError


def read_geojson(path: Path, what: str) -> Any:
    """Return what a file of JSON holds; `what` says in words what it should be, for errors.

    Raises InputError, naming the file, where it is missing, cannot be read or is no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give {what} as GeoJSON") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give {what} as GeoJSON") from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not GeoJSON ({error}); give {what} as that") from error


def read_features(path: Path, what: str) -> list[dict[str, Any]]:
    """Return the features of a file; raise InputError as `read_geojson`, and where it is no FeatureCollection."""
    data = read_geojson(path, what)
    if not isinstance(data, dict) or "features" not in data:
        raise InputError(f"{path}: not a GeoJSON FeatureCollection; give {what} as one")
    features = data["features"]
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise InputError(f"{path}: its features are no list of GeoJSON features; give {what} as a FeatureCollection")
    return features
