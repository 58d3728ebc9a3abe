"""One photo of a batch: where it is, what is asked of it, what is known of it alone."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from crossgeo.engine.camera import Kind
from crossgeo.engine.question import BatchOptions
from crossgeo.errors import GeoError


@dataclass(frozen=True)
class BatchItem:
    """One photo to ask about. What is given here wins over what is asked of all, `BatchOptions`; None is "not known of this one".

    ```python
    from pathlib import Path

    from crossgeo import BatchItem

    items = [BatchItem(photo, photo.name) for photo in sorted(Path("photos").glob("*.jpg"))]
    clicked = BatchItem(Path("photo.jpg"), "photo.jpg", points=((512, 384), (100, 80)), heading_deg=90.0)
    ```
    """

    path: Path  # the file
    name: str  # how answers call it
    points: tuple[tuple[float, float], ...] = ()  # x, y in its upright full-size pixels; one is `object`, several are `objects`
    heading_deg: float | None = None  # of a drone photo's upper edge or a street photo's middle column, clockwise from true north
    fov_deg: float | None = None  # horizontal; 360 is a panorama
    height_m: float | None = None  # of the camera above ground
    tilt_deg: float | None = None  # from straight down
    kind: Kind | None = None  # "drone" or "street"
    near: tuple[float, float] | None = None  # lat, lon
    radius_m: float | None = None  # around `near`, or around what is asked of all
    id: str | None = None  # the caller's own
    group: str | None = None  # photos of one drive
    taken: str | None = None  # ISO 8601, with its offset from UTC where that is known
    fault: GeoError | None = None  # why it cannot be asked about: its record is this error

    @property
    def about(self) -> dict[str, str]:
        """What the record says of the photo beside its name."""
        known = {"id": self.id, "group": self.group, "taken": self.taken}
        return {name: value for name, value in known.items() if value is not None}

    def options(self, shared: BatchOptions) -> BatchOptions:
        """Return what is asked of this photo: what is asked of all, and what is known of this one."""
        own = (
            ("heading_deg", self.heading_deg), ("fov_deg", self.fov_deg), ("height_m", self.height_m), ("tilt_deg", self.tilt_deg),
            ("kind", self.kind), ("near", self.near), ("radius_m", self.radius_m),
        )  # fmt: skip
        changes: dict[str, Any] = {name: value for name, value in own if value is not None}
        return replace(shared, **changes)

    def key(self) -> list[Any]:
        """What makes an answer in the journal still true: name, size, time of change, and all that is asked and said of the photo."""
        told = (
            self.points, self.heading_deg, self.fov_deg, self.height_m, self.tilt_deg, self.kind, self.near, self.radius_m,
            self.id, self.group, self.taken, self.fault and str(self.fault),
        )  # fmt: skip
        return [self.name, *self.file, *told]

    @property
    def file(self) -> tuple[int, int]:
        """Size in bytes and time of change in ns, as this machine sees them; -1 where there is no such file."""
        try:
            status = self.path.stat()
        except (OSError, ValueError):  # there is none, or no such path
            return -1, -1
        return status.st_size, status.st_mtime_ns


def readable(name: str) -> str:
    """Return a file's name, or a text of JSON, as text that can be written; what is no character is shown as an escape."""
    try:
        return os.fsencode(name).decode(errors="backslashreplace")
    except UnicodeEncodeError:
        return name.encode(errors="backslashreplace").decode()
