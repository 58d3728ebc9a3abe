"""`crossgeo.json` beside a data set that crossgeo wrote: what the public layouts have no place for (docs/formats.md)."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from crossgeo.errors import InputError
from crossgeo.training.pairs import Point, Size

NAME = "crossgeo.json"
VERSION = 1


@dataclass(frozen=True)
class Sidecar:
    """What a written data set says about itself."""

    layout: str
    source: str  # in words: what the pictures are, and that they are simulated where they are
    photo_px: Size
    aerial_px: Size
    crs: str | None = None
    aerial_gsd_m: float | None = None
    positions: Mapping[str, Point] = field(default_factory=dict)  # of photos by id, where the layout holds none
    crs_of: Mapping[str, str] = field(default_factory=dict)  # by id, where photos lie in several

    def crs_at(self, name: str) -> str | None:
        """Return the CRS of a photo's position."""
        return self.crs_of.get(name, self.crs)

    def with_crs(self, systems: Mapping[str, str]) -> Sidecar:
        """Return it with the CRS of each photo by id: the one of all, or each its own."""
        only = set(systems.values())
        return replace(self, crs=only.pop()) if len(only) == 1 else replace(self, crs_of=dict(systems))


def write_sidecar(folder: Path, sidecar: Sidecar) -> None:
    """Write it into the folder of a data set."""
    content = {
        "format": "crossgeo-dataset", "version": VERSION, "layout": sidecar.layout, "source": sidecar.source,
        "photo_px": sidecar.photo_px, "aerial_px": sidecar.aerial_px, "crs": sidecar.crs, "aerial_gsd_m": sidecar.aerial_gsd_m,
        "positions": sidecar.positions, "crs_of": sidecar.crs_of,
    }  # fmt: skip
    (folder / NAME).write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def read_sidecar(folder: Path) -> Sidecar | None:
    """Read it, None where there is none; raise InputError when it is damaged or of another version."""
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if content["format"] != "crossgeo-dataset" or content["version"] != VERSION:
            raise InputError(f"{path}: version {content['version']} of {content['format']} is not one that we read; update crossgeo")
        return Sidecar(
            layout=str(content["layout"]),
            source=str(content["source"]),
            photo_px=_size(content["photo_px"]),
            aerial_px=_size(content["aerial_px"]),
            crs=content["crs"],
            aerial_gsd_m=content["aerial_gsd_m"],
            positions={str(name): (float(x), float(y)) for name, (x, y) in content["positions"].items()},
            crs_of={str(name): str(crs) for name, crs in content.get("crs_of", {}).items()},
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path}: damaged ({type(error).__name__}: {error}); write the data set again") from error


def _size(value: Any) -> Size:
    width, height = value
    return int(width), int(height)
