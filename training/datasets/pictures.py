"""The pixels of a pair, and only good ones: what is missing, damaged or without imagery is an error that names the file."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from crossgeo import geodesy
from crossgeo.engine.photo import Photo
from crossgeo.errors import InputError
from crossgeo.indexer.imagery import Source, open_source
from crossgeo.indexer.source import fill
from crossgeo.training.pairs import ObjectPair, Pair

Pixels = NDArray[np.uint8]
WHOLE_PX = 1 << 20  # longer than any side: nothing is decoded smaller


class Pictures:
    """Reads photos and aerials; use as a context manager, one in each process. Imagery stays open between windows."""

    def __init__(self) -> None:
        self._sources: dict[Path, Source] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for source in self._sources.values():
            source.close()
        self._sources.clear()

    def photo(self, pair: Pair | ObjectPair) -> Pixels:
        """Return the photo (H, W, 3) RGB, whole; raise InputError when it is missing or damaged."""
        return Photo.read(pair.photo, long_px=WHOLE_PX).pixels

    def aerial(self, pair: Pair | ObjectPair, size_px: int | None = None) -> Pixels:
        """Return the aerial (S, S, 3) RGB, north up; a window is cut from imagery at `size_px`, or at the imagery's own scale.

        Raises InputError when it is missing or damaged, or the window holds no imagery. Outside of the imagery is black.
        """
        if isinstance(pair, ObjectPair) or pair.window_m is None:
            return Photo.read(pair.aerial, long_px=WHOLE_PX).pixels
        assert pair.crs is not None and pair.aerial_centre_xy is not None and pair.aerial_gsd_m is not None
        px = size_px or max(1, round(pair.window_m / pair.aerial_gsd_m))
        (x, y), half = pair.aerial_centre_xy, pair.window_m / 2
        crs, bounds = geodesy.parse_crs(pair.crs), (x - half, y - half, x + half, y + half)
        rgb, valid = np.zeros((px, px, 3), np.uint8), np.zeros((px, px), np.bool_)
        for path in pair.imagery or (pair.aerial,):
            fill(rgb, valid, *self._source(path).read(crs, bounds, (px, px)))
            if valid.all():
                break
        if not valid.any():
            raise InputError(f"{pair.aerial}: no imagery about {pair.photo}; pair the photos with the imagery again")
        return rgb

    def _source(self, path: Path) -> Source:
        if path not in self._sources:
            self._sources[path] = open_source(path)
        return self._sources[path]
