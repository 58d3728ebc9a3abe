"""Reading what lies over imagery: the features of a GeoJSON FeatureCollection (RFC 7946)."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from crossgeo.errors import InputError


def read_features(path: Path, what: str) -> list[dict[str, Any]]:
    """Return the features of a file; `what` says in words what they should be, for errors.

    Raises InputError, naming the file, where it is missing, cannot be read or is no FeatureCollection.
    """
    try:
        features = json.loads(path.read_text(encoding="utf-8"))["features"]
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file; give {what} as GeoJSON") from error
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error}); give {what} as GeoJSON") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: not a GeoJSON FeatureCollection ({error}); give {what} as one") from error
    if not isinstance(features, list) or not all(isinstance(feature, dict) for feature in features):
        raise InputError(f"{path}: its features are no list of GeoJSON features; give {what} as a FeatureCollection")
    return features
