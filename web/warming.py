"""The first question, which nobody waits for: it has a generation load, and compile, all that answers need."""

from __future__ import annotations

from contextlib import suppress

from crossgeo.engine.photo import Photo
from crossgeo.engine.search import GeoSearch
from crossgeo.errors import InputError, UsageError

_SIDE_PX = 512


def warm(search: GeoSearch) -> None:
    """Ask about a piece of the index's own imagery, with a click, as both kinds of photo; what comes out does not matter."""
    index = search.index
    if len(index) == 0:
        return
    segment = index.segment_of(len(index) // 2)
    x, y = (float(part) for part in index.centres[len(index) // 2])
    pixels, _ = index.read_window(segment, x, y, index.tile_m, _SIDE_PX)
    lat, lon = (float(part) for part in index.lat_lon([len(index) // 2])[0])
    photo = Photo.from_pixels(pixels, "warming")
    for kind in search.matchers:
        with suppress(UsageError, InputError):  # no weights for objects, or nothing of it to be seen
            search.query(
                photo, (_SIDE_PX / 2, _SIDE_PX * 0.7), top=1, heading_deg=0.0, fov_deg=60.0, near=(lat, lon), radius_m=index.tile_m,
                kind=kind, anyway=True,
            )  # fmt: skip
